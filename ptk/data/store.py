"""The store: a corpus, tokenized once, memory-mapped, the same for every objective and length.

    tokens.npy          ids of all text, end to end           uint16 where the vocabulary allows, else uint32
    sentences.npy       bounds of sentences, in tokens        int64   [sentences + 1], the first is 0
    sentence_bytes.npy  UTF-8 bytes of each sentence          int32
    documents.npy       bounds of documents, in sentences     int64   [documents + 1], the first is 0
    hashes.npy          a hash of each document's text        uint64 (decides what is held out)
    sources.npy         which source of the corpus it is from uint16
    manifest.json       written last: counts, fingerprint

Reading it needs numpy alone; ``store_building.py`` makes one.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ptk import files
from ptk.errors import DataError

FORMAT = 1
PARTS = {
    "tokens": None,  # uint16 or uint32, by the vocabulary
    "sentences": np.int64,
    "sentence_bytes": np.int32,
    "documents": np.int64,
    "hashes": np.uint64,
    "sources": np.uint16,
}


@dataclass(frozen=True)
class Store:
    """A finished store. Pickles as its folder, so that loader workers map the same pages."""

    folder: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return files.read_json(self.folder / "manifest.json")

    @cached_property
    def tokens(self) -> np.ndarray:
        return files.array(self.folder / "tokens.npy")

    @cached_property
    def sentences(self) -> np.ndarray:
        return files.array(self.folder / "sentences.npy")

    @cached_property
    def sentence_bytes(self) -> np.ndarray:
        return files.array(self.folder / "sentence_bytes.npy")

    @cached_property
    def documents(self) -> np.ndarray:
        return files.array(self.folder / "documents.npy")

    @cached_property
    def hashes(self) -> np.ndarray:
        return files.array(self.folder / "hashes.npy")

    @cached_property
    def sources(self) -> np.ndarray:
        return files.array(self.folder / "sources.npy")

    @cached_property
    def labels(self) -> np.ndarray:
        """Of the examples of a task (ptk/tasks/store.py): a label of each document, or of each sentence (a word)."""
        return files.array(self.folder / "labels.npy")

    @cached_property
    def offsets(self) -> np.ndarray:
        """int32 [tokens, 2], of questions and their contexts: where in its text each token begins and ends."""
        return files.array(self.folder / "offsets.npy")

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]


def check(store: Store, expected: str) -> None:
    """Refuse a store whose manifest says something else than the folder it lies in, or whose files are cut short.

    Raises DataError, which names the file.
    """
    place, remedy = store.folder / "manifest.json", f"delete {store.folder} to build it again"
    try:
        found = (store.manifest["format"], store.manifest["fingerprint"])
        sizes = {f"{name}.npy": store.manifest["files"][f"{name}.npy"] for name in PARTS}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: damaged, not the manifest of a store; {remedy}") from error
    if found != (FORMAT, expected):
        raise DataError(
            f"{place}: store {found[1]} of format {found[0]}, not {expected} of format {FORMAT}, which this corpus "
            f"and tokenizer give; {remedy}"
        )
    for name, size in sizes.items():
        path = store.folder / name
        length = path.stat().st_size if path.exists() else None
        if length != size:
            said = "missing" if length is None else f"{length:,} bytes long, not {size:,}"
            raise DataError(f"{path}: {said}; {remedy}")


def token_type(vocab_size: int) -> type:
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32
