"""Answers in the files of the SQuAD site: written for every question, and read with faults by name.

    predictions.json   {question id: text}                 what is said, "" for no answer
    null_odds.json     {question id: number}               where "" may be said: how much rather it is
    nbest.json         {question id: [{"text", "probability", "start_logit", "end_logit"}, ...]}, the best first

Those of the validation split lie in ``predictions/``, those of another in a folder of its name there.
"""

import json
import math
import reprlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from ptk import files
from ptk.errors import DataError
from ptk.tasks.examples import Questions

DIGITS = 6  # of logits and probabilities


class Candidate(NamedTuple):
    text: str
    """Part of the context as the file has it; "" for no answer."""
    start: int
    """Its first character in the context, -1 for no answer."""
    end: int
    """The one behind its last, -1 for no answer."""
    start_logit: float
    end_logit: float
    probability: float
    """Among the candidates beside it."""


class NBest(Sequence[Candidate]):
    """Some of the rows of a table of candidates; each becomes a Candidate when it is asked for, which most never are.

    Made at once, the 20 of each of 4,000 questions take longer than all the rest of decoding.
    """

    def __init__(self, columns: Sequence[list[Any]], rows: range) -> None:
        """``columns``: a list for each field of a Candidate, in their order."""
        self.columns, self.rows = columns, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, which: int) -> Candidate: ...
    @overload
    def __getitem__(self, which: slice) -> "NBest": ...
    def __getitem__(self, which: int | slice) -> "Candidate | NBest":
        rows = self.rows[which]
        return NBest(self.columns, rows) if isinstance(rows, range) else Candidate(*(c[rows] for c in self.columns))


class Said(NamedTuple):
    """The answer to one question: ``text``, ``start`` and ``end`` as a Candidate has them, and its probability."""

    text: str
    start: int
    end: int
    score: float
    null_odds: float | None
    """By how much no answer is better than the best one; None where every question has an answer."""
    n_best: Sequence[Candidate]
    """Of different texts, the best first; "" among them where it may be said, and where nothing else can."""

    @property
    def best(self) -> str:
        """The best text that is one, whether or not it is said; "" where there is none."""
        return next((candidate.text for candidate in self.n_best if candidate.text), "")


def write(folder: Path, split: str, questions: Questions, said: Sequence[Said]) -> Path:
    """Leave a split's files in ``folder``; gives that of the predictions. Raises DiskError for a full disk."""
    where = folder if split == "validation" else folder / split
    answers = list(zip(questions.ids, said, strict=True))
    odds = [(name, answer.null_odds) for name, answer in answers if answer.null_odds is not None]
    if odds:
        _write(where / "null_odds.json", odds)
    else:  # of a task without them that was answered here before
        (where / "null_odds.json").unlink(missing_ok=True)
    _write(where / "nbest.json", ((name, [_entry(candidate) for candidate in one.n_best]) for name, one in answers))
    _write(where / "predictions.json", ((name, answer.text) for name, answer in answers))
    return where / "predictions.json"


def read(path: Path, questions: Questions) -> list[str]:
    """What a ``predictions.json`` says to each question, in their order.

    Raises DataError for what is no such file, for a question that it has no answer to, comes twice or is not one of
    these, and for an answer that is not text.
    """
    found = _read(path, questions, str, 'text; write the answer between quotes, "" for none')
    return [found[name] for name in questions.ids]


def read_null_odds(path: Path, questions: Questions) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a ``null_odds.json``, float64 [N], in the order of the questions; and the place of each in the
    file, int64 [N]. Raises as ``read`` does."""
    found = _read(path, questions, (int, float), "a number")
    wrong = next((name for name, value in found.items() if not math.isfinite(value)), None)
    if wrong is not None:
        raise DataError(f"{path}: question {wrong}: {found[wrong]} is not a finite number; replace it")
    places = {name: place for place, name in enumerate(found)}
    return (
        np.array([found[name] for name in questions.ids], np.float64),
        np.array([places[name] for name in questions.ids], np.int64),
    )


def _entry(candidate: Candidate) -> dict[str, Any]:
    return {
        "text": candidate.text,
        "probability": round(candidate.probability, DIGITS),
        "start_logit": round(candidate.start_logit, DIGITS),
        "end_logit": round(candidate.end_logit, DIGITS),
    }


def _write(path: Path, pairs: Iterable[tuple[str, Any]]) -> None:
    """One object, a question a line."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    lines = ",\n".join(f" {encode(name)}: {encode(value)}" for name, value in pairs)
    files.write_text(path, f"{{\n{lines}\n}}\n")


def _read(path: Path, questions: Questions, wanted: type | tuple[type, ...], called: str) -> dict[str, Any]:
    """What the file says to each question, in its own order."""
    found = _object(path)
    known = {*questions.ids}
    if unknown := [name for name in found if name not in known]:
        raise DataError(
            f"{path}: question {unknown[0]} is not in {questions.path} ({len(unknown):,} of {len(found):,} are not); "
            "give --data the file that these are the predictions for"
        )
    if missing := [name for name in questions.ids if name not in found]:
        raise DataError(
            f"{path}: nothing for question {missing[0]} ({len(missing):,} missing of {len(questions):,} in "
            f"{questions.path}); every question needs its line, but for those that a run has learned from: leave the "
            "file in that run's predictions/"
        )
    for name, value in found.items():
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise DataError(f"{path}: question {name}: {reprlib.repr(value)} is not {called}")
    return found


def _object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises DataError where it holds none, or a key twice."""

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise DataError(f"{path}: {name} comes twice; leave one of them")
            found[name] = value
        return found

    try:
        found = json.loads(path.read_bytes(), object_pairs_hook=without_repeats)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}:{error.colno}: not JSON ({error.msg}); correct it, or write the file again"
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not JSON in UTF-8 ({error}); write the file again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds {reprlib.repr(found)}, not an object {{question id: ...}}; write the file so")
    return found
