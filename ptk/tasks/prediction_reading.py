"""Anybody's prediction file, in the forms of ``predictions.py``, read back to be scored."""

import json
import math
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ptk.errors import DataError
from ptk.tasks.examples import Examples
from ptk.tasks.predictions import HEADER, file_lines, file_values
from ptk.tasks.task import Task


def read(task: Task, path: Path, examples: Examples) -> np.ndarray:
    """The predictions in a file, as ``predictions.write`` takes them; a label goes by its name or the file's value.

    Raises DataError, with the line, for what is missing, doubled or no label.
    """
    if path.suffix == ".jsonl":
        return _read_rows(task, path, examples)
    if task.kind == "tagging":
        return _read_column(path, examples)
    return _read_official(task, path, examples)


def _read_column(path: Path, examples: Examples) -> np.ndarray:
    lines, _ = file_lines(path)
    expected, _ = file_lines(examples.path)
    if len(lines) != len(expected):
        raise DataError(
            f"{path}: {len(lines):,} lines, {examples.path} has {len(expected):,}; give that file with a column more, "
            "the prediction"
        )
    ids = {name: label for label, name in enumerate(examples.names)}
    said = ((number, lines[number - 1].split()[-1:] or [""]) for number in examples.lines.tolist())
    return np.array([_id(path, number, value, ids) for number, [value] in said], np.int64)


def _read_official(task: Task, path: Path, examples: Examples) -> np.ndarray:
    """``index<TAB>prediction`` in any order, each index once."""
    rows = [line.removesuffix("\r") for line in _text_lines(path)]
    if not rows or rows[0].split("\t") != HEADER.split("\t"):
        raise DataError(f"{path}:1: the header is {rows[0] if rows else ''!r}, not index<TAB>prediction")
    parse = _parser(task, path, examples)
    found: dict[int, int | float] = {}
    for number, row in enumerate(rows[1:], 2):
        index, _, value = row.partition("\t")
        if not index.isdecimal() or int(index) >= len(examples) or int(index) in found:
            why = (
                "comes twice"
                if index.isdecimal() and int(index) in found
                else f"is not one of 0 to {len(examples) - 1}"
            )
            raise DataError(f"{path}:{number}: index {index!r} {why}")
        found[int(index)] = parse(number, value)
    if missing := sorted({*range(len(examples))} - found.keys()):
        raise DataError(
            f"{path}: no prediction for index {missing[0]} ({len(missing):,} missing of {len(examples):,} in "
            f"{examples.path})"
        )
    return np.array([found[index] for index in range(len(examples))], examples.labels.dtype)


def _read_rows(task: Task, path: Path, examples: Examples) -> np.ndarray:
    """JSON lines as ``predictions.write`` makes them, one an example."""
    rows = _text_lines(path)
    if len(rows) != len(examples):
        raise DataError(f"{path}: {len(rows):,} predictions for the {len(examples):,} examples of {examples.path}")
    parse = _parser(task, path, examples)
    found = [_of_row(task, path, number, row, examples, parse) for number, row in enumerate(rows, 1)]
    return np.array([*chain(*found)] if task.kind == "tagging" else found, examples.labels.dtype)


def _of_row(
    task: Task, path: Path, number: int, row: str, examples: Examples, parse: Callable[[int, Any], int | float]
) -> Any:
    key = {"regression": "score", "multi_label": "labels", "tagging": "labels", "multiple_choice": "choice"}
    wanted = key.get(task.kind, "label")
    try:
        value = json.loads(row)[wanted]
    except (ValueError, TypeError, KeyError, IndexError):
        raise DataError(f'{path}:{number}: not a JSON object with "{wanted}"') from None
    if wanted != "labels":
        return parse(number, value)
    if not isinstance(value, list):
        raise DataError(f'{path}:{number}: "labels" is {value!r}, not a list')
    ids = [int(parse(number, each)) for each in value]
    if task.kind == "multi_label":
        return np.isin(np.arange(len(examples.names)), ids)
    if len(ids) != (words := len(examples.texts[number - 1])):
        raise DataError(f"{path}:{number}: {len(ids)} labels for {words} words")
    return ids


def _parser(task: Task, path: Path, examples: Examples) -> Callable[[int, Any], int | float]:
    """(line, value) -> the score, the choice, or the label's id."""
    ids = {name: label for label, name in enumerate(examples.names)}
    ids |= {value: label for label, value in enumerate(file_values(task, examples))}

    def score(number: int, value: Any) -> float:
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not math.isfinite(found):
            raise DataError(f"{path}:{number}: score {value!r} is not a number")
        return found

    def choice(number: int, value: Any) -> int:
        of = len(examples.texts[number - 1]) - 1
        if type(value) is not int or not 0 <= value < of:
            raise DataError(f"{path}:{number}: choice {value!r} is not one of 0 to {of - 1}")
        return value

    if task.kind == "regression":
        return score
    return choice if task.kind == "multiple_choice" else lambda number, value: _id(path, number, value, ids)


def _id(path: Path, number: int, value: Any, ids: Mapping[str, int]) -> int:
    if not isinstance(value, str) or value not in ids:
        raise DataError(f"{path}:{number}: label {value!r} is none of {', '.join(ids)}")
    return ids[value]


def _text_lines(path: Path) -> list[str]:
    lines, _ = file_lines(path)
    return lines if lines[-1] else lines[:-1]
