"""What is trained on and what is held out: a view of the store's documents, never a copy.

Whole documents are held out by the hash of their text, so that a document stays on its side whatever else the
corpus holds (LM-5). Where that would hold out far too much or too little (a few long texts), documents are cut
into blocks of sentences and the blocks are held out by hash; ``evaluate.tail`` holds out the end of the store.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ptk.data.store import Store
from ptk.errors import DataError
from ptk.recipe import EvaluateSpec

BLOCKS = 32  # blocks that the held-out share of a few long texts is made of, where there is text enough
SMALLEST_BLOCK = 256  # tokens
LARGEST_BLOCK = 8192
Part = Literal["train", "validation", "all"]


@dataclass(frozen=True)
class Documents:
    """Pieces of documents: sentences ``first[i]`` to ``stop[i]`` of the store, from document ``parent[i]``."""

    store: Store
    first: np.ndarray
    stop: np.ndarray
    parent: np.ndarray
    rule: str = ""
    part_of: "Documents | None" = None  # of one source of a corpus: all of them

    @property
    def split(self) -> "Documents":
        """The whole side of the split that these documents are on."""
        return self.part_of or self

    def __len__(self) -> int:
        return len(self.first)

    def boundaries(self, piece: int) -> np.ndarray:
        """Token offsets of the piece's sentences, [sentences + 1]."""
        return self.store.sentences[self.first[piece] : self.stop[piece] + 1]

    def lengths(self) -> np.ndarray:
        """Tokens of each piece."""
        return self.store.sentences[self.stop] - self.store.sentences[self.first]

    def of_source(self, source: int) -> "Documents":
        kept = self.store.sources[self.parent] == source
        return Documents(self.store, self.first[kept], self.stop[kept], self.parent[kept], self.rule, self)

    def token_counts(self) -> np.ndarray:
        """How often each entry of the vocabulary occurs."""
        counts = np.zeros(self.store.manifest["vocab_size"], np.int64)
        for start, stop in zip(self.store.sentences[self.first], self.store.sentences[self.stop], strict=True):
            counts += np.bincount(self.store.tokens[start:stop], minlength=len(counts))
        return counts

    def byte_count(self) -> int:
        """UTF-8 bytes of the text."""
        ends = np.concatenate([[0], np.cumsum(self.store.sentence_bytes, dtype=np.int64)])
        return int((ends[self.stop] - ends[self.first]).sum())


def split(store: Store, evaluate: EvaluateSpec) -> tuple[Documents, Documents]:
    """The documents of training and of validation.

    Raises DataError when one side would be empty.
    """
    if evaluate.tail is not None:
        pieces, held, rule = tail(store, evaluate.tail)
    else:
        pieces, held, rule = by_hash(store, evaluate.share)
    train, validation = (view(store, pieces, side, rule) for side in (~held, held))
    if not len(train) or not len(validation):
        raise DataError(
            f"{', '.join(store.manifest['sources'])}: {store.manifest['tokens']:,} tokens are too few to hold out "
            f"evaluate.share={evaluate.share}; give more text or a larger share"
        )
    return train, validation


def documents_of(store: Store, evaluate: EvaluateSpec, part: Part) -> Documents:
    """The documents of one part of the split; ``all``: of the whole store."""
    if part == "all":
        pieces = whole(store)
        return view(store, pieces, np.ones(len(pieces), bool), "the whole text")
    return split(store, evaluate)[part == "validation"]


def view(store: Store, pieces: np.ndarray, chosen: np.ndarray, rule: str) -> Documents:
    """The chosen pieces [P, 3] (first, stop, parent); neighbours of one document become one piece again."""
    first, stop, parent = pieces[chosen].T
    if not len(first):
        return Documents(store, first, stop, parent, rule)
    joined = (first[1:] == stop[:-1]) & (parent[1:] == parent[:-1])
    starts = np.flatnonzero(np.concatenate([[True], ~joined]))
    ends = np.append(starts[1:], len(first)) - 1
    return Documents(store, first[starts], stop[ends], parent[starts], rule)


def whole(store: Store) -> np.ndarray:
    """Every document as one piece, [D, 3]."""
    bounds = store.documents
    return np.stack([bounds[:-1], bounds[1:], np.arange(len(bounds) - 1)], axis=1)


def by_hash(store: Store, share: float) -> tuple[np.ndarray, np.ndarray, str]:
    pieces = whole(store)
    held = store.hashes < share * 2.0**64
    tokens = np.diff(store.sentences[store.documents])
    found = tokens[held].sum() / tokens.sum()
    if share / 2 <= found <= share * 2 and len(tokens) * share >= BLOCKS / 2:
        return pieces, held, f"{held.sum():,} of {len(held):,} documents by hash"
    size = int(np.clip(tokens.sum() * share / BLOCKS, SMALLEST_BLOCK, LARGEST_BLOCK))
    pieces, hashes = blocks(store, size)
    held = np.zeros(len(hashes), bool)
    # Few blocks: those with the smallest hashes, as many as the share asks for, so that chance cannot hold out none.
    held[np.argsort(hashes, kind="stable")[: max(1, round(share * len(hashes)))]] = True
    return pieces, held, f"{held.sum():,} of {len(held):,} blocks of about {size:,} tokens by hash"


def blocks(store: Store, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents cut at ends of sentences into blocks of about ``size`` tokens, [P, 3], and a hash of each."""
    bounds, sentences = store.documents, store.sentences
    starts = sentences[:-1]
    parent = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    number = (starts - starts[bounds[:-1]][parent]) // size
    change = np.flatnonzero((np.diff(parent) != 0) | (np.diff(number) != 0)) + 1
    first = np.concatenate([[0], change])
    pieces = np.stack([first, np.append(change, len(starts)), parent[first]], axis=1)
    return pieces, mixed(store.hashes[parent[first]], number[first])


def mixed(hashes: np.ndarray, number: np.ndarray) -> np.ndarray:
    """One uniform 64-bit number from a document's hash and a block's number (the splitmix64 finaliser)."""
    x = hashes + (number.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def tail(store: Store, share: float) -> tuple[np.ndarray, np.ndarray, str]:
    """The store's end: the document that the cut falls into gives both sides a piece."""
    bounds = store.documents
    cut = int(np.searchsorted(store.sentences, store.sentences[-1] * (1 - share)))
    inner = cut if cut not in bounds else None
    edges = np.unique(np.append(bounds, cut)) if inner is not None else bounds
    parent = np.searchsorted(bounds, edges[:-1], side="right") - 1
    pieces = np.stack([edges[:-1], edges[1:], parent], axis=1)
    return pieces, edges[:-1] >= cut, f"the last {share:.0%} of the text"
