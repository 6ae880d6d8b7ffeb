"""Scores of answers: hand-made cases for every clause of SQ-10, and the shared data scored by code of another kind."""

import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptk.errors import DataError
from ptk.tasks.answer_scores import (
    answer_nothing,
    best_threshold,
    fitted_threshold,
    normalised,
    scores,
    worth,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("rule", "text", "normal"),
    [
        ("squad", "The Cat", "cat"),
        ("squad", "a an the", ""),
        ("squad", "theatre, another; an-other", "theatre another another"),  # punctuation goes before articles do
        ("squad", "'the'", ""),
        ("squad", "U.S.A.", "usa"),
        ("squad", "\tone\n two  ", "one two"),
        ("squad", "!?.,", ""),
        ("squad", "“quoted” – 3€", "“quoted” – 3€"),  # ASCII punctuation only
        ("squad", "the-a", "thea"),
        ("squad", "an–a", "–"),  # words end at other dashes
        ("squad", "x–the–y", "x– –y"),
        ("squad2", "The  End.", "end"),
        ("korquad", "《춘향전》을", "춘향전 을"),
        ("korquad", "〈a〉<b>(c)‘d’'e'\"f\"", "a b c d e f"),
        ("korquad", "The U.S.", "the us"),  # no articles in Korean
        ("korquad", "“큰따옴표”「낫표」", "“큰따옴표”「낫표」"),  # not among those that are taken away
        ("korquad", "1,000.5%", "10005"),
    ],
)
def test_what_is_compared(rule, text: str, normal: str):
    assert normalised(rule, text) == normal


@pytest.mark.parametrize(
    ("rule", "golds", "said", "exact", "f1"),
    [
        ("squad", ["the red house"], "Red house!", 1, 1),
        ("squad", ["red house"], "a big red house", 0, 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("squad", ["one one two"], "one two two", 0, 2 / 3),  # each word as often as both have it
        ("squad", ["house red"], "red house", 0, 1),
        ("squad", ["blue", "red house", "red"], "red", 1, 1),
        ("squad", ["red house", "red big house"], "big red", 0, 0.8),  # the best gold
        ("squad", ["red"], "blue", 0, 0),
        ("squad", ["red"], "", 0, 0),
        ("squad", ["the"], "a", 1, 0),  # equal, but no word in common
        ("squad", ["The", "red"], "the", 1, 0),
        ("squad", ["..."], "", 1, 0),
        ("squad2", ["the", "red"], "the", 0, 0),  # a gold that normalises to nothing is none
        ("squad2", ["the", "red"], "red", 1, 1),
        ("squad2", ["the", "!"], "a", 1, 1),  # of only such, nothing is left
        ("squad2", ["the"], "red", 0, 0),
        ("squad2", ["red"], "", 0, 0),
        ("squad2", [], "", 1, 1),
        ("squad2", [], "the .", 1, 1),
        ("squad2", [], "red", 0, 0),
        ("korquad", ["대한민국"], "대한민국은", 0, 2 * 0.8 * 1 / 1.8),  # a particle costs one character
        ("korquad", ["《춘향전》"], "춘향전", 1, 1),
        ("korquad", ["붉은 집"], "붉은집", 0, 1),  # blanks are no characters, but do not match exactly
        ("korquad", ["가나다"], "라마", 0, 0),
        ("korquad", ["가가나"], "가나나", 0, 2 / 3),
        ("korquad", ["the end"], "end", 0, 2 * 1 * 0.5 / 1.5),
        ("korquad", ["'"], "", 1, 0),
    ],
)
def test_one_answer(rule, golds: list[str], said: str, exact: float, f1: float):
    found = worth(rule, [golds], [said])
    assert [float(each[0]) for each in found] == pytest.approx([exact, f1], abs=1e-12)


def test_means_are_per_cent_of_all_questions():
    assert scores("squad", [["a b"], ["c"], ["d"]], ["b", "x", "d d"]) == pytest.approx(
        {"exact_match": 100 / 3, "f1": 100 * (1 + 0 + 2 / 3) / 3}
    )


def test_with_and_without_an_answer():
    found = scores("squad2", [["red"], [], [], ["big house"]], ["red", "", "text", "house"])
    assert found == pytest.approx(
        {
            "exact_match": 50,
            "f1": 100 * (1 + 1 + 0 + 2 / 3) / 4,
            "HasAns_exact": 50,
            "HasAns_f1": 100 * (1 + 2 / 3) / 2,
            "HasAns_total": 2,
            "NoAns_exact": 50,
            "NoAns_f1": 50,
            "NoAns_total": 2,
        }
    )
    assert "NoAns_total" not in scores("squad2", [["red"]], ["red"])
    assert "HasAns_total" not in scores("squad2", [[]], ["red"])


GOLDS = [["red"], [], ["blue"], [], ["green"]]
TEXTS = ["red", "wrong", "blue sky", "wrong", "no"]
ODDS = np.array([-3.0, 2.0, -1.0, 1.0, 3.0])


def test_the_threshold_silences():
    """What lies above it is "", which is right where there is no answer."""
    found = scores("squad2", GOLDS, TEXTS, ODDS, threshold=1.0)
    assert found["exact_match"] == pytest.approx(100 * (1 + 1 + 0 + 0 + 0) / 5)  # 1.0 does not exceed 1.0
    assert found["f1"] == pytest.approx(100 * (1 + 1 + 2 / 3 + 0 + 0) / 5)
    assert (found["HasAns_exact"], found["NoAns_exact"]) == (pytest.approx(100 / 3), 50)
    assert scores("squad2", GOLDS, TEXTS, ODDS, threshold=math.inf)["f1"] == scores("squad2", GOLDS, TEXTS)["f1"]
    # Whatever the threshold, the best ones are of what would be said. Nothing: 2, then 3, 3 or 3.67, less 1, 2.
    assert (found["best_exact"], found["best_exact_thresh"]) == (pytest.approx(60), -3)
    assert (found["best_f1"], found["best_f1_thresh"]) == (pytest.approx(100 * (3 + 2 / 3) / 5), -1)


def swept(values: list[float], has: list[bool], said: list[str], odds: list[float]) -> tuple[float, float]:
    """From nothing answered, one question after the other; only what is better counts."""
    now = best = float(has.count(False))
    at = 0.0
    for number in sorted(range(len(odds)), key=lambda number: odds[number]):
        now += values[number] if has[number] else -1 if said[number] else 0
        if now > best:
            best, at = now, odds[number]
    return 100 * best / len(values), at


def score_at(threshold: float, values: np.ndarray, has: np.ndarray, said: list[str], odds: np.ndarray) -> float:
    spoken = np.where(has, values, [0.0 if text else 1.0 for text in said])
    return float(np.where(odds > threshold, ~has, spoken).mean())


@pytest.mark.parametrize("kinds", [5, 1000])
def test_thresholds(kinds: int):
    """The named one is the script's, also among ties; the fitted one is the best of all that can be chosen."""
    random = np.random.default_rng(kinds)
    for _ in range(60):
        count = int(random.integers(1, 40))
        has, values = random.random(count) < 0.5, random.integers(0, 4, count) / 3
        said = random.choice(["", "text"], count, p=[0.2, 0.8]).tolist()
        values = np.where(has, values, [0.0 if text else 1.0 for text in said])
        odds = random.choice(random.normal(0, 3, kinds), count)
        expected = swept(values.tolist(), has.tolist(), said, odds.tolist())
        assert best_threshold(values, has, said, odds) == pytest.approx(expected, abs=1e-12)
        fitted = score_at(fitted_threshold(values, has, said, odds), values, has, said, odds)
        every = [score_at(at, values, has, said, odds) for at in (-math.inf, *odds)]
        assert fitted == pytest.approx(max(every), abs=1e-12)


def test_where_to_answer_nothing_is_best():
    values, has, said, odds = np.zeros(3), np.array([False, True, False]), ["x", "y", "z"], np.array([-9.0, -8, -7])
    assert best_threshold(values, has, said, odds) == (pytest.approx(200 / 3), 0.0)
    assert fitted_threshold(values, has, said, odds) < -9


def test_of_thresholds_that_score_the_same_the_one_nearest_to_0_is_taken():
    values, has, said = np.array([1.0, 0.0]), np.array([True, True]), ["x", "y"]
    for odds, fitted in (([-2.0, 3.0], 0.0), ([-2.0, -1.0], 0.0), ([2.0, 3.0], 2.0)):
        assert fitted_threshold(values, has, said, np.array(odds)) == fitted
    none = np.array([False, False])
    assert fitted_threshold(np.zeros(2), none, said, np.array([1.0, 2.0])) == 0.0


def test_of_equal_null_odds_all_or_none_are_answered():
    values, has, said, odds = np.array([1.0, 0.0]), np.array([True, False]), ["x", "y"], np.zeros(2)
    assert best_threshold(values, has, said, odds) == (100.0, 0.0)  # as the script says; nothing reaches it
    assert score_at(fitted_threshold(values, has, said, odds), values, has, said, odds) == 0.5


def test_answering_nothing():
    assert answer_nothing("squad2", GOLDS) == {"exact_match": 40, "f1": 40}
    assert answer_nothing("squad", [["red"], ["the"]]) == {"exact_match": 50, "f1": 0}


def test_faults():
    with pytest.raises(DataError, match=r"question 2 of 3 has no gold answer \(2 have none\), and squad wants one"):
        scores("squad", [["a"], [], []], ["x", "", ""])
    with pytest.raises(DataError, match="korquad wants one"):
        scores("korquad", [[]], [""])
    with pytest.raises(ValueError, match="no questions"):
        scores("squad2", [], [])
    with pytest.raises(ValueError, match="shorter"):
        scores("squad2", [["a"], []], ["x"])


# Independent of ptk: what is compared as a list, sets and counts by hand, predictions as the official files have them.


def words(text: str) -> list[str]:
    kept = "".join(letter for letter in text.lower() if not (33 <= ord(letter) <= 126 and not letter.isalnum()))
    return re.sub(r"(?<!\w)(?:the|an|a)(?!\w)", " ", kept).split()


def korean_words(text: str) -> list[str]:
    blanks = "".join(" " if letter in {*"'\"《》<>〈〉()‘’"} else letter for letter in text)
    return "".join(letter for letter in blanks.lower() if not (letter.isascii() and letter.isprintable()) or
                   letter.isalnum() or letter == " ").split()  # fmt: skip


def bag_f1(gold: list[str], said: list[str]) -> float:
    left, same = list(gold), 0
    for piece in said:
        if piece in left:
            left.remove(piece)
            same += 1
    return 2 * same / (len(gold) + len(said)) if same else 0.0


def plain_scores(golds: list[str], said: str, form: Callable[[str], list[str]], letters: bool, v2: bool):
    if v2:
        golds = [gold for gold in golds if form(gold)] or [""]
    pairs = []
    for gold in golds:
        a, b = form(gold), form(said)
        f1 = bag_f1([*"".join(a)], [*"".join(b)]) if letters else bag_f1(a, b)
        pairs.append((float(a == b), float(a == b) if v2 and not (a and b) else f1))
    return max(exact for exact, _ in pairs), max(f1 for _, f1 in pairs)


def plausible(golds: list[str], context: str, random: np.random.Generator) -> str:
    """The first gold answer, a part of it, more than it, another part of the context, or nothing."""
    first = golds[0] if golds else context[: int(random.integers(5, 40))]
    start = int(random.integers(0, max(1, len(context) - 30)))
    choices = [first, first[: len(first) // 2], f"the {first}", context[start : start + 25], "", f"{first}, the."]
    return choices[int(random.integers(len(choices)))]


FILES = {
    "squad": "squad1_xquad_en/xquad.en.json",
    "squad2": "squad2_dev/dev-v2.0.json",
    "korquad": "korquad1_dev/KorQuAD_v1.0_dev.json",
}


def asked(path: Path) -> list[tuple[list[str], str]]:
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    return [([gold["text"] for gold in qa["answers"]], each["context"]) for each in paragraphs for qa in each["qas"]]


@pytest.mark.real_data
@pytest.mark.parametrize("rule", FILES)
def test_shared_data_as_code_of_another_kind_scores_them(real_data: Path, rule):
    random = np.random.default_rng(0)
    questions = asked(real_data / FILES[rule])
    golds = [gold for gold, _ in questions]
    said = [plausible(gold, context, random) for gold, context in questions]
    odds = random.normal(0, 3, len(said)).round(2)  # many are equal
    form, v2 = korean_words if rule == "korquad" else words, rule == "squad2"
    pairs = [plain_scores(g, text, form, rule == "korquad", v2) for g, text in zip(golds, said, strict=True)]
    exact, f1 = (list(each) for each in zip(*pairs, strict=True))
    found = scores(rule, golds, said)
    expected = {"exact_match": 100 * sum(exact) / len(exact), "f1": 100 * sum(f1) / len(f1)}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert 10 < expected["exact_match"] < expected["f1"] < 90
    if v2:
        has = [bool(gold) for gold in golds]
        found = scores(rule, golds, said, odds, threshold=0.5)
        for name, values in (("exact", exact), ("f1", f1)):
            counted = [float(not a) if o > 0.5 else v for a, o, v in zip(has, odds.tolist(), values, strict=True)]
            split = {True: "HasAns", False: "NoAns"}
            for group, called in split.items():
                part = [value for value, a in zip(counted, has, strict=True) if a == group]
                assert found[f"{called}_{name}"] == pytest.approx(100 * sum(part) / len(part), abs=1e-9)
                assert found[f"{called}_total"] == len(part) == {True: 1910, False: 2155}[group]
            best = swept(values, has, said, odds.tolist())
            assert (found[f"best_{name}"], found[f"best_{name}_thresh"]) == pytest.approx(best, abs=1e-9)
        assert answer_nothing(rule, golds)["f1"] == pytest.approx(100 * 2155 / 4065)  # 53.0


def test_ten_thousand_questions_take_less_than_a_second():
    random = np.random.default_rng(0)
    some = [f"the {first} of {second}" for first in "abcdefghij" for second in "klmnopqrst"]
    golds = [random.choice(some, 4).tolist() if number % 2 else [] for number in range(10_000)]
    said = [f"{text} {number}" for number, text in enumerate(random.choice(some, 10_000))]
    begun = time.process_time()
    scores("squad2", golds, said, random.normal(size=10_000))
    assert time.process_time() - begun < 1
