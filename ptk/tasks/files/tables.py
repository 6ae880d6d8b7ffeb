"""Files of rows to rows: tsv, csv, jsonl, json, parquet, each row with its line, ready to pick columns from.

Tabs separate, line ends end a row, and a quotation mark of a tsv is a character like any other (GLUE-1). In csv,
double quotes hold commas and line ends. JSON is one object a line, or one array of objects.
"""

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

from ptk.data import readers
from ptk.data.decoding import find_encoding, normalise, open_bytes
from ptk.errors import DataError
from ptk.tasks.files.faults import Faults
from ptk.tasks.task import TABLES, Column, Format

SAMPLED = 100  # objects whose keys are the names of a file's columns
EXTENSIONS: Mapping[str, Format] = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".conll": "columns",
    ".conllu": "conllu",
    ".iob": "columns",
    ".bio": "columns",
}
_BLANK = re.compile(r"[\s,]*")

Pick = Callable[[Any], Any]


def format_of(path: Path, otherwise: Format | None) -> Format | None:
    """By the extension, where that says it; ``otherwise`` wins over .tsv, which tagging files may be too."""
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst")]
    known = EXTENSIONS.get(suffixes[-1].lower()) if suffixes else None
    return otherwise if known is None or (otherwise and known not in ("csv", "jsonl", "json", "parquet")) else known


def clean(text: str) -> str:
    """NFC without control characters and without blanks around it; every line end in it is LF."""
    if text.isascii() and text.isprintable():
        return text.strip()
    return normalise(text, Counter()).strip()


def decoded(path: str, encoding: str | None) -> str:
    """The text of a file without its byte order mark.

    Raises DataError for bytes that do not decode, with line, byte, and the encoding that they may be in.
    """
    try:
        found, fault, _ = find_encoding(path, (encoding or "utf-8",))
    except LookupError as error:
        raise DataError(f"task.encoding: {error}; use a name Python knows, such as cp1252 or cp949") from error
    if fault:
        raise DataError(f"{fault}; it may be {fault.remedy}: task.encoding={fault.remedy}")
    with open_bytes(path) as file:
        return file.read().decode(found)


@dataclass
class Table:
    """``names`` are the header's, or the keys of objects; None of a file without a header."""

    path: str
    names: tuple[str, ...] | None
    rows: Iterator[tuple[int, Any]]
    """(line, row): a list of cells, or an object."""
    faults: Faults
    left_out: Counter[str] = field(default_factory=Counter)
    width: int | None = None
    """Cells of the first row; None of objects."""

    @property
    def delimited(self) -> bool:
        return self.width is not None

    def has(self, column: Column | None) -> bool:
        """Whether there is such a column; a nested key is one where its first part is."""
        if column is None or isinstance(column, int):
            return column is not None
        first = column if self.delimited else column.split(".")[0]
        return column in (self.names or ()) or first in (self.names or ())

    def pick(self, column: Column, setting: str) -> Pick:
        """What gets the column of a row. Raises DataError, with the setting that names another (D10)."""
        if isinstance(column, int):
            if column >= (self.width or 0):
                raise self.no_column(column, setting)
            return lambda row: row[column]
        if not self.has(column):
            raise self.no_column(column, setting)
        if self.delimited:
            number = (self.names or ()).index(column)
            return lambda row: row[number]
        if column in (self.names or ()):
            return lambda row: row.get(column)
        return lambda row: nested(row, column.split("."))

    def no_column(self, column: Column, setting: str) -> DataError:
        found = [name for name in self.names or () if name]
        near = get_close_matches(str(column), found, n=1)
        hint = f". Did you mean `{near[0]}`? ({setting}={near[0]})" if near else f"; name another with {setting}"
        there = ", ".join(found)[:200] or f"{self.width} columns without a header"
        return DataError(f"{self.path}: no column `{column}`; found: {there}{hint}")


def nested(row: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        row = row.get(key) if isinstance(row, dict) else None
    return row


def open_table(
    path: Path, form: Format, encoding: str | None, header: Callable[[list[str]], bool], uneven: str | None = None
) -> Table:
    """The table of a file; ``header`` tells of the first row's cells whether they are one.

    Rows whose number of cells is not that of the header, or of the first row, are faults of the table, unless the
    task's files have ``uneven`` ones (ptk/tasks/task.py).
    """
    if form in ("tsv", "csv"):
        table = _delimited(path, form, encoding, header)
        table.rows = _even(table, table.rows, uneven)
        return table
    objects = _objects(path, form, encoding)
    first = [next(objects, None) for _ in range(SAMPLED)]
    sample = [row for row in first if row is not None]
    names = tuple(dict.fromkeys(name for _, row in sample for name in row))
    return Table(str(path), names, chain(sample, objects), Faults())


def _delimited(path: Path, form: Format, encoding: str | None, header: Callable[[list[str]], bool]) -> Table:
    text = decoded(str(path), encoding)
    rows = _csv_rows(str(path), text) if form == "csv" else _tsv_rows(text)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: no examples; the file is empty")
    cells = [clean(cell) for cell in first[1]]
    if header(cells):
        return Table(str(path), tuple(cells), rows, Faults(), width=len(cells))
    return Table(str(path), None, chain([first], rows), Faults(), width=len(cells))


def _tsv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Empty lines are no rows; one of tabs only is, unless nothing comes after it."""
    last = text.rstrip().count("\n") + 1
    for number, line in enumerate(text.split("\n"), start=1):
        if line and (not line.isspace() or ("\t" in line and number < last)):
            yield number, line.removesuffix("\r").split("\t")


def _csv_rows(path: str, text: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(sys.maxsize >> 1)  # the limit is a C long
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    number = 1
    try:
        for cells in reader:
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{number}: {error}; close the quotation mark that opens in this row") from error


def _even(table: Table, rows: Iterator[tuple[int, list[str]]], uneven: str | None) -> Iterator[tuple[int, list[str]]]:
    """The rows that have as many cells as the header, or as the first."""
    width = table.width or 0
    for number, cells in rows:
        if len(cells) > 1 and not any(map(str.strip, cells)):
            table.faults.add(f"{table.path}:{number}", "a row of empty cells; write its text, or take the line out")
        elif len(cells) == width:
            yield number, cells
        elif uneven == "labels" and len(cells) > width:
            yield number, [*cells[: width - 1], cells[-1]]
        elif uneven == "broken" and len(cells) < width:
            table.left_out["rows that a line end breaks in two"] += 1
        else:
            header = f"under a header of {width} ({', '.join(table.names)[:80]})" if table.names else ""
            under = header or f"instead of {width}"
            table.faults.add(f"{table.path}:{number}", f"{len(cells)} cells {under}; give each row all of its cells")


def _objects(path: Path, form: Format, encoding: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if form == "parquet":
        yield from readers.rows(readers.Span(str(path), "parquet", 0, _row_groups(path)), Counter())
        return
    text = decoded(str(path), encoding)
    if form == "json" and text.lstrip().startswith("["):
        yield from _array(str(path), text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line and not line.isspace():
            yield number, _object(f"{path}:{number}", line)


def _row_groups(path: Path) -> int:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.read_metadata(path).num_row_groups
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged or truncated ({error}); fetch the file again") from error


def _object(place: str, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{place}: not JSON: {error}; a line is one object, or the file one array of them") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: {line[:40]} is not a JSON object; a line is one object")
    return row


def _array(path: str, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of an array, each with the line that it begins in."""
    decoder = json.JSONDecoder()
    at, line = text.index("[") + 1, 1 + text.count("\n", 0, text.index("["))
    while True:
        start = _BLANK.match(text, at).end()  # type: ignore[union-attr]  (it matches nothing, too)
        line += text.count("\n", at, start)
        if text.startswith("]", start):
            return
        try:
            row, at = decoder.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{path}:{line}: not JSON: {error}; the array is cut short or damaged") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{line}: {str(row)[:40]} is not a JSON object; the array holds objects")
        yield line, row
        line += text.count("\n", start, at)


def is_table(form: Format | None) -> bool:
    return form in TABLES
