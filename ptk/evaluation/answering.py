"""From the candidates that a model gives for each window to one answer a question.

A window's candidates are spans of tokens; all windows of a question compete (SQ-7 has left each span to the window
where it has most context). The text of a span is that of the file (SQ-8). "" competes too where a question may have no
answer; it is said where its lead over the best answer, the null odds, exceeds a threshold (SQ-9).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ptk.errors import DataError
from ptk.tasks import answer_scores
from ptk.tasks.answer_files import Candidate, NBest, Said
from ptk.tasks.examples import Questions

if TYPE_CHECKING:
    from ptk.data.store import Store

NoAnswer = Literal["never", "null_span", "cls_head", "both"]


class Spans(NamedTuple):
    """Candidates of all questions, arrays [K]: by question, then the best first."""

    question: np.ndarray
    start: np.ndarray
    """First character in the context, and ``stop`` the one behind the last; both -1 for no answer."""
    stop: np.ndarray
    start_logit: np.ndarray
    end_logit: np.ndarray

    @property
    def score(self) -> np.ndarray:
        return self.start_logit + self.end_logit

    def at(self, which: np.ndarray) -> "Spans":
        return Spans(*(array[which] for array in self))


def said(
    found: Mapping[str, np.ndarray],
    questions: Questions,
    store: "Store",
    no_answer: NoAnswer = "never",
    threshold: float = 0.0,
) -> list[Said]:
    """The answer to each question, with its n-best.

    ``found`` is what the objective's ``evaluate`` gives of all windows, in any order: example [M], null [M],
    impossible [M] (with an answerability head), start, end, start_logit and end_logit [M, N]. ``store`` is that of the
    questions. The n-best have N different texts (two or more where one is ""), and "" in its place, or at the end
    where it is worse than all of them. Raises DataError for a question without a window.
    """
    windows = np.bincount(found["example"], minlength=len(questions))
    if (windows == 0).any():
        missing = questions.ids[int(windows.argmin())]
        raise DataError(f"{questions.path}: question {missing} got no window; look at its context")
    spans = spans_of(found, store)
    best = np.full(len(questions), -np.inf)
    np.maximum.at(best, spans.question, spans.score)
    nothing = np.isneginf(best)
    best[nothing] = 0.0  # what the original gives the answer that it makes up there
    most = found["start"].shape[1]
    if no_answer == "never":
        odds: list[float] | list[None] = [None] * len(questions)
        spans = with_silence(spans, np.flatnonzero(nothing), best[nothing])
    else:
        lead = null_odds(found, best, no_answer)
        odds = lead.tolist()
        spans = with_silence(spans, np.arange(len(questions)), best + lead)
        most = max(most, 2)
    return [chosen(n_best, lead, threshold) for n_best, lead in zip(n_bests(spans, questions, most), odds, strict=True)]


def with_threshold(answers: Sequence[Said], threshold: float) -> list[Said]:
    """The same candidates, answered by another threshold."""
    return [chosen(answer.n_best, answer.null_odds, threshold) for answer in answers]


def fit_threshold(answers: Sequence[Said], questions: Questions, metric: Literal["exact", "f1"] = "f1") -> float:
    """The threshold that scores best on these questions by the rules of SQuAD 2.0 (SQ-9), ties aside.

    The answers have null odds. Only questions count of which the file says the answer, or that there is none. Raises
    ValueError where there is no such question.
    """
    known = np.flatnonzero(has_gold(questions)).tolist()
    golds, best = [questions.answers[at] for at in known], [answers[at].best for at in known]
    values = answer_scores.worth("squad2", golds, best)[metric == "f1"]
    odds = np.array([answers[at].null_odds for at in known], np.float64)
    has = np.array([len(gold) > 0 for gold in golds])
    return answer_scores.fitted_threshold(values, has, best, odds)


def has_gold(questions: Questions) -> np.ndarray:
    """bool [N]: whether the file says what is right: an answer, be its place unknown, or that there is none."""
    return np.array([len(answers) > 0 for answers in questions.answers], bool) | (questions.labels[:, 0] == -1)


def chosen(n_best: Sequence[Candidate], odds: float | None, threshold: float) -> Said:
    """The first text among the candidates, or "" where the null odds exceed the threshold."""
    silent = odds is not None and odds > threshold
    answer = next((candidate for candidate in n_best if bool(candidate.text) != silent), None) or n_best[0]
    return Said(answer.text, answer.start, answer.end, answer.probability, odds, n_best)


def spans_of(found: Mapping[str, np.ndarray], store: "Store") -> Spans:
    """The candidates that there are, without those of blanks alone, in no order; logits as float64."""
    logits = [np.asarray(found[name], np.float64).ravel() for name in ("start_logit", "end_logit")]
    there = np.flatnonzero(np.isfinite(logits[0] + logits[1]))
    question = np.repeat(found["example"], found["start"].shape[1])[there]
    context = store.sentences[store.documents[question] + 1]
    start = store.offsets[context + found["start"].ravel()[there], 0].astype(np.int64)
    stop = store.offsets[context + found["end"].ravel()[there], 1].astype(np.int64)
    spans = Spans(question, start, stop, *(each[there] for each in logits))
    return spans.at(stop > start)


def null_odds(found: Mapping[str, np.ndarray], best: np.ndarray, no_answer: NoAnswer) -> np.ndarray:
    """By how much no answer is better, float64 [Q]: of each part the smallest over the question's windows.

    ``null_span``: the score of the span at position 0 less that of the best answer (BERT). ``cls_head``: the logit of
    the answerability head (ELECTRA). ``both``: their sum.
    """
    odds = np.zeros(len(best))
    if no_answer in ("null_span", "both"):
        odds += _smallest(found["null"], found["example"], len(best)) - best
    if no_answer in ("cls_head", "both"):
        odds += _smallest(found["impossible"], found["example"], len(best))
    return odds


def _smallest(values: np.ndarray, example: np.ndarray, count: int) -> np.ndarray:
    least = np.full(count, np.inf)
    np.minimum.at(least, example, values)
    return least


def with_silence(spans: Spans, question: np.ndarray, score: np.ndarray) -> Spans:
    """No answer as a candidate of some questions, and all in order: of equal scores first what begins first, "" last.

    Its score is split evenly between its two logits.
    """
    nowhere, half = np.full(len(question), -1), score / 2
    every = Spans(*map(np.concatenate, zip(spans, (question, nowhere, nowhere, half, half), strict=True)))
    return every.at(np.lexsort((every.stop, every.start, every.start < 0, -every.score, every.question)))


def n_bests(spans: Spans, questions: Questions, most: int) -> list[NBest]:
    """Of each question the best candidates of different texts, and their probabilities among each other.

    ``spans`` are in order, one or more a question.
    """
    starts, stops = spans.start.tolist(), spans.stop.tolist()
    edges = np.searchsorted(spans.question, np.arange(len(questions) + 1)).tolist()
    texts: list[str] = []
    kept: list[int] = []
    ends = [0]
    for (_, context), (a, b) in zip(questions.texts, pairwise(edges), strict=True):
        places = different(context, starts[a:b], stops[a:b], most)
        texts += places
        kept += [a + place for place in places.values()]
        ends.append(len(kept))
    some = spans.at(np.array(kept, np.int64))
    numbers = (some.start, some.stop, some.start_logit, some.end_logit, softmax(some.score, np.array(ends)))
    columns = [texts, *(column.tolist() for column in numbers)]
    return [NBest(columns, range(a, b)) for a, b in pairwise(ends)]


def different(context: str, starts: Sequence[int], stops: Sequence[int], most: int) -> dict[str, int]:
    """The first ``most`` different texts, each with its first place; behind them "" where it is worse than all."""
    texts = [context[start:stop] for start, stop in zip(starts, stops, strict=True)]
    firsts = dict(zip(reversed(texts), range(len(texts))[::-1], strict=True))
    found = {texts[place]: place for place in sorted(firsts.values())[:most]}
    if "" not in found and -1 in starts:
        found[""] = starts.index(-1)
    return found


def softmax(scores: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The softmax of each part of ``scores``, float64 [K]. ``bounds`` [P + 1] are the parts' edges; none is empty."""
    sizes = np.diff(bounds)
    powers = np.exp(scores - np.repeat(np.maximum.reduceat(scores, bounds[:-1]), sizes))
    return powers / np.repeat(np.add.reduceat(powers, bounds[:-1]), sizes)
