"""``ptk predict`` of fine-tuned heads: what the objective says of the same texts, in order; what is wrong, by line."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from labelled import KIND_OF, settings, tokenizer
from seqeval.metrics.sequence_labeling import get_entities
from typer.testing import CliRunner

from ptk.cli import app
from ptk.data import batches
from ptk.data.rows import RowSource, rows
from ptk.errors import DataError, RecipeError
from ptk.objectives.multiple_choice import MultipleChoice
from ptk.objectives.objective import IGNORE
from ptk.objectives.sequence_classification import SequenceClassification
from ptk.objectives.token_classification import TokenClassification
from ptk.prediction import lines, tags
from ptk.recipe import EvaluateSpec
from ptk.tasks import store
from ptk.tasks.examples import Examples

NAMES = ("red", "green", "blue")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LONGEST = 66  # positions of the tiny models
SINGLE = SequenceClassification(labels=NAMES)
TEXTS = ["the cat sees", "a red house. the dog likes it", "her sister forgets", "river " * 90, "my old friend"]
PAIRS = [("the cat", "a dog"), ("her sister " * 40, "the river " * 50), ("it", "my friend forgets the old house")]
CHOICES = [
    ("the cat", "sees a dog", "it"),
    ("a red house", "the river", "an old friend likes", "her"),
    (*PAIRS[1], "it"),
]
SENTENCES = [tuple(text.split()) for text in (*TEXTS, "the cat forgets " * 50)]


def told_apart(model: Any) -> None:
    """Let the classes be far apart, so that answers differ from text to text."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20 if parameter.dim() > 1 else 1)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A folder with a random model for this objective, and ptk's tokenizer; ``keys`` are for its configuration."""

    def made(objective: Any, family: str = "bert", recipe: str | None = None, **keys: Any) -> str:
        words = tokenizer(KIND_OF.get(family, "wordpiece"))
        torch.manual_seed(0)
        model = objective.model(settings(family), words, 32)
        told_apart(model)
        for name, value in keys.items():
            setattr(model.config, name, value)
        run = tmp_path_factory.mktemp("run")
        model.save_pretrained(run / "model")
        words.save(run / "model", around="head")
        if recipe:
            (run / "recipe.yaml").write_text(recipe)
        return str(run)

    return made


def predicted(folder: str, *asked: str, **options: Any) -> list[str]:
    return list(lines.answers(folder, [f"{text}\n" for text in asked], options=options))


def asked(folder: str, *values: dict) -> list[dict]:
    return [json.loads(line) for line in predicted(folder, *(json.dumps(value) for value in values))]


def evaluated(objective: Any, folder: str, examples: Examples, family: str, length: int = LONGEST) -> dict:
    """What the objective says of a task's store of these examples, in their order, one row a batch."""
    from ptk.models import load

    model, words = load.load(folder), tokenizer(KIND_OF.get(family, "wordpiece"))
    table = rows(RowSource(store.tokenized(examples, words), objective, EvaluateSpec(), length, 0, "all"), 0)
    found: dict[str, list] = {}
    with torch.no_grad():
        for number in range(len(table)):
            batch = batches.stack([batches.encode(table, number, words, 0)], objective.padding)
            for name, values in objective.evaluate(model, batch)[1].items():
                found.setdefault(name, []).extend(values.tolist())
    return found


def examples_of(texts: list, labels: np.ndarray, names=(), **more: Any) -> Examples:
    return Examples(texts, labels, names, "by hand", np.arange(len(texts)), **more)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_labels_are_those_of_the_objective(make, family):
    folder = make(SINGLE, family)
    texts = [(text,) for text in TEXTS] + PAIRS
    gold = evaluated(SINGLE, folder, examples_of(texts, np.full(len(texts), IGNORE), NAMES), family)
    assert len({round(share, 3) for share in gold["probability"]}) > 3
    plain = predicted(folder, *("\t".join(text) for text in texts))
    for line, label, probability in zip(plain, gold["predicted"], gold["probability"], strict=True):
        assert line.split("\t") == [NAMES[label], f"{probability:.4f}"]
    full = asked(folder, *({"text": a, **({"pair": b[0]} if b else {})} for a, *b in texts))
    for answer, label, probability in zip(full, gold["predicted"], gold["probability"], strict=True):
        assert answer["label"] == NAMES[label]
        assert answer["probability"] == answer["probabilities"][NAMES[label]] == pytest.approx(probability, abs=1e-5)
        assert list(answer["probabilities"]) == list(NAMES)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_several_labels_are_those_more_probable_than_not(make):
    objective = SequenceClassification(labels=NAMES, problem="multi_label")
    folder = make(objective)
    texts = [(text,) for text in TEXTS]
    gold = evaluated(objective, folder, examples_of(texts, np.full((len(texts), 3), -1, np.int8), NAMES), "bert")
    wanted = [[name for name, has in zip(NAMES, row, strict=True) if has] for row in gold["predicted"]]
    assert len({tuple(names) for names in wanted}) > 1
    assert predicted(folder, *TEXTS) == [",".join(names) for names in wanted]
    for answer, names, shares in zip(
        asked(folder, *({"text": text} for text in TEXTS)), wanted, gold["probability"], strict=True
    ):
        assert answer == {
            "labels": names,
            "probabilities": pytest.approx(dict(zip(NAMES, shares, strict=True)), abs=1e-5),
        }


def test_a_score_is_on_the_scale_of_the_files(make):
    objective = SequenceClassification(problem="regression", scale="unit", score_range=(1.0, 5.0))
    recipe = (
        "task: {name: stsb}\ninit: none\nobjective: {name: sequence_classification, problem: regression, scale: unit, "
    )
    folder = make(objective, recipe=recipe + "score_range: [1.0, 5.0]}\ntrain: {steps: 1, length: 16}\n")
    texts = [(text,) for text in TEXTS]
    examples = examples_of(texts, np.full(len(texts), np.nan, np.float32))
    gold = evaluated(objective, folder, examples, "bert", 16)["predicted"]
    assert len({round(score, 2) for score in gold}) == len(gold)
    assert predicted(folder, *TEXTS) == [f"{score:.4f}" for score in gold]
    assert asked(folder, {"text": TEXTS[0]}) == [{"score": pytest.approx(gold[0], abs=1e-5)}]


def test_of_a_model_without_a_run_nothing_but_its_positions_is_known(make):
    objective = SequenceClassification(problem="regression")
    folder = f"{make(objective)}/model"
    examples = examples_of([(text,) for text in TEXTS], np.full(len(TEXTS), np.nan, np.float32))
    gold = evaluated(objective, folder, examples, "bert")["predicted"]
    assert predicted(folder, *TEXTS) == [f"{score:.4f}" for score in gold]


def test_a_model_of_the_hub_with_one_label_gives_a_score(make):
    own = SequenceClassification(problem="regression")
    assert predicted(make(own, problem_type=None), TEXTS[0]) == predicted(make(own), TEXTS[0])


@pytest.mark.parametrize("family", ["bert", "openai-gpt"])
def test_every_word_has_its_tag_those_of_long_texts_too(make, family):
    objective = TokenClassification(labels=TAGS)
    folder = make(objective, family)
    words = [word for sentence in SENTENCES for word in sentence]
    examples = examples_of(SENTENCES, np.full(len(words), IGNORE), TAGS, tagging=True)
    gold = evaluated(objective, folder, examples, family)
    assert len(set(gold["example"])) < len(gold["example"]) == len(words)
    order = np.argsort(gold["unit"])
    wanted = np.array(TAGS)[np.array(gold["predicted"])[order]].tolist()
    plain = predicted(folder, *(" ".join(sentence) for sentence in SENTENCES))
    assert [len(line.split(" ")) for line in plain] == [len(sentence) for sentence in SENTENCES]
    assert " ".join(plain).split(" ") == wanted
    full = asked(folder, *({"words": sentence} for sentence in SENTENCES), {"words": []})
    assert full.pop() == {"words": [], "tags": [], "probabilities": [], "entities": []}
    assert [answer["words"] for answer in full] == [list(sentence) for sentence in SENTENCES]
    assert [tag for answer in full for tag in answer["tags"]] == wanted
    shares = [share for answer in full for share in answer["probabilities"]]
    assert shares == pytest.approx(np.array(gold["probability"])[order].tolist(), abs=1e-5)


def test_entities_are_cut_from_what_was_given(make, monkeypatch):
    folder = make(TokenClassification(labels=TAGS))
    chosen = ["B-PER", "I-PER", "O", "I-LOC"]
    monkeypatch.setattr(tags.Tags, "tags", lambda *_: chosen)
    text = " the  old king\tsees  "
    of_text, of_words = asked(folder, {"text": text}, {"words": ["the", "old", "king", "sees"], "id": 7})
    assert of_text["text"] == text.strip()
    assert of_words["id"] == 7
    assert "id" not in of_text
    assert of_text["words"] == ["the", "old", "king", "sees"]
    assert of_text["entities"] == [
        {"text": "the  old", "type": "PER", "start": 0, "end": 8},
        {"text": "sees", "type": "LOC", "start": 14, "end": 18},
    ]
    assert of_words["entities"] == [
        {"text": "the old", "type": "PER", "start": 0, "end": 2},
        {"text": "sees", "type": "LOC", "start": 3, "end": 4},
    ]
    plain = TokenClassification(labels=("NOUN", "VERB"))
    assert "entities" not in asked(make(plain), {"words": ["the"]})[0]


def test_entities_are_seqevals():
    rng = np.random.default_rng(0)
    for _ in range(300):
        drawn = rng.choice(TAGS, rng.integers(0, 9)).tolist()
        assert list(tags.entities(drawn)) == [(kind, first, last + 1) for kind, first, last in get_entities(drawn)]


def test_characters_are_tagged_with_their_blanks(make):
    objective = TokenClassification(labels=TAGS)
    folder = make(objective, ptk_unit="characters")
    text = "my old friend sees the river"
    examples = examples_of([tuple(text)], np.full(len(text), IGNORE), TAGS, characters=True, tagging=True)
    gold = evaluated(objective, folder, examples, "bert")
    wanted = [TAGS[label] for label in gold["predicted"]]
    (answer,) = asked(folder, {"text": text})
    assert "words" not in answer
    letters = [place for place, character in enumerate(text) if character != " "]
    assert [answer["tags"][place] for place in letters] == [wanted[place] for place in letters]
    assert len(answer["tags"]) == len(answer["probabilities"]) == len(text)
    assert answer["entities"]
    for found in answer["entities"]:
        assert found["text"] == text[found["start"] : found["end"]] == found["text"].strip()
    assert predicted(folder, text) == [" ".join(answer["tags"])]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_choices_are_those_of_the_objective(make, family):
    objective = MultipleChoice()
    folder = make(objective, family)
    examples = examples_of(CHOICES, np.full(len(CHOICES), IGNORE))
    gold = evaluated(objective, folder, examples, family)
    full = asked(folder, *({"text": text, "choices": choices} for text, *choices in CHOICES))
    assert [answer["choice"] for answer in full] == gold["predicted"]
    for answer, (_, *choices), probability in zip(full, CHOICES, gold["probability"], strict=True):
        assert answer["text"] == choices[answer["choice"]].strip()
        assert len(answer["probabilities"]) == len(choices)
        assert answer["probabilities"][answer["choice"]] == pytest.approx(probability, abs=1e-5)
    plain = predicted(folder, *("\t".join(texts) for texts in CHOICES))
    assert plain == [
        f"{answer['text']}\t{probability:.4f}" for answer, probability in zip(full, gold["probability"], strict=True)
    ]


def test_what_is_read_together_is_answered_as_if_alone_and_in_order(make):
    folder = make(SINGLE)
    rng = np.random.default_rng(1)
    words = " ".join(TEXTS[:3]).split()
    many = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(130)]
    many[5] = many[64] = ""
    together = predicted(folder, *many)
    assert together[5] == together[64] == ""
    for place in (0, 4, 63, 65, 99, 129):
        assert predicted(folder, many[place]) == [together[place]]
    assert len(set(together)) > 100


class Pipe:
    """What a process reads that others still write."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)

    def read1(self, size: int) -> bytes:
        return self.chunks.pop(0) if self.chunks else b""


def test_lines_are_answered_as_they_arrive(make):
    folder = make(SINGLE)
    pipe = Pipe(b"the cat\n", b"a dog\nher sis", b"ter\r\n\n", b"it")
    answers = lines.answers(folder, lines.decoded(pipe))  # type: ignore[arg-type]
    found = []
    left = [3, 2, 1, 1, 0]
    for answer, chunks in zip(answers, left, strict=True):
        found.append(answer)
        assert len(pipe.chunks) == chunks  # nothing was waited for
    assert found == predicted(folder, "the cat", "a dog", "her sister", "", "it")
    groups = list(lines.together(lines.decoded(Pipe(b"a\n" * 100 + b"b", b"\nc\n"))))  # type: ignore[arg-type]
    assert [len(group) for group in groups] == [64, 36, 2]


@pytest.mark.parametrize(
    ("objective", "keys", "line", "message"),
    [
        (SINGLE, {}, '{"txt": "a"}', 'no "text"; give {"text": "...", "pair": "..."}'),
        (SINGLE, {}, '{"text": 5}', '"text" is 5, no text; give {"text": "...", "pair": "..."}'),
        (SINGLE, {}, "{broken", 'not JSON; give {"text": "...", "pair": "..."}'),
        (
            SINGLE,
            {"ptk_texts": 2},
            "the cat",
            '1 of text, and the model was fine-tuned on two: A<TAB>B, or {"text": "...", "pair": "..."}',
        ),
        (
            SINGLE,
            {"ptk_texts": 1},
            '{"text": "a", "pair": "b"}',
            '2 of text, and the model was fine-tuned on one: {"text": "..."}',
        ),
        (
            TokenClassification(labels=TAGS),
            {},
            '{"words": "a b"}',
            '"words" is "a b", no list of texts; give {"text": "..."} or {"words": ["...", "..."]}',
        ),
        (TokenClassification(labels=TAGS), {"ptk_unit": "characters"}, "{}", 'no "text"; give {"text": "..."}'),
        (
            MultipleChoice(),
            {},
            "the cat\ta dog",
            '1 choice; give two or more: text<TAB>choice<TAB>choice, or {"text": "...", "choices": ["...", "..."]}',
        ),
        (
            MultipleChoice(),
            {},
            '{"text": "the cat"}',
            '"choices" is null, no list of texts; give {"text": "...", "choices": ["...", "..."]}',
        ),
    ],
)
def test_what_cannot_be_answered_is_named_after_the_answers_before_it(make, objective, keys, line, message):
    good = {"choice": "a\tb\tc", "tagging": "a b", "classification": "a" if keys.get("ptk_texts") == 1 else "a\tb"}
    answers = lines.answers(make(objective, **keys), [good[objective.part], "", line, "never read"])
    assert next(answers)
    assert next(answers) == ""
    with pytest.raises(DataError) as error:
        next(answers)
    assert str(error.value) == f"stdin:3: {message}"


def test_a_tab_parts_texts_unless_the_model_reads_one(make):
    one, either = make(SINGLE, ptk_texts=1), make(SINGLE)
    assert predicted(one, "the cat\ta dog") == predicted(either, "the cat a dog")
    assert predicted(either, "the cat\ta dog") != predicted(either, "the cat a dog")


def test_a_text_that_is_no_utf8_is_named_after_the_answers_before_it(make):
    answers = lines.answers(make(SINGLE), lines.decoded(Pipe(b"the\n\xff\nit")))  # type: ignore[arg-type]
    assert next(answers)
    with pytest.raises(DataError, match=r"^stdin:2: byte 1 is not UTF-8"):
        next(answers)


def test_a_text_that_leaves_a_decoder_nothing_is_named(make):
    folder = make(SINGLE, "gpt2")
    words = replace(tokenizer("bpe"), names={"eos": "<|endoftext|>"})
    words.save(f"{folder}/model", around="head")  # as GPT-2's own, which puts nothing around a text
    with pytest.raises(DataError, match=r'^stdin:2: no token of text; give \{"text"'):
        predicted(folder, "the", '{"text": " "}')
    assert asked(make(SINGLE), {"text": " "})[0]["label"] in NAMES  # BERT reads [CLS] [SEP]


def test_texts_are_cleaned_as_those_of_files_are(make):
    folder = make(TokenClassification(labels=TAGS))
    (answer,) = asked(folder, {"text": "the\x00 cafe\u0301 "})
    assert (answer["text"], answer["words"]) == ("the caf\u00e9", ["the", "caf\u00e9"])


def test_a_cut_is_said_once(make, capsys):
    predicted(make(SINGLE), TEXTS[0], TEXTS[3], *["a"] * 70, TEXTS[3])
    assert capsys.readouterr().err == "warning: texts that are longer than a row (66 tokens) are cut, as in training\n"


def test_a_label_cannot_command_a_terminal(make):
    folder = make(SequenceClassification(labels=("a\x1b[0m\n", "b\x1b[0m\n")))
    (line,) = predicted(folder, "the cat")
    assert line.split("\t")[0] in ("a[0m\\n", "b[0m\\n")


def test_settings_of_sampling_are_refused(make):
    message = "BertForSequenceClassification labels text and writes nothing; leave out --top-k, --seed"
    with pytest.raises(RecipeError, match=message):
        predicted(make(SINGLE), "a", top_k=3, seed=1)


def test_the_command_answers(make):
    folder = make(SINGLE)
    found = CliRunner().invoke(app, ["predict", "--model", folder], input='the 개\n\n{"text": "a"}\n')
    assert found.exit_code == 0
    assert found.stdout.splitlines() == predicted(folder, "the 개", "", '{"text": "a"}')
