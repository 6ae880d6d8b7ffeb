"""From candidates to answers: as plain loops by the rules SQ-7, SQ-8 and SQ-9 find them, and by hand."""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ptk.errors import DataError
from ptk.evaluation.answering import chosen, fit_threshold, has_gold, said, softmax, with_threshold
from ptk.tasks.answer_files import Candidate, Said
from ptk.tasks.answer_scores import scores
from ptk.tasks.examples import IGNORE, Questions

LONGEST = 6  # tokens of an answer
WORDS = ["red", "house", "then", "Red", "춘향전을", "é", "😀", "a\tb", "end."]


def questions_of(contexts: list[str], answers: Any = None, labels: Any = None) -> Questions:
    count = len(contexts)
    return Questions(
        [(f"question {number}?", context) for number, context in enumerate(contexts)],
        np.full((count, 2), -1) if labels is None else np.array(labels),
        (),
        "dev.json",
        np.zeros(count, np.int64),
        ids=tuple(f"q{number}" for number in range(count)),
        answers=tuple(answers or ((),) * count),
        articles=("x",) * count,
    )


def store_of(contexts: list[list[tuple[int, int]]]) -> Any:
    """Of each question three tokens, then those of its context at the characters given."""
    offsets = [pair for spans in contexts for pair in [(0, 8), (9, 10), (10, 11), *spans]]
    sizes = [size for spans in contexts for size in (3, len(spans))]
    return SimpleNamespace(
        sentences=np.concatenate([[0], np.cumsum(sizes)]),
        documents=np.arange(0, len(sizes) + 1, 2),
        offsets=np.array(offsets, np.int32).reshape(-1, 2),
    )


@dataclass
class Window:
    example: int
    first: int
    """The context's token at ``position``."""
    position: int
    length: int
    scored: int
    until: int
    """Tokens of the window, from its first, whose max-context window this is."""
    start: np.ndarray
    end: np.ndarray
    impossible: float

    @property
    def null(self) -> np.float32:
        return self.start[0] + self.end[0]


def max_context(windows: list[tuple[int, int]], token: int) -> int:
    """The window in which a token has most on the side where it has less; a longer window is a little better."""
    best, chosen = -math.inf, -1
    for number, (first, length) in enumerate(windows):
        if first <= token < first + length:
            score = min(token - first, first + length - 1 - token) + 0.01 * length
            if score > best:
                best, chosen = score, number
    return chosen


def random_case(count: int, seed: int) -> tuple[list[str], Any, list[Window]]:
    random = np.random.default_rng(seed)
    contexts, tokens, windows = [], [], []
    for example in range(count):
        text, spans = "", []
        for _ in range(int(random.integers(1, 50))):
            text += " " * int(random.integers(1, 3))
            word = str(random.choice(WORDS))
            spans.append((len(text), len(text) + len(word)))
            text += word
        contexts.append(text)
        tokens.append(spans)
        width, step = 20, 12
        starts = range(0, max(len(spans) - width, 0) + step, step)  # until one reaches the end
        places = [(first, min(width, len(spans) - first)) for first in starts]
        owners = [max_context(places, token) for token in range(len(spans))]
        for number, (first, length) in enumerate(places):
            mine = [token - first for token, owner in enumerate(owners) if owner == number]
            scored, until = (mine[0], mine[-1] + 1) if mine else (0, 0)
            assert mine == list(range(scored, until))
            logits = (random.normal(0, 3, (2, 5 + length + 1)) * 4).round().astype(np.float32) / 4  # some are equal
            windows.append(Window(example, first, 5, length, scored, until, logits[0], logits[1], random.normal()))
    random.shuffle(windows)
    return contexts, store_of(tokens), windows


def plain_candidates(window: Window, n_best: int) -> list[tuple[float, int, int, float, float]]:
    """(score, first and last token of the context, the two logits) of a window, the best ``n_best`` first."""
    tokens = range(window.position, window.position + window.length)
    starts = sorted(tokens, key=lambda token: -window.start[token])[:n_best]
    ends = sorted(tokens, key=lambda token: -window.end[token])[:n_best]
    found = []
    for start in starts:
        for end in ends:
            if end < start or end - start + 1 > LONGEST:
                continue
            if not window.scored <= start - window.position < window.until:
                continue
            logits = float(window.start[start]), float(window.end[end])
            shift = window.first - window.position
            found.append((sum(logits), start + shift, end + shift, *logits))
    return sorted(found, key=lambda one: (-one[0], one[1], one[2]))[:n_best]


def found_of(windows: list[Window], n_best: int) -> dict[str, np.ndarray]:
    """The arrays that the objective gives of windows."""
    shape = len(windows), n_best
    arrays = {"start": np.zeros(shape, np.int64), "end": np.zeros(shape, np.int64)}
    arrays |= {name: np.full(shape, -np.inf, np.float32) for name in ("start_logit", "end_logit")}
    for row, window in enumerate(windows):
        for column, (_, *values) in enumerate(plain_candidates(window, n_best)):
            for name, value in zip(arrays, values, strict=True):
                arrays[name][row, column] = value
    return {
        "example": np.array([window.example for window in windows]),
        "null": np.array([window.null for window in windows], np.float32),
        "impossible": np.array([window.impossible for window in windows], np.float32),
        **arrays,
    }


def plain_answer(windows: list[Window], context: str, offsets: np.ndarray, n_best: int, no_answer: str) -> Any:
    """(null odds, [(text, first character, behind the last, logits, probability)]) of one question."""
    every = [one for window in windows for one in plain_candidates(window, n_best)]
    every.sort(key=lambda one: (-one[0], one[1], one[2]))
    texts = [(score, int(offsets[a, 0]), int(offsets[b, 1]), first, last) for score, a, b, first, last in every]
    best = texts[0][0] if texts else 0.0
    odds = None
    if no_answer != "never":
        null = min(float(window.null) for window in windows) - best
        impossible = min(float(np.float32(window.impossible)) for window in windows)
        odds = {"null_span": null, "cls_head": impossible, "both": null + impossible}[no_answer]
        at = next((n for n, one in enumerate(texts) if one[0] < best + odds), len(texts))
        texts.insert(at, (best + odds, -1, -1, (best + odds) / 2, (best + odds) / 2))
    kept: list[Any] = []
    silence = [one for one in texts if one[1] < 0]
    for one in texts:
        if len(kept) < n_best and not any(context[one[1] : one[2]] == context[k[1] : k[2]] for k in kept):
            kept.append(one)
    if silence and silence[0] not in kept:
        kept += silence
    if not kept:
        kept = [(0.0, -1, -1, 0.0, 0.0)]
    total = sum(math.exp(one[0] - best) for one in kept)
    rows = [(context[a:b], a, b, x, y, math.exp(score - best) / total) for score, a, b, x, y in kept]
    return odds, rows


@pytest.mark.parametrize("no_answer", ["never", "null_span", "cls_head", "both"])
@pytest.mark.parametrize("n_best", [3, 20])
def test_as_plain_loops_find_them(no_answer: Any, n_best: int):
    count = 300
    contexts, store, windows = random_case(count, seed=n_best)
    assert len(windows) > 1.5 * count
    questions = questions_of(contexts)
    answers = said(found_of(windows, n_best), questions, store, no_answer, threshold=0.5)
    for number, answer in enumerate(answers):
        own = [window for window in windows if window.example == number]
        offsets = store.offsets[store.sentences[2 * number + 1] : store.sentences[2 * number + 2]]
        odds, rows = plain_answer(own, contexts[number], offsets, n_best, no_answer)
        assert answer.null_odds == (None if odds is None else pytest.approx(odds, abs=1e-9))
        assert [one[:3] for one in answer.n_best] == [row[:3] for row in rows]
        assert np.array([one[3:] for one in answer.n_best]) == pytest.approx(
            np.array([row[3:] for row in rows]), abs=1e-9
        )
        silent = odds is not None and odds > 0.5
        right = next((row for row in rows if bool(row[0]) != silent), rows[0])
        assert answer[:4] == (*right[:3], pytest.approx(right[5], abs=1e-9))
        if answer.text:
            assert contexts[number][answer.start : answer.end] == answer.text
    assert len({answer.text for answer in answers}) > 50


def found_by_hand(**columns: Any) -> dict[str, np.ndarray]:
    shape = np.shape(columns["start"])
    filled = {"null": np.zeros(shape[0]), "impossible": np.zeros(shape[0]), "end_logit": np.zeros(shape), **columns}
    return {name: np.array(values) for name, values in filled.items()}


CONTEXT = "In 1998 (the 5th) 춘향전을\u202fread"
TOKENS = [(0, 2), (3, 7), (8, 9), (9, 12), (13, 16), (16, 17), (18, 21), (21, 22), (23, 27)]


def test_text_is_that_of_the_file():
    """Also half a Korean word, without its particle, and what holds other blanks."""
    store, questions = store_of([TOKENS]), questions_of([CONTEXT])
    for start, end, text in [(1, 1, "1998"), (2, 5, "(the 5th)"), (6, 6, "춘향전"), (6, 8, "춘향전을\u202fread")]:
        found = found_by_hand(example=[0], start=[[start]], end=[[end]], start_logit=[[1.0]])
        [answer] = said(found, questions, store)
        assert (answer.text, answer.score, answer.null_odds) == (text, 1.0, None)
        assert CONTEXT[answer.start : answer.end] == text


def test_windows_compete_and_null_odds_are_of_the_least_null():
    store, questions = store_of([TOKENS]), questions_of([CONTEXT])
    found = found_by_hand(
        example=[0, 0],
        null=[7.0, 2.0],
        impossible=[-0.5, 4.0],
        start=[[0, 1], [6, 8]],
        end=[[0, 1], [6, 8]],
        start_logit=[[1.0, -1.0], [3.0, -np.inf]],
    )
    [answer] = said(found, questions, store, "null_span")
    assert (answer.text, answer.null_odds) == ("춘향전", 2.0 - 3.0)
    assert [one.text for one in answer.n_best] == ["춘향전", ""]  # "" where it belongs, as BERT has it
    [answer] = said(found | {"null": np.array([-9.0, 2.0])}, questions, store, "null_span")
    assert [one.text for one in answer.n_best] == ["춘향전", "In", ""]  # and behind the two where it is worse
    [answer] = said(found, questions, store, "cls_head")
    assert answer.null_odds == -0.5
    # "" has a probability that agrees with the head: the logistic function of its logit, beside the best answer.
    chances = {one.text: one.probability for one in answer.n_best}
    assert chances[""] / (chances[""] + chances["춘향전"]) == pytest.approx(1 / (1 + math.exp(0.5)))
    assert said(found, questions, store, "both")[0].null_odds == -1.5


def test_equal_texts_are_one_candidate():
    context = "red house, red"
    store, questions = store_of([[(0, 3), (4, 9), (9, 10), (11, 14)]]), questions_of([context])
    found = found_by_hand(example=[0], start=[[3, 0, 1]], end=[[3, 0, 1]], start_logit=[[2.0, 1.0, 0.0]])
    [answer] = said(found, questions, store)
    assert [(one.text, one.start) for one in answer.n_best] == [("red", 11), ("house", 4)]
    assert answer.n_best[0].probability == pytest.approx(1 / (1 + math.exp(-2)))


@pytest.mark.parametrize("no_answer", ["never", "null_span"])
def test_no_candidate_at_all(no_answer: Any):
    """ "" whatever the threshold, with numbers that a JSON file can hold."""
    store, questions = store_of([TOKENS, []]), questions_of([CONTEXT, ""])
    nothing, nowhere = np.full((2, 2), -np.inf), np.zeros((2, 2), np.int64)
    found = found_by_hand(example=[1, 0], null=[-3.0, 1.0], start=nowhere, end=nowhere, start_logit=nothing)
    for answer, null in zip(said(found, questions, store, no_answer, threshold=9.0), (1.0, -3.0), strict=True):
        assert answer[:4] == ("", -1, -1, 1.0)
        assert answer.null_odds == (None if no_answer == "never" else null)
        assert [one.text for one in answer.n_best] == [""]
        assert answer.best == ""


def test_blanks_and_numbers_that_are_none_are_no_candidates():
    store, questions = store_of([[(0, 3), (3, 3), (4, 9)]]), questions_of(["red house"])
    found = found_by_hand(
        example=[0], start=[[1, 0, 2, 0]], end=[[1, 0, 2, 2]], start_logit=[[5.0, math.nan, 1.0, math.inf]]
    )
    [answer] = said(found, questions, store)
    assert [one.text for one in answer.n_best] == ["house"]


def test_one_candidate_and_no_answer_beside_it():
    store, questions = store_of([TOKENS]), questions_of([CONTEXT])
    found = found_by_hand(example=[0], null=[9.0], start=[[1]], end=[[1]], start_logit=[[1.0]])
    [answer] = said(found, questions, store, "null_span")
    assert ([one.text for one in answer.n_best], answer.text, answer.best) == (["", "1998"], "", "1998")


def test_probabilities_of_far_apart_scores():
    found = softmax(np.array([1000.0, 1000.0, -1000.0, -1000.0 + math.log(3)]), np.array([0, 2, 4]))
    assert found == pytest.approx([0.5, 0.5, 0.25, 0.75])


def told(text: str, odds: float) -> Said:
    """Of a text that is the best one, with no answer before or behind it."""
    two = Candidate(text, 0, len(text), 1.0, 1.0, 0.5), Candidate("", -1, -1, 1.0, 1.0, 0.5)
    return chosen(two, odds, threshold=0.0)


def test_a_threshold_is_of_one_metric():
    """Of what would be said, not of what is said by the threshold before."""
    answers = [told("red", 1.0), told("blue", 0.0), told("y", 2.0), told("never", -5.0), told("blue", 3.0)]
    golds = [("red house",), ("blue",), (), (), ("blue", "sky")]
    labels = [[IGNORE] * 2, [0, 4], [-1, -1], [IGNORE] * 2, [0, 4]]
    questions = questions_of([CONTEXT] * 5, golds, labels)
    # An answer of which the place is unknown is one; where the file says nothing, nothing is known.
    assert has_gold(questions).tolist() == [True, True, True, False, True]
    few = questions_of([CONTEXT] * 4, golds[:4], labels[:4])
    assert fit_threshold(answers[:4], few, "exact") == 0.0  # from 1 of nothing said: 2, 2, 1
    assert fit_threshold(answers[:4], few) == 1.0  # 2, 2.67, 1.67
    assert answers[0].text == ""


def test_candidates_are_a_sequence():
    store, questions = store_of([TOKENS]), questions_of([CONTEXT])
    found = found_by_hand(example=[0], start=[[0, 1, 6]], end=[[0, 1, 6]], start_logit=[[3.0, 2.0, 1.0]])
    [answer] = said(found, questions, store)
    assert len(answer.n_best) == 3
    assert answer.n_best[-1].text == "춘향전"
    assert [one.text for one in answer.n_best[1:]] == ["1998", "춘향전"]
    assert answer.n_best[1] == ("1998", 3, 7, 2.0, 0.0, answer.n_best[1].probability)
    with pytest.raises(IndexError):
        answer.n_best[3]


def test_a_question_without_a_window_is_an_error():
    store, questions = store_of([TOKENS] * 2), questions_of([CONTEXT] * 2)
    found = found_by_hand(example=[0], start=[[1]], end=[[1]], start_logit=[[1.0]])
    with pytest.raises(DataError, match=r"dev\.json: question q1 got no window"):
        said(found, questions, store)


def test_a_threshold_is_fitted_and_used():
    count = 200
    contexts, store, windows = random_case(count, seed=5)
    plain = said(found_of(windows, 5), questions_of(contexts), store, "null_span")
    random = np.random.default_rng(1)
    golds = [(answer.best,) if random.random() < 0.4 - 0.02 * (answer.null_odds or 0) else () for answer in plain]
    labels = np.where([[not gold] for gold in golds], -1, np.ones((count, 2), np.int64))
    labels[:20] = IGNORE  # of these the file does not say where the answer is, or that there is none
    questions = questions_of(contexts, golds, labels)
    known = [at for at in range(count) if at >= 20 or golds[at]]
    own = [golds[at] for at in known]
    metrics: Any = {"exact": "exact_match", "f1": "f1"}
    for metric, name in metrics.items():
        threshold = fit_threshold(plain, questions, metric)
        again = with_threshold(plain, threshold)
        reached = scores("squad2", own, [again[at].text for at in known])[name]
        odds = np.array([plain[at].null_odds for at in known])
        best = scores("squad2", own, [plain[at].best for at in known], odds)
        assert reached == pytest.approx(best[f"best_{metric}"])
        assert reached > scores("squad2", own, [plain[at].text for at in known])[name]
        for one, other in zip(again, said(found_of(windows, 5), questions, store, "null_span", threshold), strict=True):
            assert (one[:5], [*one.n_best]) == (other[:5], [*other.n_best])
