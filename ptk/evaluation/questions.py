"""The answers to a split of questions: what the official rules give them, the threshold of no answer, the files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptk import engine
from ptk.errors import RecipeError
from ptk.evaluation import answering
from ptk.metrics import Mean
from ptk.step import Losses
from ptk.tasks import answer_files, answer_scores
from ptk.tasks.answer_files import Said
from ptk.tasks.examples import Questions
from ptk.tasks.task import Task

if TYPE_CHECKING:
    from ptk.evaluation.labelled import Split


def judged(
    split: "Split", found: Mapping[str, np.ndarray], losses: Losses, folder: Path, threshold: float | None
) -> dict[str, Any]:
    """Metrics in per cent, baselines, loss and ``threshold``; the three files of answers are left in ``folder``.

    ``threshold`` is that above which a question stays unanswered; fitted here when it is None (SQ-9).
    """
    said = answers(split, found)
    if threshold is None and may_be_silent(said):
        threshold = answering.fit_threshold(said, questions_of(split))
    if may_be_silent(said):
        said = answering.with_threshold(said, threshold or 0.0)
    file = answer_files.write(folder, split.name, questions_of(split), said)
    about = {"threshold": threshold} if may_be_silent(said) else {}
    return scored(split, said, losses, threshold) | about | {"predictions": str(file)}


def questions_of(split: "Split") -> Questions:
    assert isinstance(split.examples, Questions)
    return split.examples


def answers(split: "Split", found: Mapping[str, np.ndarray]) -> list[Said]:
    """The answer to each question; of a task in which every question has one, never none."""
    objective: Any = split.rows.objective
    no_answer = (objective.no_answer or "never") if split.task.rule == "squad2" else "never"
    return answering.said(found, questions_of(split), split.rows.store, no_answer)


def may_be_silent(said: Sequence[Said]) -> bool:
    return said[0].null_odds is not None


def metrics(split: "Split", said: Sequence[Said], threshold: float | None) -> dict[str, float]:
    """What the task's official script says of the questions whose answer is known; nothing where none is."""
    questions, rule = questions_of(split), split.task.rule
    known = np.flatnonzero(answering.has_gold(questions)).tolist()
    if not known or rule is None:
        return {}
    golds, texts = [questions.answers[at] for at in known], [said[at].best for at in known]
    if not may_be_silent(said):
        return answer_scores.scores(rule, golds, texts)
    odds = np.array([said[at].null_odds for at in known])
    return answer_scores.scores(rule, golds, texts, odds, threshold or 0.0)


def scored(split: "Split", said: Sequence[Said], losses: Losses, threshold: float | None) -> dict[str, Any]:
    """The part of results.json that is only there where answers are known."""
    values = metrics(split, said, threshold)
    if not values:
        return {}
    questions = questions_of(split)
    golds = [questions.answers[at] for at in np.flatnonzero(answering.has_gold(questions))]
    about: dict[str, Any] = {
        "metrics": values,
        "score": values["f1"],
        "loss": float(engine.report(split.rows.objective, losses)["loss"]),
        "baselines": answer_scores.answer_nothing(split.task.rule, golds),  # type: ignore[arg-type]
    }
    texts = {answer.text for answer in said}
    if len(texts) == 1 and len(said) > 1:
        about["collapsed"] = f"every one of {len(said):,} answers is {texts.pop() or 'empty'}"
    return about


def score(split: "Split", found: Mapping[str, np.ndarray]) -> dict[str, Mean]:
    """What a validation in training logs: exact match and F1, with the threshold that is best there; not a number for a
    model that diverged."""
    logits = [found[name] for name in ("start_logit", "end_logit", "null")]
    if any(np.isnan(each).any() for each in logits):
        return {name: Mean(math.nan, 1) for name in ("exact_match", "f1", "score")}
    said = answers(split, found)
    threshold = answering.fit_threshold(said, questions_of(split)) if may_be_silent(said) else None
    values = metrics(split, said, threshold)
    return {name: Mean(values[of], 1) for name, of in (("exact_match", "exact_match"), ("f1", "f1"), ("score", "f1"))}


def of_file(task: Task, file: Path, questions: Questions) -> dict[str, float]:
    """What the official script says of somebody's ``predictions.json``, as they stand there; of a ``null_odds.json``
    beside it the best thresholds too, where questions of equal odds come in the order of that file.

    The script would leave unanswered what has odds above 1, unless it is told otherwise: it is told so here. Raises
    DataError for a file that does not answer these questions, RecipeError where the answers are not known.
    """
    said = answer_files.read(file, questions)
    known = np.flatnonzero(answering.has_gold(questions)).tolist()
    if not known or task.rule is None:
        raise RecipeError(f"--data: {questions.path} has no answers to score {file} by; name a file that has")
    golds, texts = [questions.answers[at] for at in known], [said[at] for at in known]
    beside = file.with_name("null_odds.json")
    if task.rule != "squad2" or not beside.is_file():
        return answer_scores.scores(task.rule, golds, texts)
    odds, place = answer_files.read_null_odds(beside, questions)
    order = np.argsort(place[known])
    golds, texts = [golds[at] for at in order], [texts[at] for at in order]
    return answer_scores.scores(task.rule, golds, texts, odds[known][order], math.inf)
