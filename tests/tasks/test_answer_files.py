"""Files of answers: written as the sites want them, read back as they were, their faults named."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ptk.errors import DataError
from ptk.tasks.answer_files import Candidate, Said, read, read_null_odds, write
from ptk.tasks.examples import Questions

IDS = ("q1", "6566-0-0", "56be")
CONTEXT = 'The red house, 《춘향전》을 "said" he\tand 😀.'


def questions(ids: tuple[str, ...] = IDS) -> Questions:
    count = len(ids)
    labels, lines = np.full((count, 2), -1), np.zeros(count, np.int64)
    texts = [("who?", CONTEXT)] * count
    return Questions(texts, labels, (), "dev.json", lines, ids=ids, answers=((),) * count, articles=("x",) * count)


def answer(text: str, odds: float | None = None) -> Said:
    start = CONTEXT.find(text) if text else -1
    end = start + len(text) if text else -1
    other = Candidate("", -1, -1, 0.5, 0.25, 0.125)
    first = Candidate(text, start, end, 1.23456789, -2.5, 0.87654321)
    return Said(text, start, end, first.probability, odds, (first, other) if text else (other,))


SAID = [answer("《춘향전》을", 0.1), answer(""), answer('"said" he\tand 😀', -2.0)]


def test_what_is_written(tmp_path: Path):
    answers = [each._replace(null_odds=odds) for each, odds in zip(SAID, (0.1, -1 / 3, 2.0), strict=True)]
    path = write(tmp_path / "predictions", "validation", questions(), answers)
    assert path == tmp_path / "predictions/predictions.json"
    assert path.read_text(encoding="utf-8") == (
        '{\n "q1": "《춘향전》을",\n "6566-0-0": "",\n "56be": "\\"said\\" he\\tand 😀"\n}\n'
    )
    odds = json.loads((path.parent / "null_odds.json").read_text())
    assert odds == {"q1": 0.1, "6566-0-0": -1 / 3, "56be": 2.0}  # every digit: the threshold is compared with them
    n_best = json.loads((path.parent / "nbest.json").read_text(encoding="utf-8"))
    assert list(n_best) == list(IDS)
    assert n_best["q1"] == [
        {"text": "《춘향전》을", "probability": 0.876543, "start_logit": 1.234568, "end_logit": -2.5},
        {"text": "", "probability": 0.125, "start_logit": 0.5, "end_logit": 0.25},
    ]
    assert len(n_best["6566-0-0"]) == 1
    assert sorted(each.name for each in path.parent.iterdir()) == ["nbest.json", "null_odds.json", "predictions.json"]


def test_read_back(tmp_path: Path):
    answers = [each._replace(null_odds=odds) for each, odds in zip(SAID, (0.1, -1 / 3, 2.0), strict=True)]
    path = write(tmp_path, "validation", questions(), answers)
    backwards = questions(IDS[::-1])
    assert read(path, questions()) == [each.text for each in SAID]
    assert read(path, backwards) == [each.text for each in SAID][::-1]
    odds, place = read_null_odds(path.with_name("null_odds.json"), backwards)
    assert odds.tolist() == [2.0, -1 / 3, 0.1]
    assert place.tolist() == [2, 1, 0]


def test_other_splits_and_tasks_without_null_odds(tmp_path: Path):
    answers = [each._replace(null_odds=None) for each in SAID]
    assert write(tmp_path, "test", questions(), answers) == tmp_path / "test/predictions.json"
    assert not (tmp_path / "test/null_odds.json").exists()
    (tmp_path / "test/null_odds.json").write_text("{}")  # of another task's answers
    write(tmp_path, "test", questions(), answers)
    assert not (tmp_path / "test/null_odds.json").exists()


def test_every_question_needs_an_answer(tmp_path: Path):
    with pytest.raises(ValueError, match="shorter"):
        write(tmp_path, "validation", questions(), SAID[:2])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"q1": "a",\n "6566-0-0" "b"}', r"p\.json:2:13: not JSON \(Expecting ':' delimiter\)"),
        ("", r"p\.json:1:1: not JSON"),
        ("[1, 2]", r"p\.json: holds \[1, 2\], not an object"),
        ('{"q1": "a", "56be": ""}', r"nothing for question 6566-0-0 \(1 missing of 3 in dev\.json\)"),
        ("{}", r"nothing for question q1 \(3 missing of 3 in dev\.json\)"),
        (
            '{"q1": "a", "6566-0-0": "", "56be": "", "x": "", "y": ""}',
            r"question x is not in dev\.json \(2 of 5 are not\); give --data",
        ),
        ('{"q1": "a", "6566-0-0": null, "56be": ""}', r"question 6566-0-0: None is not text"),
        ('{"q1": [{"text": "a"}], "6566-0-0": "", "56be": ""}', r"question q1: \[\{'text': 'a'\}\] is not text"),
        ('{"q1": "a", "6566-0-0": "", "56be": "", "q1": "b"}', r"p\.json: q1 comes twice"),
        (b'{"q1": "\xff"}', r"p\.json: not JSON in UTF-8"),
        ("[" * 200_000, r"p\.json: not JSON in UTF-8"),
    ],
)
def test_faults_of_a_file(tmp_path: Path, content: str | bytes, message: str):
    path = tmp_path / "p.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as fault:
        read(path, questions())
    assert str(fault.value).startswith(str(path))
    assert "\n" not in str(fault.value)


def test_a_mark_of_the_byte_order_is_no_fault(tmp_path: Path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(dict.fromkeys(IDS, "é")), encoding="utf-8-sig")
    assert read(path, questions()) == ["é"] * 3


@pytest.mark.parametrize("value", ['"1"', "true", "NaN", "Infinity"])
def test_null_odds_are_finite_numbers(tmp_path: Path, value: str):
    path = tmp_path / "null_odds.json"
    path.write_text(f'{{"q1": 1, "6566-0-0": {value}, "56be": 2.5}}')
    with pytest.raises(DataError, match=r"question 6566-0-0: .* is not a (finite )?number"):
        read_null_odds(path, questions())
    path.write_text('{"q1": 1, "6566-0-0": -3, "56be": 2.5}')
    assert read_null_odds(path, questions())[0].tolist() == [1, -3, 2.5]


def test_the_best_text_whether_or_not_it_is_said():
    empty, text = Candidate("", -1, -1, 2, 2, 0.9), Candidate("red", 4, 7, 1, 1, 0.1)
    assert Said("", -1, -1, 0.9, math.inf, (empty, text)).best == "red"
    assert Said("", -1, -1, 0.9, None, (empty,)).best == ""
