"""Large files cut where documents end, small ones put together: stretches of work of about one size."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from ptk.data.decoding import BLOCK, COMPRESSED
from ptk.data.layout import Layout
from ptk.data.readers import WIDE, Span

# Where a file may be cut into shards: after what ends a document.
_BOUNDARY = {
    "line": re.compile(rb"\n"),
    "blank_line": re.compile(rb"\n[ \t\r]*\n"),
    "wiki": re.compile(rb"\n</doc>[ \t\r]*\n"),
}


def cut(span: Span, layout: Layout, size: int) -> Iterator[Span]:
    """A large file as stretches of about ``size`` bytes that end where a document does, if any can."""
    kind = "line" if span.format in ("jsonl", "tsv") else span.format
    kind = layout.documents if kind == "text" else kind
    if span.format == "parquet":
        yield from _cut_parquet(span, size)
        return
    if kind not in _BOUNDARY or span.path.endswith(COMPRESSED) or span.encoding.startswith(WIDE):
        yield span
        return
    start = span.start
    with open(span.path, "rb") as file:
        while span.stop - start > size:
            stop = min(_boundary(file, start + size, _BOUNDARY[kind]), span.stop)
            yield replace(span, start=start, stop=stop)
            start = stop
    if start < span.stop:
        yield replace(span, start=start)


def _boundary(file: BinaryIO, at: int, pattern: re.Pattern[bytes]) -> int:
    """The first end of a document at or after byte ``at``, or the end of the file."""
    file.seek(at)
    held = b""
    while block := file.read(BLOCK):
        held += block
        if match := pattern.search(held):
            return at + match.end()
        at += max(0, len(held) - 32)  # a boundary may lie across two blocks
        held = held[-32:]
    return at + len(held)


def _cut_parquet(span: Span, size: int) -> Iterator[Span]:
    from pyarrow import parquet

    metadata = parquet.read_metadata(span.path)
    start = total = 0
    for group in range(span.stop):
        total += metadata.row_group(group).total_byte_size
        if total >= size or group == span.stop - 1:
            yield replace(span, start=start, stop=group + 1)
            start, total = group + 1, 0


def grouped(spans: Sequence[Span], size: int) -> Iterator[tuple[Span, ...]]:
    """Consecutive small spans together, up to ``size`` bytes."""
    held: list[Span] = []
    total = 0
    for span in spans:
        # A parquet span counts row groups, and is a shard's worth by itself; so is a hub dataset.
        weight = size if span.format in ("parquet", "hub") else span.stop - span.start
        if held and total + weight > size:
            yield tuple(held)
            held, total = [], 0
        held.append(span)
        total += weight
    if held:
        yield tuple(held)
