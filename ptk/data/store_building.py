"""Builds a store: shard by shard, by several processes, in bounded memory.

Each shard is a folder that is renamed when whole, so that a build that was stopped goes on where it was; then the
shards are joined, which for a moment takes the room of both. A store lies in the cache folder under its fingerprint
(corpus, tokenizer, format), and a second process that needs it waits for the first.
"""

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import xxhash

from ptk import files
from ptk.data import corpus as corpora
from ptk.data import pool
from ptk.data.corpus import Corpus, Counts, Shard
from ptk.data.store import FORMAT, PARTS, Store, check, token_type
from ptk.data.tokenizer import Tokenizer
from ptk.errors import DataError

BATCH = 2000  # sentences that are tokenized at once
Progress = Callable[[int, int], None]


def fingerprint(corpus: Corpus, tokenizer: Tokenizer) -> str:
    return files.fingerprint("store", FORMAT, corpus.fingerprint, tokenizer.fingerprint)


def find(corpus: Corpus, tokenizer: Tokenizer, root: Path | None = None) -> Store | None:
    """The finished store of this corpus and tokenizer, if there is one. Raises DataError for one that is damaged."""
    folder = (root or files.cache_folder() / "stores") / fingerprint(corpus, tokenizer)
    if not (folder / "manifest.json").exists():
        return None
    store = Store(folder)
    check(store, fingerprint(corpus, tokenizer))
    return store


def build(
    corpus: Corpus,
    tokenizer: Tokenizer,
    processes: int | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> Store:
    """The store of a corpus: found, waited for, or built by ``processes`` processes in bounded memory.

    Raises DataError for text that cannot be read, DiskError for a full disk, ProcessLostError when one of the
    processes is killed; shards that are finished stay for the next time.
    """
    key = fingerprint(corpus, tokenizer)
    folder = (root or files.cache_folder() / "stores") / key
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / ".lock"):
            store = find(corpus, tokenizer, root)
            if store is None:
                write_shards(corpus, tokenizer, folder, processes or os.cpu_count() or 1, progress)
                join(corpus, tokenizer, folder, key)
                store = Store(folder)
            remove_shards(folder)
    return store


class Work(NamedTuple):
    """What all shards share."""

    corpus: Corpus
    tokenizer: Tokenizer
    folder: Path


def write_shards(corpus: Corpus, tokenizer: Tokenizer, folder: Path, processes: int, progress: Progress | None) -> None:
    """Tokenize the shards that are not there yet."""
    for half in folder.glob(".shard-*"):
        files.remove_folder(half)
    waiting = [shard for shard in corpus.shards if not is_whole(shard_folder(folder, shard), shard)]
    done = len(corpus.shards) - len(waiting)
    with closing(run(Work(corpus, tokenizer, folder), waiting, processes)) as finished:
        for _ in finished:
            done += 1
            if progress:
                progress(done, len(corpus.shards))


def run(work: Work, shards: list[Shard], processes: int) -> Generator[None, None, None]:
    """Write each shard, here and in spawned processes; one process uses the tokenizer's own threads instead."""
    processes = min(processes, len(shards))
    if processes > 1:
        yield from pool.unordered(write_shard, work, shards, processes, work.folder)
        return
    for shard in shards:
        write_shard(work, shard)
        yield


def shard_folder(folder: Path, shard: Shard) -> Path:
    return folder / f"shard-{shard.index:06d}"


def extent(shard: Shard) -> str:
    """What text a shard holds: the same corpus may be cut otherwise another time."""
    spans = [(os.path.basename(span.path), span.start, span.stop) for span in shard.spans]
    return files.fingerprint(shard.source, spans)


def is_whole(folder: Path, shard: Shard) -> bool:
    """Whether a shard is finished, and its files as long as they were: a machine that lost power may keep the
    folder's name and lose what is in it."""
    try:
        about = files.read_json(folder / "shard.json")
        sizes = about["files"].items()
        return about["extent"] == extent(shard) and all((folder / name).stat().st_size == size for name, size in sizes)
    except (OSError, ValueError, KeyError):
        return False


def write_shard(work: Work, shard: Shard) -> None:
    """Read and tokenize one shard into raw files, a batch of sentences at a time; renamed when whole."""
    final = shard_folder(work.folder, shard)
    aside = final.with_name(f".{final.name}")
    files.remove_folder(aside)
    files.remove_folder(final)
    aside.mkdir()
    counts = Counts()
    with ShardWriter(aside, work.tokenizer) as writer:
        for document in corpora.read(work.corpus, shard, counts):
            writer.add(document.text, document.sentences, shard.source)
        writer.write()
    counts.dropped.update({reason: number for reason, number in writer.left_out.items() if number})
    sizes = {path.name: path.stat().st_size for path in sorted(aside.iterdir())}
    files.write_json(aside / "shard.json", {"extent": extent(shard), "counts": counts.to_dict(), "files": sizes})
    os.rename(aside, final)


class ShardWriter:
    """Appends documents to the raw files of one shard, tokenizing ``BATCH`` sentences at a time."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.types = {name: dtype or token_type(tokenizer.vocab_size) for name, dtype in PARTS.items()}
        self.open = ExitStack()
        self.files = {name: self.open.enter_context((folder / f"{name}.raw").open("wb")) for name in PARTS}
        self.waiting: list[tuple[str, tuple[str, ...], int]] = []
        self.sentences_waiting = 0
        self.tokens = 0
        self.sentences = 0
        self.left_out = {"sentences without a token": 0, "documents without a token": 0}

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def add(self, text: str, sentences: tuple[str, ...], source: int) -> None:
        self.waiting.append((text, sentences, source))
        self.sentences_waiting += len(sentences)
        if self.sentences_waiting >= BATCH:
            self.write()

    def put(self, name: str, values: Any) -> None:
        self.files[name].write(np.asarray(values, self.types[name]).tobytes())

    def write(self) -> None:
        """Tokenize what waits. Sentences and documents that give no token are left out (NSP-1)."""
        sentences = [sentence for _, sentences, _ in self.waiting for sentence in sentences]
        encoded = [self.tokenizer.encode_joined(few) for few in batched(sentences, BATCH)]
        lengths = np.concatenate([np.empty(0, np.int64), *(lengths for _, lengths in encoded)])
        kept = lengths > 0
        of_document = np.repeat(np.arange(len(self.waiting)), [len(each) for _, each, _ in self.waiting])
        numbers = np.bincount(of_document[kept], minlength=len(self.waiting))
        documents = [(text, source) for (text, _, source), number in zip(self.waiting, numbers, strict=True) if number]
        for ids, _ in encoded:
            self.put("tokens", ids)
        self.put("sentences", self.tokens + np.cumsum(lengths[kept]))
        self.put("sentence_bytes", np.array([len(sentence.encode()) for sentence in sentences], np.int64)[kept])
        self.put("documents", self.sentences + np.cumsum(numbers[numbers > 0]))
        self.put("hashes", [xxhash.xxh3_64_intdigest(text.encode()) for text, _ in documents])
        self.put("sources", [source for _, source in documents])
        self.tokens += int(lengths.sum())
        self.sentences += int(kept.sum())
        self.left_out["sentences without a token"] += int((~kept).sum())
        self.left_out["documents without a token"] += int((numbers == 0).sum())
        self.waiting, self.sentences_waiting = [], 0


def batched(texts: list[str], size: int) -> Iterator[list[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


def join(corpus: Corpus, tokenizer: Tokenizer, folder: Path, key: str) -> None:
    """Join the shards, in order, into one array a part; then the manifest."""
    shards = [shard_folder(folder, shard) for shard in corpus.shards]
    counts = Counts()
    for shard in shards:
        counts = counts + Counts.from_dict(files.read_json(shard / "shard.json")["counts"])
    lengths = {}
    for name, dtype in PARTS.items():
        dtype = np.dtype(dtype or token_type(tokenizer.vocab_size))
        lengths[name] = join_part(folder, name, dtype, shards)
    if lengths["tokens"] == 0:
        raise DataError(f"{', '.join(source.path for source in corpus.sources)}: no text; {counts.to_dict()}")
    written = {f"{name}.npy": (folder / f"{name}.npy").stat().st_size for name in PARTS}
    files.write_json(
        folder / "manifest.json",
        {
            "format": FORMAT,
            "fingerprint": key,
            "corpus": corpus.fingerprint,
            "tokenizer": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "sources": [source.path for source in corpus.sources],
            "tokens": lengths["tokens"],
            "sentences": lengths["sentences"],
            "documents": lengths["documents"],
            "counts": counts.to_dict(),
            "files": written,
        },
    )


def remove_shards(folder: Path) -> None:
    """The shards of a finished store; also those that a builder stopped right after its manifest left behind."""
    for shard in (*folder.glob("shard-*"), *folder.glob(".shard-*")):
        files.remove_folder(shard)


def join_part(folder: Path, name: str, dtype: np.dtype, shards: list[Path]) -> int:
    """Join one part of all shards; bounds (of sentences in tokens, of documents in sentences) are shifted."""
    length = sum((shard / f"{name}.raw").stat().st_size for shard in shards) // dtype.itemsize
    is_bounds = name in ("sentences", "documents")
    shift = 0
    with open(folder / f"{name}.npy", "wb") as out:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (length + is_bounds,),
        }
        np.lib.format.write_array_header_1_0(out, header)
        if is_bounds:
            out.write(np.zeros(1, dtype).tobytes())
        for shard in shards:
            if not is_bounds:
                with open(shard / f"{name}.raw", "rb") as raw:
                    shutil.copyfileobj(raw, out, 1 << 20)
                continue
            part = np.fromfile(shard / f"{name}.raw", dtype)
            out.write((part + shift).astype(dtype).tobytes())
            shift += int(part[-1]) if len(part) else 0
        out.flush()
        os.fsync(out.fileno())
    return length
