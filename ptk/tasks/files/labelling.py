"""Values of labels, as files write them, to ids; the set of labels is that of all files together (TAG-1)."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptk.tasks.examples import IGNORE, Examples, Questions
from ptk.tasks.files.faults import Faults
from ptk.tasks.files.raw import Raw, RawQuestions
from ptk.tasks.task import Task

SEPARATORS = re.compile(r"\s*[|,]\s*")
TOLD = 20  # labels that a message names
NO_TAG = ("", "_")
TRUTH = {"true", "false"}


@dataclass(frozen=True)
class Labels:
    """Names by id, what files call each of them, and which id every value that a file may hold means."""

    names: tuple[str, ...]
    values: tuple[str, ...]
    ids: Mapping[str, int]

    def id_of(self, value: str) -> int | None:
        """By the value as it stands, else whatever its case is: ``TRUE`` and ``True`` are one."""
        found = self.ids.get(value)
        return self.ids.get(value.casefold()) if found is None else found

    def __str__(self) -> str:
        """``0 (not_equivalent), 1 (equivalent)``: what a file may hold, each with its name where that is another."""
        said = [v if v == name else f"{v} ({name})" for v, name in zip(self.values, self.names, strict=True)]
        return ", ".join(said[:TOLD]) + (f" and {len(said) - TOLD:,} more" if len(said) > TOLD else "")


def labels_of(task: Task, wanted: Sequence[str], raws: Iterable[Raw]) -> Labels:
    """The labels that the recipe names, those that the task fixes, or those of its files in order."""
    if task.kind in ("regression", "answering"):
        return Labels((), (), {})
    if wanted:  # by name, or as the files call them
        named = {name: [value for value, own in task.labels.items() if own == name] or [name] for name in wanted}
        return _known({value: name for name, values in named.items() for value in values})
    if task.labels:
        return _known(task.labels)
    values = {value for raw in raws for item in raw.values or () for value in _each(task, item)} - set(NO_TAG)
    if {value.casefold() for value in values} <= TRUTH:
        values = {value.casefold() for value in values}
    if task.entities:
        values |= {f"{begin}-{value[2:]}" for value in values - {"O"} for begin in "BI"}
    return _known({value: value for value in _in_order(values)})


def _known(labels: Mapping[str, str]) -> Labels:
    """``labels``: value -> name. Files may hold the names too, unless one of them is the value of another label."""
    names = tuple(dict.fromkeys(labels.values()))
    first = {name: value for value, name in reversed(list(labels.items()))}
    exact = {value: names.index(name) for value, name in labels.items()}
    if all(labels.get(name, name) == name for name in names):
        exact = {name: number for number, name in enumerate(names)} | exact
    return Labels(names, tuple(first[name] for name in names), {v.casefold(): i for v, i in exact.items()} | exact)


def _each(task: Task, value: Any) -> list[str]:
    return several(value) if task.kind == "multi_label" else [value]


def _in_order(values: Iterable[str]) -> list[str]:
    """Numbers by size, before all else; ``O`` first, then the tags of each entity type together."""

    def key(value: str) -> tuple[Any, ...]:
        if re.fullmatch(r"-?\d+", value):
            return 0, int(value), ""
        tag = re.fullmatch(r"([BI])-(.+)", value)
        return (1, 0, "") if value == "O" else (2, 0, tag[2], tag[1]) if tag else (2, 0, value)

    return sorted(values, key=key)


def several(value: Any) -> list[str]:
    """The labels of a multi-label cell: a list, a JSON list, or words between commas or bars."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = value.strip("[]")
    if isinstance(value, list):
        return [str(item) for item in value]
    return [word for word in SEPARATORS.split(str(value)) if word]


def labelled(task: Task, raw: Raw, labels: Labels) -> Examples:
    """The examples of one file with their labels as ids.

    Raises DataError, after all of them were looked at, for a label outside the set and a score that is no number (D11).
    """
    if isinstance(raw, RawQuestions):
        return _questions(raw)
    faults = Faults()
    ids = _no_labels(task, len(raw.lines), len(labels.names))
    for number, value in enumerate(raw.values or ()):
        try:
            if task.kind == "tagging" and value in NO_TAG:
                continue
            ids[number] = _score(value) if task.kind == "regression" else _ids(task, value, labels)
        except ValueError as error:
            faults.add(f"{raw.path}:{raw.lines[number]}", str(error))
    faults.check()
    lines = np.array(raw.lines, np.int64)
    return Examples(raw.texts, ids, labels.names, raw.path, lines, raw.characters, task.kind == "tagging")


def _questions(raw: RawQuestions) -> Questions:
    spans, lines = np.array(raw.spans, np.int64).reshape(-1, 2), np.array(raw.lines, np.int64)
    of_questions = (tuple(raw.ids), tuple(raw.answers), tuple(raw.articles))
    return Questions(raw.texts, spans, (), raw.path, lines, False, False, *of_questions)


def _no_labels(task: Task, count: int, names: int) -> np.ndarray:
    if task.kind == "regression":
        return np.full(count, np.nan, np.float32)
    return np.full((count, names), -1, np.int8) if task.kind == "multi_label" else np.full(count, IGNORE, np.int64)


def _score(value: Any) -> float:
    """Raises ValueError for what is no finite number, with the remedy."""
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"score `{str(value)[:40]}` is not a number; write one (task.kind: classification for labels)")
    return score


def _ids(task: Task, value: Any, labels: Labels) -> Any:
    """The id of a label; of multi-label 0 or 1 for each. Raises ValueError for one outside the set."""
    if task.kind == "multi_label":
        given = {_id(item, labels) for item in several(value)}
        return [number in given for number in range(len(labels.names))]
    return _id(value, labels)


def _id(value: Any, labels: Labels) -> int:
    """Raises ValueError, with the value and the remedy."""
    if isinstance(value, list):
        raise ValueError(f"the label is a list, {str(value)[:40]}; give one label, or task.kind=multi_label")
    found = labels.id_of(value)
    if found is None:
        said = f"label `{value[:40]}` is none of" if value else "no label; give one of"
        raise ValueError(f"{said} {labels}; correct it, or name the labels with task.labels")
    return found
