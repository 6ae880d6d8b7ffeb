"""A stretch of a file to the texts of its documents, normalised: one generator a format, in bounded memory."""

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ptk.data.decoding import PIECE, normalise, open_bytes, text_pieces, unreadable
from ptk.data.layout import Layout, no_column
from ptk.data.markup import markdown_prose, rst_prose
from ptk.data.sentences import Lines, cut_at_whitespace
from ptk.errors import DataError

TABLES = ("jsonl", "csv", "tsv", "parquet")
WIDE = ("utf-16", "utf-32")  # encodings in which a newline is not one byte

_GUTENBERG_START = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG[^*]*\*\*\*[^\n]*\n", re.M)
_GUTENBERG_END = re.compile(r"^(?:End of (?:the )?Project Gutenberg|\*\*\* ?END OF TH(?:E|IS) PROJECT)", re.M)
_WIKI_DOC = re.compile(r"<doc id=.*>$")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` to ``stop`` of a file; row groups of a parquet file."""

    path: str
    format: str
    start: int
    stop: int
    encoding: str = "utf-8"
    errors: str = "strict"
    """What to do with bytes that do not decode; ``strict`` for files that have none."""


def texts(span: Span, layout: Layout, dropped: Counter[str]) -> Iterator[tuple[str, Lines]]:
    """(text of a document, what its line ends are). A text over PIECE characters comes in several parts."""
    if span.format in TABLES:
        for text in _table_texts(span, layout, dropped):
            yield text, layout.lines
    elif span.format == "wiki":
        for text in _wiki_texts(_pieces(span, dropped)):
            yield text, "paragraphs"
    elif span.format in ("markdown", "rst"):
        prose = markdown_prose if span.format == "markdown" else rst_prose
        for text in cut_at_whitespace(prose("".join(_pieces(span, dropped))), PIECE):
            yield text, "wrapped"
    else:
        for piece in _without_gutenberg(_pieces(span, dropped), dropped):
            for text in _documents(piece, layout):
                yield text, layout.lines


def rows(span: Span, dropped: Counter[str], column: str | None = None) -> Iterator[tuple[int, Row]]:
    """(line or row number, row) of a table. ``column`` is all that is read of a parquet file, if given."""
    if span.format == "jsonl":
        return _jsonl_rows(span, dropped)
    if span.format == "csv":
        return _csv_rows(span, dropped)
    if span.format == "tsv":
        return _tsv_rows(span, dropped)
    return _parquet_rows(span, column)


def sample_text(span: Span, size: int = 1 << 18) -> str:
    """The start of a plain text, to guess its layout by."""
    ignored: Counter[str] = Counter()
    pieces = text_pieces(span.path, span.encoding, "replace", ignored, 0, min(size, span.stop))
    return next(_without_gutenberg(pieces, ignored))


def sample_rows(span: Span, count: int = 100, size: int = 10_000) -> list[Row]:
    """The first rows, each text cut to ``size`` characters."""
    first = islice(rows(span, Counter()), count)
    return [{name: v[:size] if isinstance(v, str) else v for name, v in row.items()} for _, row in first]


def _pieces(span: Span, dropped: Counter[str]) -> Iterator[str]:
    stop = None if span.path.endswith((".gz", ".zst")) else span.stop
    return text_pieces(span.path, span.encoding, span.errors, dropped, span.start, stop)


def _documents(piece: str, layout: Layout) -> Iterator[str]:
    if layout.documents == "file":
        yield piece
    elif layout.documents == "line":
        yield from piece.rstrip("\n").split("\n")
    else:
        yield from (block for block in re.split(r"\n{2,}", piece) if block.strip())


def _without_gutenberg(pieces: Iterator[str], dropped: Counter[str]) -> Iterator[str]:
    """The book between Project Gutenberg's header and its licence."""
    for number, piece in enumerate(pieces):
        if number == 0 and (start := _GUTENBERG_START.search(piece[:20_000])):
            dropped["Project Gutenberg headers"] += 1
            piece = piece[start.end() :]
        if end := _GUTENBERG_END.search(piece):
            dropped["Project Gutenberg licences"] += 1
            yield piece[: end.start()]
            return
        yield piece


def _wiki_texts(pieces: Iterator[str]) -> Iterator[str]:
    """What stands between ``<doc ...>`` and ``</doc>``."""
    held: list[str] | None = None
    size = 0
    for piece in pieces:
        for line in piece.removesuffix("\n").split("\n"):
            if _WIKI_DOC.match(line):
                held, size = [], 0
            elif held is not None and (line == "</doc>" or size > PIECE):
                yield "\n".join(held)
                held, size = (None if line == "</doc>" else [line]), 0
            elif held is not None:
                held.append(line)
                size += len(line)
    if held:
        yield "\n".join(held)


def _table_texts(span: Span, layout: Layout, dropped: Counter[str]) -> Iterator[str]:
    for number, row in rows(span, dropped, layout.column):
        if layout.column not in row:
            raise no_column(_place(span, number), layout.column, [row])
        value = row[layout.column]
        if value is None:
            dropped["null texts"] += 1
        elif not isinstance(value, str):
            kind = type(value).__name__
            raise DataError(
                f"{_place(span, number)}: `{layout.column}` is {value!r:.40} ({kind}), not text; write it as text"
                " or null, or name another column (corpus.text)"
            )
        else:
            for text in cut_at_whitespace(value, PIECE):
                yield normalise(text, dropped)


def _place(span: Span, number: int) -> str:
    """``path:line``; lines are counted from the start of the file only now that somebody asks."""
    if span.format == "parquet":
        return f"{span.path}: row {number}"
    if span.start:
        with open_bytes(span.path) as file:
            number += file.read(span.start).count(b"\n")
    return f"{span.path}:{number}"


def _lines(span: Span, dropped: Counter[str]) -> Iterator[tuple[int, str]]:
    """(number from the start of the span, line without its end). Only LF ends a line of JSON or of a table."""
    errors = "strict" if span.errors == "strict" else "replace"
    compressed = span.path.endswith((".gz", ".zst"))
    left = sys.maxsize if compressed else span.stop - span.start
    with open_bytes(span.path) as file:
        if span.start:
            file.seek(span.start)
        wide = span.encoding.startswith(WIDE)
        source = io.TextIOWrapper(file, span.encoding, errors, newline="\n") if wide else file
        for number, raw in enumerate(source, start=1):
            if isinstance(raw, str):
                line = raw.rstrip("\r\n")
            else:
                left -= len(raw)
                raw = raw.rstrip(b"\r\n")
                line = raw.decode(span.encoding, errors)
            del raw  # a line may be the whole file
            if not _undecodable(line, span, dropped):
                yield number, line
            if left <= 0:
                return


def _undecodable(text: str, span: Span, dropped: Counter[str]) -> bool:
    """Whether a row is to be dropped because its bytes do not decode; counted, and U+FFFD too."""
    if span.errors == "strict" or "\ufffd" not in text:
        return False
    if span.errors == "skip":
        dropped["lines that do not decode"] += 1
        return True
    dropped["bytes that do not decode (now U+FFFD)"] += text.count("\ufffd")
    return False


def _jsonl_rows(span: Span, dropped: Counter[str]) -> Iterator[tuple[int, Row]]:
    for number, line in _lines(span, dropped):
        if not line or line.isspace():
            dropped["blank lines"] += 1
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "too deep"
            raise DataError(f"{_place(span, number)}: not JSON: {reason}; a line is one object") from error
        if not isinstance(row, dict):
            raise DataError(f"{_place(span, number)}: {line[:40]} is not a JSON object; a line is one object")
        yield number, row


def _tsv_rows(span: Span, dropped: Counter[str]) -> Iterator[tuple[int, Row]]:
    """Tabs separate, lines end, and a quote is a character like any other."""
    head = Span(span.path, span.format, 0, 1, span.encoding, span.errors)
    header = next((line.split("\t") for _, line in _lines(head, Counter())), [])
    for number, line in _lines(span, dropped):
        if number == 1 and span.start == 0:
            continue
        if not line.strip():
            dropped["blank lines"] += 1
            continue
        yield number, _row(span, number, header, line.split("\t"))


def _csv_rows(span: Span, dropped: Counter[str]) -> Iterator[tuple[int, Row]]:
    """Comma-separated, double quotes, cells of several lines; ``NA`` and ``null`` are text."""
    csv.field_size_limit(sys.maxsize >> 1)  # the limit is a C long
    errors = "strict" if span.errors == "strict" else "replace"
    with io.TextIOWrapper(open_bytes(span.path), span.encoding, errors, newline="") as file:
        reader = csv.reader(file, strict=True)
        number = 1
        try:
            header = next(reader, [])
            number = reader.line_num + 1
            for cells in reader:
                if not cells:
                    dropped["blank lines"] += 1
                elif not _undecodable("".join(cells), span, dropped):
                    yield number, _row(span, number, header, cells)
                number = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{span.path}:{number}: {error}; close the quotation mark that opens in this row"
            ) from error


def _row(span: Span, number: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise DataError(
            f"{_place(span, number)}: {len(cells)} cells under a header of {len(header)} ({', '.join(header)[:80]})"
        )
    return dict(zip(header, cells, strict=True))


def _parquet_rows(span: Span, column: str | None) -> Iterator[tuple[int, Row]]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(span.path) as file:
            known = file.schema_arrow.names
            if column and column not in known:
                raise no_column(span.path, column, sample_rows(span, 20))
            number = sum(file.metadata.row_group(group).num_rows for group in range(span.start))
            groups = list(range(span.start, span.stop))
            for batch in file.iter_batches(256, groups, [column] if column else None):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (ArrowException, OSError) as error:
        raise DataError(f"{unreadable(span.path, error)}; fetch the file again") from error
