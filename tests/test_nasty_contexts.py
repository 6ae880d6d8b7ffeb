"""From a file to the text of an answer, by a head that is always right: every answer that tokens can say comes back.

Windows, labels, search and text together, on contexts of which each breaks some implementation.
"""

import unicodedata

import numpy as np
import pytest
import torch

from ptk.data import batches, tokenizer_training
from ptk.data.rows import RowSource, rows
from ptk.evaluation import answering
from ptk.models.answering import Spans
from ptk.objectives.question_answering import NONE, QuestionAnswering
from ptk.recipe import EvaluateSpec, TokenizerSpec
from ptk.tasks import store
from ptk.tasks.examples import Questions

ENGLISH = "the old king of the river saw a dog, and her sister found the long road in 1984"
KOREAN = "서울의 오래된 궁궐은 1395년에 지어졌으며, 임금이 살던 곳이다. 강아지가 강에서 놀았다"
WORDS = ENGLISH.split()
CONTEXTS = {
    "3,600 words": " ".join(WORDS[(7 * n) % len(WORDS)] for n in range(3600)),
    "no spaces": ENGLISH.replace(" ", "") * 9,
    "Hangul without spaces": KOREAN.replace(" ", "") * 4,
    "one answer again and again": "the dog saw the dog and the dog saw the dog. " * 12,
    "particles": f"{KOREAN} " * 6,
    "decomposed Hangul": unicodedata.normalize("NFD", f"{KOREAN} " * 3),
    "U+202F and U+00A0": "in\u202f1984 the\u00a0king \u202f found 1\u202f000\u202f000 dogs. " * 10,
    "tabs and lines": "the\told\nking\r\n\r\nof \t the  river\n\n saw a dog.\n" * 9,
    "emoji": "the 🐶 saw a 👩‍👩‍👧 and 🇰🇷, the dog 👍🏽 slept. " * 10,
    "marks": "cafe\u0301 re\u0301sume\u0301 nai\u0308ve A\u030angstro\u0308m the king. " * 8,
}
QUESTIONS = ("what?", "임금은 " * 40)  # one of few tokens, and one that is cut


@pytest.fixture(scope="module")
def tokenizers():
    texts = [*CONTEXTS.values(), *map(unicodedata.normalize, ["NFC"] * len(CONTEXTS), CONTEXTS.values())] * 3
    kinds = {"wordpiece": {"lowercase": True}, "bpe": {}, "unigram": {}}
    made = {
        kind: tokenizer_training.train(TokenizerSpec(kind=kind, vocab_size=700, **more), texts)  # type: ignore[arg-type]
        for kind, more in kinds.items()
    }
    cased = TokenizerSpec(kind="wordpiece", vocab_size=700, lowercase=False)
    return made | {"cased wordpiece": tokenizer_training.train(cased, texts)}


def of_words(context: str, rng: np.random.Generator) -> list[tuple[int, int]]:
    """What people mark: the first and the last characters, parts of words, one or two words."""
    blank = [letter.isspace() for letter in f" {context} "]
    edges = [at for at in range(len(context) + 1) if blank[at] != blank[at + 1]]
    found = [(0, 3), (len(context) - 4, len(context))]
    found += [(at, at + int(rng.integers(1, 9))) for at in rng.integers(0, len(context) - 12, 14).tolist()]
    for place in rng.integers(0, max(1, len(edges) - 3), 14).tolist() if len(edges) > 3 else []:
        found.append((edges[place], edges[place + int(rng.integers(1, 3))]))
    trimmed = [
        (stop - len(context[start:stop].lstrip()), start + len(context[start:stop].rstrip())) for start, stop in found
    ]
    return [(start, stop) for start, stop in trimmed if stop > start]


def of_tokens(offsets: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Every kind of run of tokens, also the first and the last of all."""
    first = np.array([0, len(offsets) - 1, *rng.integers(0, len(offsets), 40)])
    last = np.minimum(first + rng.integers(0, 6, len(first)), len(offsets) - 1)
    # A blank that Unigram puts before a text is said to stand for the first letter of its first word.
    begins, ends = np.append(offsets[1:], [[len(offsets) ** 2] * 2], 0)[last].T  # of the token behind
    whole = (begins >= offsets[last, 1]) | (ends <= offsets[last, 1])
    first, last = first[whole], last[whole]
    found = zip(offsets[first, 0].tolist(), offsets[last, 1].tolist(), strict=True)
    return [(start, stop) for start, stop in found if stop > start]


def examples_of(name: str, spans: list[tuple[int, int]]) -> Questions:
    context = CONTEXTS[name]
    texts = [(QUESTIONS[number % 2], context) for number in range(len(spans))]
    ids = tuple(map(str, range(len(spans))))
    said = tuple((context[start:stop],) for start, stop in spans)
    return Questions(texts, np.array(spans), (), name, np.arange(len(spans)), False, False, ids, said, ids)


def answered(examples: Questions, made, tokenizer, objective: QuestionAnswering, length: int) -> list[str]:
    """What is said when each window's logits are highest at its label, and at its first position without one."""
    source = RowSource(made, objective, EvaluateSpec(), length, 0, "all")
    table = rows(source, 0)
    encoded = [batches.encode(table, row, tokenizer, 0) for row in range(len(table))]
    pad = batches.padding([source], tokenizer)
    found: list[dict[str, torch.Tensor]] = []
    for begin in range(0, len(encoded), 64):
        batch = batches.stack(encoded[begin : begin + 64], pad)
        logits = torch.zeros(2, *batch["input_ids"].shape)
        rows_ = torch.arange(len(logits[0]))
        for part in range(2):
            logits[part, rows_, batch["labels"][:, part]] = 9.0
        best = objective.decoded(None, Spans(*logits), batch)
        shift = (batch["first"] - batch["context"][:, 0])[:, None]
        lacks = best.start_logit.isneginf()
        answers = {"example": batch["example"], "null": best.null}
        answers |= {at: (getattr(best, at) + shift).masked_fill(lacks, NONE) for at in ("start", "end")}
        found.append(answers | {at: getattr(best, at) for at in ("start_logit", "end_logit")})
    joined = {at: torch.cat([each[at] for each in found]).numpy() for at in found[0]}
    return [one.text for one in answering.said(joined, examples, made)]


@pytest.mark.parametrize("name", CONTEXTS)
def test_every_answer_that_tokens_can_say_comes_back(tokenizers, name, tmp_path, monkeypatch, capsys):
    """Whatever is marked: where it is no run of tokens, what is said is the least run that holds it."""
    monkeypatch.setenv("PTK_CACHE", str(tmp_path))
    for kind, tokenizer in tokenizers.items():
        rng = np.random.default_rng(len(name))
        words = of_words(CONTEXTS[name], rng)
        made = store.tokenized(examples_of(name, words), tokenizer)
        offsets = made.offsets[made.sentences[1] : made.sentences[2]]
        examples = examples_of(name, words + of_tokens(offsets, rng))
        made = store.tokenized(examples, tokenizer)
        tokens = made.labels + made.sentences[1:-1:2][:, None]
        there = np.stack([made.offsets[tokens[:, 0], 0], made.offsets[tokens[:, 1], 1]], 1)
        can, short = (there == examples.labels).all(1), np.diff(made.labels).ravel() < 30
        assert can[len(words) :].all()
        wanted = [CONTEXTS[name][start:stop] for start, stop in there.tolist()]
        objective = QuestionAnswering(fidelity="fixed", framing=tokenizer.pair.size, max_question=20)
        for length in (384, 160):
            said = answered(examples, made, tokenizer, objective, length)
            every = zip(said, wanted, examples.answers, short, can, strict=True)
            wrong = [(text, most, gold) for text, most, (gold,), fits, _ in every if fits and text != most]
            assert wrong == [], (kind, length)
        with capsys.disabled():
            cannot = 1 - can[: len(words)].mean()
            print(f"\n{name}, {kind}: {cannot:.0%} of what people mark is no run of tokens", end="")
