"""One file of a task to its texts and the values of its labels, as they stand there; ``labelling.py`` makes ids."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptk.errors import DataError
from ptk.tasks.files import finding, race, sequences, squad
from ptk.tasks.files.faults import Faults
from ptk.tasks.files.raw import Raw, text_value
from ptk.tasks.files.tables import Pick, Table, clean, format_of, is_table, open_table
from ptk.tasks.task import Column, Columns, Task

TEXT_SETTINGS = ("task.text", "task.pair")
UNLABELLED = ("", "-1", "-", "?", "_")  # where a whole file says nothing else, it has no labels


Texts = Callable[[str, Any], "tuple[str, ...] | None"]
"""(place, row) -> the example's texts; None after a fault."""


def read_file(task: Task, path: Path, encoding: str | None, needs_labels: bool) -> Raw:
    """The examples of one file. A file that ``needs_labels`` (train, validation) must have their column.

    Raises DataError for every fault of the file, the first few of them named by line.
    """
    if task.kind != "answering" and finding.several(path):
        raise DataError(f"{path}: several files; only questions are read from several as one split, name one of them")
    form = format_of(path, task.format)
    if task.kind == "answering":
        raw = squad.read(path, encoding, task.rule == "squad2")
    elif task.kind == "tagging":
        raw = sequences.read(task, path, form, encoding, needs_labels)
    elif form == "race":
        raw = race.read(path, encoding)
    elif is_table(form):
        table = open_columns(task, path, encoding, needs_labels)
        columns = task.columns if table.names is not None else (task.numbers or task.columns)
        raw = read_rows(task, columns, table, needs_labels)
    else:
        raise DataError(f"{path}: not a format of {task.name}; give tsv, csv, jsonl, json or parquet")
    if not len(raw):
        raise DataError(f"{path}: no examples; give a file that has some")
    return without_labels(raw, task)


def open_columns(task: Task, path: Path, encoding: str | None, needs_labels: bool) -> Table:
    """The table of a file, its header told from the first row of examples by the names of the columns.

    Broken rows are left out of files with labels only: predictions for a test file are numbered by its rows.
    """
    form = format_of(path, task.format) or task.format
    wanted = [column for column in (*task.columns.text, *task.columns.choices) if isinstance(column, str)]
    numbered = task.numbers is not None

    def header(cells: list[str]) -> bool:
        return bool(wanted) and (not numbered or all(column in cells for column in wanted))

    uneven = task.uneven if needs_labels or task.uneven != "broken" else None
    return open_table(path, form, encoding, header, uneven)


def read_rows(task: Task, columns: Columns, table: Table, needs_labels: bool) -> Raw:
    """The examples of a table. Raises DataError for its faults, after the last row."""
    if task.kind == "tagging":
        return sequences.of_lists(task, columns, table, needs_labels)
    raw = Raw(table.path)
    label = _label(columns, table, needs_labels)
    texts = (_choices if columns.choices else _texts)(task, columns, table)
    values: list[Any] = []
    for number, row in table.rows:
        found = texts(f"{table.path}:{number}", row)
        if found is None:
            continue
        value = label(row) if label else ""
        value = value if isinstance(value, list) else text_value(value)
        if value in task.no_label:
            raw.notes[f"examples without a label of the annotators (`{value}`)"] += 1
            continue
        raw.texts.append(found)
        raw.lines.append(number)
        values.append(value)
        raw.notes["empty texts"] += not all(found)
    table.faults.check()
    raw.notes.update(table.left_out)
    raw.values = values if label else None
    return raw


def _label(columns: Columns, table: Table, needs_labels: bool) -> Pick | None:
    column = columns.label
    if column is None or (not needs_labels and not table.has(column)):
        return None
    return table.pick(column, "task.label")


def _texts(task: Task, columns: Columns, table: Table) -> Texts:
    """A row to its text, or to its two texts."""
    picks = [table.pick(column, setting) for column, setting in zip(columns.text, TEXT_SETTINGS, strict=False)]

    def texts(place: str, row: Any) -> tuple[str, ...] | None:
        found = [_text(pick(row), name, place, table.faults) for pick, name in zip(picks, columns.text, strict=True)]
        return tuple(text for text in found if text is not None) if None not in found else None

    return texts


def _choices(task: Task, columns: Columns, table: Table) -> Texts:
    """A row to what comes before the choices, and each choice behind what all of them begin with (MC-1).

    Every row has as many choices as the first.
    """
    before = _texts(task, columns, table)
    start = table.pick(columns.start, "task.pair") if columns.start is not None and table.has(columns.start) else None
    picks = [table.pick(column, "task.choices") for column in columns.choices]
    wanted = len(picks) if len(picks) > 1 else None

    def texts(place: str, row: Any) -> tuple[str, ...] | None:
        nonlocal wanted
        first = before(place, row)
        values = [pick(row) for pick in picks]
        if len(picks) == 1:
            values = values[0] if isinstance(values[0], list) else []
        endings = [text for value in values if (text := text_value(value))]
        wanted = wanted or max(len(endings), 2)
        if first is None:
            return None
        if len(endings) != wanted:
            table.faults.add(place, f"{len(endings)} choices instead of {wanted}; write every choice of the row")
            return None
        begins = text_value(start(row)) if start else ""
        begins = task.starts.get(begins, begins)
        return (first[0], *(f"{begins} {ending}".lstrip() for ending in endings))

    return texts


def _text(value: Any, name: Column, place: str, faults: Faults) -> str | None:
    """The text of a cell; null is an empty one, anything else a fault."""
    if value is None:
        return ""
    if not isinstance(value, str):
        faults.add(place, f"`{name}` is {str(value)[:40]} ({type(value).__name__}), not text; write it as text")
        return None
    return clean(value)


def without_labels(raw: Raw, task: Task) -> Raw:
    """The same without ``values`` where all of them say that there is no label."""
    said = set(map(str, raw.values or ()))
    unlabelled = len(said) == 1 and said <= set(UNLABELLED) and not said & set(task.labels)
    return replace(raw, values=None) if unlabelled else raw
