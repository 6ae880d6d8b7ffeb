"""The SQuAD format: what is read of it, what is a fault, where answers are; divided by article; as a store."""

import json
import re
import string
import unicodedata
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from ptk.data.tokenizer_training import train
from ptk.errors import DataError, RecipeError
from ptk.recipe import TaskSpec, TokenizerSpec
from ptk.tasks import prepare, store
from ptk.tasks.examples import IGNORE, Questions
from ptk.tasks.files import dividing, hub, placing, squad

SHARED = Path(__file__).parents[3] / "shared" / "data"
REAL = {"squad1_xquad_en": "squad", "squad2_dev": "squad2", "korquad1_dev": "korquad"}
CONTEXT = "The fox saw a dog. The dog ran to the river, and the fox slept."
HUB_ANSWERS = [{"text": ["river"], "answer_start": [38]}, {"text": [], "answer_start": []}]


def asked(id_, text: Any = "river", start: Any = 38, question="Where to?", **more):
    return {"id": id_, "question": question, "answers": [{"text": text, "answer_start": start}], **more}


def without(id_, **more):
    return {"id": id_, "question": "Who?", "answers": [], **more}


def write(path, *qas, context=CONTEXT, **more):
    document = {"data": [{"paragraphs": [{"qas": list(qas), "context": context}], **more}]}
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path


def read(path, unanswerable=True):
    return squad.read(path, None, unanswerable)


def fault(path, unanswerable=True) -> str:
    with pytest.raises(DataError) as error:
        read(path, unanswerable)
    assert error.value.exit_code == 3
    return str(error.value).replace(f"{path}", "FILE")


def notes(raw):
    return [f"{count} {note}" for note, count in raw.notes.items() if count]


# --- what is read -------------------------------------------------------------------------------------------


def test_a_question_and_its_answers(tmp_path):
    """No title, no version; extra keys; the first answer is learned, the context stays as it is."""
    question = asked("q", extra=1, question=" Where\u00a0to?\n")
    question["answers"].append({"text": "the river", "answer_start": 34, "more": 2})
    raw = read(write(tmp_path / "a.json", question, context=f"{CONTEXT}\t\n ", note="x"))
    assert raw.texts == [("Where\u00a0to?", f"{CONTEXT}\t\n ")]
    assert raw.ids == ["q"]
    assert raw.answers == [("river", "the river")]
    assert raw.spans == [(38, 43)]
    assert raw.lines == [1]
    assert notes(raw) == []


def test_escaped_and_with_a_byte_order_mark(tmp_path):
    write(tmp_path / "plain.json", asked("q", "한국", 0), context="한국은")
    document = json.loads((tmp_path / "plain.json").read_text(encoding="utf-8"))
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(document).encode("ascii"))
    assert read(tmp_path / "a.json").texts == read(tmp_path / "plain.json").texts == [("Where to?", "한국은")]


def test_no_answer_and_what_stands_for_one(tmp_path):
    """Answers beside ``is_impossible`` are none; so are plausible ones."""
    plausible = without("b", is_impossible=True, plausible_answers=[{"text": "fox", "answer_start": 4}])
    raw = read(write(tmp_path / "a.json", asked("a", is_impossible=True), plausible, asked("c", is_impossible=False)))
    assert raw.spans == [(-1, -1), (-1, -1), (38, 43)]
    assert raw.answers == [(), (), ("river",)]


def test_a_file_without_answers_says_nothing(tmp_path):
    for name, qas in {"empty": [without("a"), without("b")], "none": [{"id": "a", "question": "Who?"}]}.items():
        raw = read(write(tmp_path / f"{name}.json", *qas))
        assert set(raw.spans) == {(IGNORE, IGNORE)}
    data = prepare.read_split(TaskSpec(name="squad2", data=str(tmp_path / "none.json")), "test", lambda _: None)[1]
    assert not data.labelled


def test_ids_may_be_numbers_or_called_guid(tmp_path):
    other = {key: value for key, value in asked("x").items() if key != "id"}
    assert read(write(tmp_path / "a.json", asked(7), other | {"guid": "klue"})).ids == ["7", "klue"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_rows_as_the_hub_has_them(tmp_path, name):
    rows = [
        {"id": id_, "title": "T", "context": CONTEXT, "question": "Where to?", "answers": answers}
        for id_, answers in zip("ab", HUB_ANSWERS, strict=True)
    ]
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, rows)) if name.endswith("l") else json.dumps(rows), encoding="utf-8")
    raw = read(path)
    assert raw.spans == [(38, 43), (-1, -1)]
    assert raw.articles == ["T", "T"]
    assert "row 2" not in fault(path, unanswerable=False)
    assert "question `b`: no answer, as others have" in fault(path, unanswerable=False)


def test_several_files_are_one_split(tmp_path):
    (tmp_path / "parts").mkdir()
    for number in range(3):
        write(tmp_path / "parts" / f"train-{number}.json", asked(f"q{number}"), title=f"T{number}")
    said = []
    pattern = str(tmp_path / "parts" / "*.json")
    one = prepare.read(TaskSpec(name="squad", train=pattern), 0, said.append)
    assert said[0] == f"{pattern}: 3 files read as one split"
    assert len(one.splits["train"]) + len(one.splits["validation"]) == 3
    two = prepare.read(TaskSpec(name="squad", data=str(tmp_path / "parts")), 0, said.append)
    assert two.fingerprint == one.fingerprint
    with pytest.raises(DataError, match="several files; only questions are read from several as one split"):
        prepare.read(TaskSpec(name="mrpc", train=pattern), 0, said.append)


# --- faults -------------------------------------------------------------------------------------------------


def test_what_is_no_json_is_told_by_line_and_column(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"data": [\n  {"paragraphs": }\n]}', encoding="utf-8")
    assert fault(path) == "FILE:2:18: not JSON: Expecting value; the file is damaged or cut short, fetch it again"
    path.write_text('{"rows": [], "version": 1}', encoding="utf-8")
    assert fault(path) == (
        'FILE: no list of articles; the SQuAD format is {"data": [articles]}; found keys rows, version'
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (asked("a", start="38"), '`answer_start` is "38" (str), not a whole number; write it so'),
        (asked("a", text=5), "`text` is 5 (int), not text; write it so"),
        (asked("a", text=" "), 'an answer without text; write it, or give "is_impossible": true where there is none'),
        (asked("a", is_impossible="no"), '`is_impossible` is "no" (str), not true or false; write it so'),
        ({"id": "a", "answers": []}, "no `question`; found id, answers; add it"),
        (asked("a") | {"answers": "river"}, '`answers` is "river" (str), not a list; write it so'),
        (
            asked("a") | {"answers": [7]},
            "7 (int) instead of an object with `text`; write it as the SQuAD format has it",
        ),
        (asked("b"), "there twice; give each question an id of its own"),
        (without("a"), 'no answer, as others have; give one, or "is_impossible": true where there is none'),
    ],
)
def test_faults_of_a_question(tmp_path, wrong, said):
    assert fault(write(tmp_path / "a.json", asked("b"), wrong)) == f"FILE: question `{wrong['id']}`: {said}"


def test_faults_without_an_id(tmp_path):
    path = write(tmp_path / "a.json", asked("b"), {"question": "Who?"}, 5)
    assert fault(path).splitlines() == [
        "FILE: article 1, paragraph 1, question 2: no `id`; found question; add it",
        "FILE: article 1, paragraph 1, question 3: 5 (int) instead of an object with `id`; write it as the SQuAD "
        "format has it",
    ]
    path = write(tmp_path / "b.json", asked("b"), context=" \u200b\n".replace("\u200b", "\x00"))
    assert fault(path) == "FILE: question `b`: its context is empty; write it, or take the paragraph out"
    path.write_text(json.dumps({"data": [{"title": "x"}, {"paragraphs": [{"context": "a"}]}]}), encoding="utf-8")
    assert fault(path).splitlines() == [
        "FILE: article 1: no `paragraphs`; found title; add it",
        "FILE: article 2, paragraph 1: no `qas`; found context; add it",
    ]


def test_the_first_few_faults_are_told(tmp_path):
    found = fault(write(tmp_path / "a.json", *(asked(f"{n}", text=5) for n in range(9)))).splitlines()
    assert len(found) == 4
    assert found[3] == "and 6 more faults of these files"


def test_squad_has_no_question_without_answer(tmp_path):
    path = write(tmp_path / "a.json", asked("a"), without("b", is_impossible=True))
    assert fault(path, unanswerable=False) == (
        "FILE: question `b`: `is_impossible` is true; with --task squad2 questions may be without an answer"
    )


def test_nothing_to_learn(tmp_path):
    def said(path):
        with pytest.raises(DataError) as error:
            prepare.read(TaskSpec(name="squad2", train=str(path), validation=str(good)), 0, lambda _: None)
        return str(error.value).replace(str(path), "FILE")

    good = write(tmp_path / "good.json", asked("g"))
    assert said(write(tmp_path / "a.json", without("a"))) == ("FILE: no answers to train on; give a file that has them")
    assert said(write(tmp_path / "b.json", without("a", is_impossible=True), without("b", is_impossible=True))) == (
        "FILE: all 2 examples are without an answer; nothing can be learned from them"
    )
    with pytest.raises(RecipeError, match=r"task\.text: squad reads the SQuAD format, whose keys are fixed"):
        prepare.read(TaskSpec(name="squad", train=str(good), text="question"), 0, lambda _: None)


# --- where answers are --------------------------------------------------------------------------------------


def test_a_wrong_offset_is_put_right_where_the_text_is_once(tmp_path):
    path = write(
        tmp_path / "a.json", *(asked(f"{n}") for n in range(8)), asked("moved", start=2), asked("lost", "dog", 2)
    )
    raw = read(path)
    assert raw.spans == [(38, 43)] * 9 + [(IGNORE, IGNORE)]
    assert raw.answers[-1] == ("dog",)
    assert notes(raw) == [
        "1 answers are not at their answer_start, but found elsewhere in their context (question `moved`)",
        "1 answers are not at their answer_start, nor once elsewhere in their context: not learned from (question "
        "`lost`)",
    ]


def test_another_answer_is_learned_where_the_first_is_nowhere(tmp_path):
    question = asked("a", "cat", 0)
    question["answers"].append({"text": "river", "answer_start": 38})
    rest = [asked(f"{n}") for n in range(20)]
    assert read(write(tmp_path / "a.json", question, *rest)).spans[0] == (38, 43)


def test_too_many_answers_are_nowhere(tmp_path):
    path = write(tmp_path / "a.json", *(asked(f"{n}") for n in range(8)), asked("x", "cat"), asked("y", "dog"))
    assert fault(path) == (
        "FILE: 2 of 10 answers are not at their answer_start, nor once elsewhere in their context (questions `x`, `y`);"
        " correct them, or give the file that belongs to these contexts"
    )


COMPOSED = "é한국 fox 한국"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize(
    ("context", "answer", "start", "found"),
    [
        ("a  dog and a dog", " dog ", 2, "dog"),
        ("a  dog and a dog", "dog", 1, "dog"),
        (COMPOSED, "fox", DECOMPOSED.index("fox"), "fox"),
        (COMPOSED, "한국", DECOMPOSED.rindex(unicodedata.normalize("NFD", "한국")), "한국"),
        (COMPOSED, unicodedata.normalize("NFD", "한국"), 8, "한국"),
        (DECOMPOSED, "한국", 8, unicodedata.normalize("NFD", "한국")),
        (DECOMPOSED, "é", None, "e\u0301"),
    ],
)
def test_blanks_and_forms_of_unicode(context, answer, start, found):
    """Of two places, the one that the offset counts in another form."""
    first, stop = placing.elsewhere(context, answer, start) or (0, 0)
    assert context[first:stop] == found
    if unicodedata.normalize("NFC", answer) == "한국":
        assert first == context.rindex(found)


def test_nowhere():
    assert placing.elsewhere("aaa", "aa", 7) is None  # twice, in one another
    assert placing.elsewhere("한국 한국", "한국", 99) is None
    assert placing.elsewhere("dog", "cat", -1) is None
    assert placing.there("a dog", "g", -1) is None


# --- a task of it -------------------------------------------------------------------------------------------


def articles(*sizes, titles=True):
    names = [f"T{n if titles else 0}" for n, size in enumerate(sizes) for _ in range(size)]
    texts = [("Who?", f"context {number // 3}") for number in range(len(names))]
    count, ids = len(names), tuple(map(str, range(len(names))))
    labels = np.full((count, 2), -1)
    return Questions(texts, labels, (), "a", np.arange(count), False, False, ids, (("x",),) * count, tuple(names))


def test_whole_articles_are_held_out():
    data = articles(208, 418, 424, 444, 255, 421, 373, 262, 445, 458, 357)
    for share in (0.001, 0.1, 0.3, 0.999):
        held = dividing.held_out(data, share)
        sides = {(article, side) for article, side in zip(data.articles, held.tolist(), strict=True)}
        assert len(sides) == 11
        assert 0 < held.sum() < len(held)
        assert abs(held.mean() - share) < 0.09 or share > 0.9


def test_one_article_is_divided_by_paragraph():
    data = articles(60)
    held = dividing.held_out(data, 0.2)
    assert data.divided_by[0] == "paragraph"
    assert len({(text[1], side) for text, side in zip(data.texts, held.tolist(), strict=True)}) == 20
    assert held.sum() == 12


def test_a_part_of_questions():
    data = articles(2, 2)
    some = dividing.part(data, np.array([True, False, False, True]))
    assert isinstance(some, Questions)
    assert (some.ids, some.articles, some.answers) == (("0", "3"), ("T0", "T1"), (("x",), ("x",)))
    assert some.labels.shape == (2, 2)
    assert dividing.drawn(data, 3, 0).sum() == 3


def test_the_fingerprint_covers_what_is_asked_and_answered():
    base = articles(2)
    for change in (
        {"ids": ("0", "x")},
        {"answers": (("x",), ("x", "y"))},
        {"labels": base.labels + 1},
        {"articles": ("T0", "y")},
    ):
        other = Questions(**{**vars(base), **change})  # type: ignore[arg-type]
        assert other.fingerprint != articles(2).fingerprint
    assert articles(2).fingerprint == articles(2).fingerprint


def test_files_of_your_own(tmp_path):
    rest = [asked(f"{n}") for n in range(3)]
    path = tmp_path / "my.json"
    document = {
        "data": [{"title": f"{n}", "paragraphs": [{"context": CONTEXT, "qas": [q]}]} for n, q in enumerate(rest)]
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    said = []
    task = prepare.read(TaskSpec(data=str(path)), 0, said.append).task
    assert (task.name, task.kind, task.rule, task.recipe) == ("my", "answering", "squad", "finetune/squad")
    assert said[0] == f"{path}: questions in the SQuAD format, 0 of 3 without an answer: scored by the rules of squad"
    document["data"][0]["paragraphs"][0]["qas"].append(without("none", is_impossible=True))
    path.write_text(json.dumps(document), encoding="utf-8")
    assert prepare.read(TaskSpec(data=str(path)), 0, said.append).task.rule == "squad2"


def test_the_hub(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PTK_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    rows = {"id": ["a", "b"], "title": ["T", "U"], "context": [CONTEXT] * 2, "question": ["Where to?", "Who?"]}
    made = datasets.Dataset.from_dict({**rows, "answers": HUB_ANSWERS})
    monkeypatch.setattr(hub, "load", lambda _: {"train": made, "validation": made})
    found = prepare.read(TaskSpec(name="squad2"), 0, lambda _: None).splits["train"]
    assert isinstance(found, Questions)
    assert found.labels.tolist() == [[38, 43], [-1, -1]]
    assert found.articles == ("T", "U")


# --- the store ----------------------------------------------------------------------------------------------


def normal(text):
    """As the official script has it."""
    words = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", words).split())


def spans_of(found, data):
    """(text of the stored span, its tokens' offsets, all offsets of the context) of each question with one."""
    for number in np.flatnonzero(found.labels[:, 0] >= 0):
        begin, end = found.sentences[2 * number + 1], found.sentences[2 * number + 2]
        first, last = found.labels[number] + begin
        assert last < end
        start, stop = found.offsets[first, 0], found.offsets[last, 1]
        yield number, data.texts[number][1][start:stop], found.offsets[begin:end]


def test_a_store_of_questions(tmp_path, monkeypatch):
    monkeypatch.setenv("PTK_CACHE", str(tmp_path))
    calls = []
    tokenizer = train(TokenizerSpec(kind="wordpiece", vocab_size=300), [CONTEXT] * 5)
    monkeypatch.setattr(type(tokenizer), "encode_aligned", _counting(type(tokenizer).encode_aligned, calls))
    labels = np.array([[38, 43], [-1, -1], [IGNORE, IGNORE], [18, 19]])
    ids, answers = tuple("abcd"), (("river",), (), ("x",), (" ",))
    texts = [("Who?", CONTEXT), ("Who?", CONTEXT), ("What?", CONTEXT), ("Where?", CONTEXT)]
    data = Questions(texts, labels, (), "a", np.arange(4), False, False, ids, answers, tuple("abcd"))
    found = store.tokenized(data, tokenizer)
    assert sorted(calls) == sorted({"Who?", "What?", "Where?", CONTEXT})
    assert found.documents.tolist() == [0, 2, 4, 6, 8]
    assert found.offsets.shape == (len(found.tokens), 2)
    assert (found.labels.dtype, found.offsets.dtype) == (np.int64, np.int32)
    assert found.labels[1:].tolist() == [[-1, -1], [IGNORE, IGNORE], [IGNORE, IGNORE]]  # a blank is in no token
    assert [text for _, text, _ in spans_of(found, data)] == ["river"]
    question = found.offsets[: found.sentences[1]].tolist()
    assert (question[0][0], question[-1][1]) == (0, len("Who?"))
    (found.folder / "offsets.npy").write_bytes(b"short")
    with pytest.raises(DataError, match=r"offsets\.npy: cut short; delete"):
        store.tokenized(data, tokenizer)


def test_the_share_of_answers_inside_tokens(tmp_path, monkeypatch):
    monkeypatch.setenv("PTK_CACHE", str(tmp_path))
    tokenizer = train(TokenizerSpec(kind="wordpiece", vocab_size=300), [CONTEXT] * 5)
    labels, ids = np.array([[38, 43], [38, 42], [-1, -1], [IGNORE, IGNORE]]), tuple("abcd")
    texts, answers = [("Who?", CONTEXT)] * 4, (("river",), ("rive",), (), ())
    data = Questions(texts, labels, (), "a", np.arange(4), False, False, ids, answers, ids)
    assert store.share_inside_tokens(data, store.tokenized(data, tokenizer)) == 0.5


def _counting(encode, calls):
    def counted(self, texts):
        calls.extend(texts)
        return encode(self, texts)

    return counted


@pytest.fixture(scope="module")
def tokenizers():
    every = [text for name in REAL for text in dict.fromkeys(c for _, c in shared(name).texts)][::30]
    kinds = {"wordpiece": True, "bpe": False, "unigram": False}  # with or without lowercase
    specs = [TokenizerSpec(kind=kind, vocab_size=2000, lowercase=lower) for kind, lower in kinds.items()]  # type: ignore[arg-type]
    return [train(spec, every) for spec in specs]


def shared(name) -> Questions:
    """A part of a real file."""
    path = next((SHARED / name).glob("*.json"))
    data = prepare.read_split(TaskSpec(name=REAL[name], data=str(path)), "validation", lambda _: None)[1]
    return dividing.part(data, np.arange(len(data)) % 7 == 0)  # type: ignore[return-value]


@pytest.mark.skipif(not (SHARED / "squad2_dev").is_dir(), reason="needs the shared data")
@pytest.mark.parametrize("name", REAL)
def test_every_answer_that_tokens_can_say_is_stored(tokenizers, name, tmp_path, monkeypatch, capsys):
    """By the official normalisation; where it is not, a token lies across an end of the answer."""
    monkeypatch.setenv("PTK_CACHE", str(tmp_path))
    data = shared(name)
    assert data.has_label.all()
    for tokenizer in tokenizers:
        wrong = _not_said(store.tokenized(data, tokenizer), data)
        with capsys.disabled():
            print(f"\n{name}, {tokenizer.kind}: {len(wrong) / len(data):.2%} of the answers end inside a token", end="")
        assert len(wrong) < len(data) * (0.2 if name == "korquad1_dev" else 0.005)


def _not_said(found, data) -> list[int]:
    wrong = []
    for number, text, offsets in spans_of(found, data):
        if normal(text) == normal(data.answers[number][0]):
            continue
        ends = data.labels[number]
        across = (offsets[:, :1] < ends) & (ends < offsets[:, 1:])
        assert across.any(), (text, data.answers[number])
        wrong.append(number)
    return wrong
