"""Tables of rows: for one objective, length and epoch, which spans of the store form which row.

A table is built by blocks of documents, each seeded by (seed, epoch, block), so that it does not depend on who
builds it or how many; it is kept beside the store and memory-mapped. The next epoch's is built in the background.
"""

import multiprocessing
import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import BinaryIO

import filelock
import numpy as np

from ptk import files
from ptk.data import pool
from ptk.data.split import Documents, Part, documents_of
from ptk.data.store import Store
from ptk.objectives.objective import Objective, Row, Table
from ptk.recipe import EvaluateSpec

FORMAT = 1
BLOCK_TOKENS = 1 << 20
PARALLEL_BLOCKS = 16  # from so many blocks on, a pool of processes is worth its start


@dataclass(frozen=True)
class RowSource:
    """Everything that a table depends on but the epoch. Pickles small."""

    store: Store
    objective: Objective
    evaluate: EvaluateSpec
    length: int
    seed: int
    part: Part = "train"
    source: int | None = None  # of several weighted sources of the corpus, which one
    member: int | None = None  # of a mixture of objectives, which one

    @cached_property
    def documents(self) -> Documents:
        documents = documents_of(self.store, self.evaluate, self.part)
        return documents if self.source is None else documents.of_source(self.source)

    @cached_property
    def key(self) -> str:
        settings = {name: getattr(self.objective, name) for name in self.objective.rows_depend_on}
        kind = type(self.objective).__module__
        held = (self.evaluate.share, self.evaluate.tail, self.part, self.source)
        return files.fingerprint("rows", FORMAT, kind, settings, self.length, self.seed, held)

    def folder(self, epoch: int) -> Path:
        number = epoch if self.objective.rows_change else 0
        return self.store.folder / "rows" / self.key / f"epoch-{number:06d}"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "documents"}


def blocks(documents: Documents) -> list[range]:
    """Documents in blocks of about ``BLOCK_TOKENS``."""
    if not len(documents):
        return []
    ends = np.cumsum(documents.lengths())
    cuts = np.searchsorted(ends, np.arange(BLOCK_TOKENS, ends[-1], BLOCK_TOKENS)) + 1
    edges = np.unique(np.concatenate([[0], cuts, [len(documents)]]))
    return [range(start, stop) for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]


def build_block(rows: RowSource, epoch: int, number: int, block: range) -> Table:
    rng = np.random.default_rng((rows.seed, epoch, number))
    return rows.objective.rows(rows.documents, block, rows.length, rng)


def build_numbered(shared: tuple[RowSource, int], numbered: tuple[int, range]) -> Table:
    return build_block(*shared, *numbered)


def tables(rows: RowSource, epoch: int) -> Generator[Table, None, None]:
    """The table of every block, in order; many blocks are shared out to processes."""
    parts = list(enumerate(blocks(rows.documents)))
    processes = min(os.cpu_count() or 1, len(parts))
    if processes <= 1 or len(parts) < PARALLEL_BLOCKS or multiprocessing.current_process().daemon:
        yield from (build_block(rows, epoch, *part) for part in parts)
    else:
        yield from pool.in_order(build_numbered, (rows, epoch), parts, processes, rows.folder(epoch))


def build(rows: RowSource, epoch: int) -> None:
    """Build the table of one epoch unless it is there; another process that builds it is waited for."""
    folder = rows.folder(epoch)
    if (folder / "manifest.json").exists():
        return
    with files.disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.parent / f".{folder.name}.lock"):
            if not (folder / "manifest.json").exists():
                aside = folder.with_name(f".{folder.name}")
                files.remove_folder(aside)
                files.remove_folder(folder)
                aside.mkdir()
                with closing(tables(rows, epoch)) as parts:
                    write(parts, aside)
                os.rename(aside, folder)


def write(parts: Iterator[Table], folder: Path) -> None:
    """Append the tables of all blocks to one array a part; the manifest is last."""
    with Arrays(folder) as arrays:
        rows = spans = left_out = 0
        arrays.append("offsets", np.zeros(1, np.int64))
        for table in parts:
            arrays.append("offsets", table.offsets[1:] + spans)
            arrays.append("spans", np.ascontiguousarray(table.spans, np.int64))
            for name, column in table.columns.items():
                arrays.append(f"column-{name}", column)
            rows, spans, left_out = rows + len(table), spans + len(table.spans), left_out + table.left_out
    columns = sorted(name.removeprefix("column-") for name in arrays.names if name.startswith("column-"))
    files.write_json(folder / "manifest.json", {"rows": rows, "columns": columns, "left_out": left_out})


class Arrays:
    """Arrays that grow by appending; ``.npy`` files, flushed to disk, once closed."""

    SPACE = 128  # of the header, which is written last, when the length is known

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open = ExitStack()
        self.files: dict[str, BinaryIO] = {}
        self.types: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self.lengths: Counter[str] = Counter()

    @property
    def names(self) -> list[str]:
        return list(self.files)

    def append(self, name: str, part: np.ndarray) -> None:
        if name not in self.files:
            self.files[name] = self.open.enter_context((self.folder / f"{name}.npy").open("wb"))
            self.files[name].write(b" " * self.SPACE)
            self.types[name] = (part.dtype, part.shape[1:])
        self.files[name].write(part.astype(self.types[name][0], copy=False).tobytes())
        self.lengths[name] += len(part)

    def __enter__(self) -> "Arrays":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self.open:
            for name, file in self.files.items() if kind is None else ():
                dtype, shape = self.types[name]
                file.seek(0)
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": (self.lengths[name], *shape),
                }
                np.lib.format.write_array_header_1_0(file, header)
                file.flush()
                os.fsync(file.fileno())


@dataclass(frozen=True)
class Rows:
    """The finished table of one epoch, memory-mapped, with the store it points into."""

    source: RowSource
    epoch: int

    @cached_property
    def table(self) -> Table:
        folder = self.source.folder(self.epoch)
        manifest = files.read_json(folder / "manifest.json")
        columns = {name: files.array(folder / f"column-{name}.npy") for name in manifest["columns"]}
        if not manifest["rows"]:
            return Table(np.zeros(1, np.int64), np.zeros((0, 2), np.int64), columns, manifest["left_out"])
        offsets, spans = files.array(folder / "offsets.npy"), files.array(folder / "spans.npy")
        return Table(offsets, spans, columns, manifest["left_out"])

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Row:
        offsets, spans, columns, _ = self.table
        tokens = self.source.store.tokens
        where = spans[offsets[index] : offsets[index + 1]].tolist()
        segments = [tokens[start:stop].astype(np.int64) for start, stop, *_ in where]
        own = {name: column[index].tolist() for name, column in columns.items()}
        return Row(segments, own, [mark for _, _, *marks in where for mark in marks])

    def lengths(self) -> np.ndarray:
        """Stored tokens of each row (specials are not counted)."""
        return self._lengths

    @cached_property
    def _lengths(self) -> np.ndarray:
        sizes = np.concatenate([[0], np.cumsum(self.table.spans[:, 1] - self.table.spans[:, 0])])
        return np.diff(sizes[self.table.offsets])


def rows(source: RowSource, epoch: int) -> Rows:
    """The rows of one epoch: read where they are built, else built now."""
    while True:
        build(source, epoch)
        found = Rows(source, epoch)
        with suppress(FileNotFoundError):  # another run, which is past this epoch, has just dropped it
            len(found)
            return found


class Ahead:
    """Builds the next epoch's table in a process of its own while this one trains, and drops tables gone by."""

    def __init__(self) -> None:
        self.process: BaseProcess | None = None

    def prepare(self, source: RowSource, epoch: int, oldest: int | None = None) -> None:
        """Build ``epoch`` unless it is there or a table is being built already. ``oldest``: the first epoch that is
        still in use, the one before ``epoch`` when left out; those before it go, but for epoch 0."""
        if (source.folder(epoch) / "manifest.json").exists() or (self.process and self.process.is_alive()):
            return
        self.process = multiprocessing.get_context("spawn").Process(target=build, args=(source, epoch), daemon=True)
        self.process.start()
        drop(source, epoch - 1 if oldest is None else oldest)

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.is_alive():
            self.process.terminate()
            self.process.join()


def drop(source: RowSource, oldest: int) -> None:
    """Delete the tables before ``oldest`` but the first, which tells how long an epoch is. Renamed before, so that
    nobody sees a table without some of its files; whoever has one open keeps it."""
    parent = source.folder(0).parent
    for folder in parent.glob("epoch-*"):
        if 0 < int(folder.name.removeprefix("epoch-")) < oldest:
            with suppress(FileNotFoundError):
                os.rename(folder, parent / f".gone-{folder.name}-{os.getpid()}")
    for gone in parent.glob(f".gone-*-{os.getpid()}"):
        files.remove_folder(gone)
