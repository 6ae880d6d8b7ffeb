"""A dataset of the Hugging Face hub as a source: streamed, never copied whole. ``datasets`` is imported when used."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ptk.data.decoding import PIECE, normalise
from ptk.data.layout import Layout, guess_column, guess_lines, no_column
from ptk.data.sentences import Lines, cut_at_whitespace
from ptk.errors import DataError
from ptk.recipe import CorpusSource

SAMPLED_ROWS = 100
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def is_name(path: str, extensions: tuple[str, ...]) -> bool:
    """Whether a path that is not there may be ``owner/name`` of the hub: it does not end as a file does."""
    return bool(_NAME.fullmatch(path)) and not path.startswith(".") and not path.lower().endswith(extensions)


def open_source(source: CorpusSource, not_local: str) -> tuple[Layout, str]:
    """(layout, note) from the first rows. DataError says what was tried, ``not_local`` included."""
    try:
        sample = list(islice(_rows(source), SAMPLED_ROWS))
    except DataError as error:
        raise DataError(f"corpus: {not_local}; {error}") from error
    column = source.text or guess_column(sample) or ""
    if not any(column in row for row in sample):
        raise no_column(source.path, column, sample)
    lines = guess_lines([row[column] for row in sample if isinstance(row.get(column), str)])
    return Layout(column=column, lines=lines), f"{source.path}: hub dataset, text is in `{column}`"


def texts(source: CorpusSource, layout: Layout, dropped: Counter[str]) -> Iterator[tuple[str, Lines]]:
    """(text of a document, what its line ends are), as ``readers.texts``."""
    for number, row in enumerate(_rows(source), start=1):
        value = row.get(layout.column)
        if value is None:
            dropped["null texts"] += 1
        elif not isinstance(value, str):
            raise DataError(f"{source.path}: row {number}: `{layout.column}` is {value!r:.40}, not text")
        else:
            for text in cut_at_whitespace(value, PIECE):
                yield normalise(text, dropped), layout.lines


def _rows(source: CorpusSource) -> Iterator[Mapping[str, Any]]:
    import datasets

    try:
        yield from datasets.load_dataset(source.path, source.config, split=source.split, streaming=True)
    except Exception as error:  # of the hub, the network, or the dataset's files: all mean no text
        reason = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"the hub's dataset {source.path} (config {source.config or 'default'}, split {source.split}) could not"
            f" be read: {type(error).__name__}: {reason}"
        ) from error
