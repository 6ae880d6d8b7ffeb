"""The corpus: a recipe's sources as documents, cut into shards that processes read independently.

``open_corpus`` looks at everything once (names, encodings, layout, columns) and complains about all of it;
``read`` then streams one shard. What was guessed is in ``Corpus.notes``, what was dropped in ``Counts``.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ptk import files
from ptk.data import hub, python_docs
from ptk.data.decoding import Fault, find_encoding
from ptk.data.layout import Layout, guess_column, guess_layout, guess_lines, no_column
from ptk.data.readers import TABLES, Span, sample_rows, sample_text, texts
from ptk.data.sentences import Document, Lines, document
from ptk.data.shards import cut, grouped
from ptk.data.sources import FORMATS, SourceFile, find_files, not_found
from ptk.errors import DataError
from ptk.recipe import CorpusSource

READER_VERSION = 1  # raised whenever the same files give other documents
FAULTS_NAMED = 20
SAMPLED_FILES = 10
_SKIPPED = "hidden, beginning with _, or of no known extension"


@dataclass(frozen=True)
class Shard:
    """A unit of work: one stretch of a large file, or several small files of one source."""

    source: int
    """Index into the corpus's sources."""
    index: int
    """Index into the corpus's shards."""
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Corpus:
    sources: tuple[CorpusSource, ...]
    layouts: tuple[Layout, ...]
    """One a source."""
    shards: tuple[Shard, ...]
    """In order of sources, file names and bytes."""
    notes: tuple[str, ...]
    """What was guessed, a line each."""
    fingerprint: str
    """16 hexadecimal digits of the files' names and bytes, and of the settings that change the text."""


@dataclass
class Counts:
    documents: int = 0
    sentences: int = 0
    characters: int = 0
    bytes: int = 0
    """Of the text kept, in UTF-8."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason to count."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.documents + other.documents,
            self.sentences + other.sentences,
            self.characters + other.characters,
            self.bytes + other.bytes,
            self.dropped + other.dropped,
        )

    def add(self, kept: Document) -> None:
        self.documents += 1
        self.sentences += len(kept.sentences)
        self.characters += len(kept.text)
        self.bytes += len(kept.text) if kept.text.isascii() else len(kept.text.encode())

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "dropped": dict(self.dropped)}

    @classmethod
    def from_dict(cls, counts: dict[str, Any]) -> "Counts":
        return cls(**{**counts, "dropped": Counter(counts["dropped"])})


def read(corpus: Corpus, shard: Shard, counts: Counts) -> Iterator[Document]:
    """The documents of a shard, added to ``counts``. Memory is bounded by the longest line or Markdown file:
    of other texts, what is over ``decoding.PIECE`` characters is yielded as several documents.
    """
    for text, lines in _texts(corpus, shard, counts.dropped):
        kept = document(text, lines)
        if kept.text:
            counts.add(kept)
            yield kept
        else:
            counts.dropped["empty documents"] += 1


def _texts(corpus: Corpus, shard: Shard, dropped: Counter[str]) -> Iterator[tuple[str, Lines]]:
    """The documents of a shard, empty ones too, as they are before they are cut into sentences."""
    source, layout = corpus.sources[shard.source], corpus.layouts[shard.source]
    for span in shard.spans:
        if source.path == python_docs.NAME and span.start == 0:
            dropped.update(python_docs.dropped(span.path))
        yield from hub.texts(source, layout, dropped) if span.format == "hub" else texts(span, layout, dropped)


def open_corpus(sources: Sequence[CorpusSource], shard_bytes: int = 1 << 20) -> Corpus:
    """Find, check and cut everything the sources name.

    Raises DataError for paths that do not exist, files that are damaged or do not decode (all of them, in one
    message), columns that are not there, and a corpus without any text.
    """
    opened = [_open(source) for source in sources]
    faults = [fault for each in opened for fault in each.faults]
    if faults:
        raise DataError(_faults_said(faults))
    shards: list[Shard] = []
    for number, each in enumerate(opened):
        spans = [part for span in each.spans for part in cut(span, each.layout, shard_bytes)]
        for together in grouped(spans, shard_bytes):
            shards.append(Shard(number, len(shards), together))
    corpus = Corpus(
        tuple(sources),
        tuple(each.layout for each in opened),
        tuple(shards),
        tuple(note for each in opened for note in each.notes),
        files.fingerprint("corpus", READER_VERSION, version("sentencex"), [each.fingerprint for each in opened]),
    )
    if not any(text.strip() for shard in shards for text, _ in _texts(corpus, shard, Counter())):
        ignored = Counts()
        for shard in shards:
            deque(read(corpus, shard, ignored), 0)
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in ignored.dropped.items())
        where = ", ".join(source.path for source in sources) or "corpus"
        raise DataError(f"{where}: no text{f' ({dropped} dropped)' if dropped else ''}; check corpus.path")
    return corpus


@dataclass
class _Opened:
    """What is known of one source after looking at its files."""

    layout: Layout
    spans: list[Span]
    fingerprint: list[Any]
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def _open(source: CorpusSource) -> _Opened:
    if source.path == python_docs.NAME:
        path = str(python_docs.build())
        span = Span(path, "jsonl", 0, os.path.getsize(path))
        note = f"{source.path}: {python_docs.describe()}"
        return _Opened(Layout(column="text"), [span], [python_docs.NAME, python_docs.key()], [note])
    found = find_files(source.path)
    if found is None and hub.is_name(source.path, tuple(FORMATS)):
        layout, note = hub.open_source(source, not_found(source.path))
        settings = [source.path, source.config, source.split, source.text]
        return _Opened(layout, [Span(source.path, "hub", 0, 0)], ["hub", *settings], [note])
    if found is None:
        raise DataError(f"corpus: {not_found(source.path)}")
    if not found.files:
        skipped = f" ({found.skipped} skipped: {_SKIPPED})" if found.skipped else ""
        raise DataError(f"{source.path}: no file to read{skipped}; ptk reads {', '.join(FORMATS)}, also .gz, .zst")
    return _open_files(source, found.files, found.skipped)


def _open_files(source: CorpusSource, found: Sequence[SourceFile], skipped: int) -> _Opened:
    opened = _Opened(Layout(), [], _settings(source))
    if skipped:
        opened.notes.append(f"{source.path}: skipped {skipped} of {len(found) + skipped} files ({_SKIPPED})")
    for file in found:
        _check(file, source, opened)
        opened.fingerprint.append([file.name, file.size, file.format, files.digest(Path(file.path))])
    opened.notes += _encodings_said(source, opened.spans)
    if not opened.faults:
        opened.layout = _layout(source, opened)
    return opened


def _encodings_said(source: CorpusSource, spans: Sequence[Span]) -> Iterator[str]:
    """A note for every encoding that is not UTF-8, with the first files that are in it."""
    by_encoding: dict[str, list[str]] = {}
    for span in spans:
        if span.encoding not in ("utf-8", "utf-8-sig", source.encoding):
            by_encoding.setdefault(span.encoding, []).append(span.path)
    for encoding, paths in by_encoding.items():
        more = ", ..." if len(paths) > 3 else ""
        yield f"{source.path}: {len(paths)} read as {encoding}: {', '.join(paths[:3])}{more}"


def _settings(source: CorpusSource) -> list[Any]:
    return [source.text, source.encoding, source.encoding_errors, source.split_documents]


def _check(file: SourceFile, source: CorpusSource, opened: _Opened) -> None:
    """Add the file's span to ``opened``, or its fault."""
    span = Span(file.path, file.format, 0, file.size)
    if file.format == "parquet":
        opened.spans.append(replace(span, stop=_row_groups(file.path)))
        return
    wanted = (source.encoding,) if isinstance(source.encoding, str) else source.encoding or ("utf-8",)
    try:
        encoding, fault, blank = find_encoding(file.path, wanted)
    except LookupError as error:
        raise DataError(f"corpus.encoding: {error}; use a name Python knows, such as cp1252 or cp949") from error
    if fault and source.encoding_errors == "strict":
        opened.faults.append(fault)
    if blank:
        opened.notes.append(f"{file.path}: no text")
    errors = source.encoding_errors if fault else "strict"
    opened.spans.append(replace(span, encoding=encoding, errors=errors))


def _row_groups(path: str) -> int:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.read_metadata(path).num_row_groups
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged or truncated ({error}); fetch the file again") from error


def _layout(source: CorpusSource, opened: _Opened) -> Layout:
    """The layout of a source, obeyed or guessed; what was guessed goes to the notes."""
    plain = [span for span in opened.spans if span.format == "text"]
    tables = [span for span in opened.spans if span.format in TABLES]
    layout = Layout()
    if plain:
        layout = guess_layout([sample_text(span) for span in _spread(plain)], source.split_documents)
        guessed = " (guessed; corpus.split_documents says otherwise)" if source.split_documents == "auto" else ""
        opened.notes.append(f"{source.path}: {layout}{guessed}")
    if tables:
        column, lines = source.text or "", layout.lines
        sample = sample_rows(tables[0])
        if not column and (column := guess_column(sample) or ""):
            opened.notes.append(f"{source.path}: text is in `{column}` (guessed; corpus.text says otherwise)")
        if sample and not any(column in row for row in sample):
            raise no_column(tables[0].path, column, sample)
        if not plain:
            lines = guess_lines([row[column] for row in sample if isinstance(row.get(column), str)])
        layout = replace(layout, column=column, lines=lines)
    return layout


def _spread(spans: Sequence[Span]) -> Sequence[Span]:
    """At most SAMPLED_FILES of them, evenly spread."""
    return spans[:: -(-len(spans) // SAMPLED_FILES)]


def _faults_said(faults: Sequence[Fault]) -> str:
    """Every file that does not decode, and what to write into the recipe."""
    lines = [str(fault) for fault in faults[:FAULTS_NAMED]]
    if len(faults) > FAULTS_NAMED:
        lines.append(f"... and {len(faults) - FAULTS_NAMED} more files")
    guess = Counter(fault.remedy for fault in faults).most_common(1)[0][0]
    count = f"{len(faults)} file{'s do' if len(faults) > 1 else ' does'} not decode"
    lines.append(
        f"{count}; they look like {guess}: corpus.encoding={guess} if all files are, corpus.encoding='[utf-8, {guess}]'"
        " to try one after the other, or corpus.encoding_errors=replace or skip"
    )
    return "\n".join(lines)
