"""Labelled examples of one split: what every reader of task files gives, and what becomes a store."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xxhash

IGNORE = -100
A_FEW = 0.1  # of the examples: a first text before more than that is no premise of theirs, but a prompt before all


@dataclass(frozen=True)
class Examples:
    """``texts[i]`` are the texts of example i: one, or the two of a pair; of multiple choice what comes before, then
    each choice; of tagging its words or characters."""

    texts: list[tuple[str, ...]]
    labels: np.ndarray
    """int64 [N] of classification and multiple choice, float32 [N] of regression, int8 [N, L] of multi-label, int64
    [words of all examples] of tagging. IGNORE, nan or (multi-label) -1 where the file has none."""
    names: tuple[str, ...]
    """The labels by id; () of regression."""
    path: str
    """The file they are from."""
    lines: np.ndarray
    """int64: the line of the file that each example, of tagging each word, begins in; from 1."""
    characters: bool = False
    """Tagging of one character a line."""
    tagging: bool = False
    """Whether each text has a label and a line of its own."""

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def has_label(self) -> np.ndarray:
        """bool, of each example, or of tagging of each word: whether the file has a label for it."""
        if self.labels.ndim == 2:
            return self.labels.min(axis=1) >= 0
        absent: np.ndarray = np.isnan(self.labels) if self.labels.dtype.kind == "f" else self.labels == IGNORE
        return ~absent

    @property
    def labelled(self) -> bool:
        return bool(self.has_label.any())

    @cached_property
    def hashes(self) -> np.ndarray:
        """uint64 [N]: a hash of each example's texts."""
        return np.array([xxhash.xxh3_64_intdigest("\x1f".join(texts).encode()) for texts in self.texts], np.uint64)

    @cached_property
    def divided_by(self) -> tuple[str, np.ndarray]:
        """What stays together where a file is divided, in words, and a hash of it, uint64 [N].

        Of pairs and choices it is the first text: where each premise has one hypothesis of each label, as in KLUE NLI,
        whoever has learned that premise with two of them knows that the third one's label is another.
        """
        if self.tagging or not self.texts or len(self.texts[0]) < 2:
            return "text", self.hashes
        first = np.array([xxhash.xxh3_64_intdigest(texts[0].encode()) for texts in self.texts], np.uint64)
        _, counts = np.unique(first, return_counts=True)
        return ("first text", first) if counts.max() <= max(1, A_FEW * len(first)) else ("text", self.hashes)

    @property
    def known_by(self) -> tuple[str, np.ndarray]:
        """What two splits should not have in common, in words, and a hash of it, uint64 [N]."""
        return "text", self.hashes

    @cached_property
    def fingerprint(self) -> str:
        """Of the texts, their labels and the labels' names."""
        state = xxhash.xxh3_64(self.hashes.tobytes())
        state.update(np.ascontiguousarray(self.labels).tobytes())
        state.update("\x1f".join((*self.names, str(self.characters))).encode())
        return state.hexdigest()


@dataclass(frozen=True)
class Questions(Examples):
    """``texts[i]`` are a question and its context, which is as the file has it: official scores compare parts of it.

    ``labels`` int64 [N, 2]: the first character, in the context, of the answer that is learned, and the one behind its
    last; (-1, -1) where there is none, (IGNORE, IGNORE) where the file does not say, or not where.
    """

    ids: tuple[str, ...] = ()
    """Of the questions, as prediction files name them."""
    answers: tuple[tuple[str, ...], ...] = ()
    """Every answer that annotators gave, as the file has it; () where they found none, or it does not say."""
    articles: tuple[str, ...] = ()
    """What each question is from: files are divided by article."""

    @cached_property
    def has_label(self) -> np.ndarray:
        """bool [N]: whether the file says what is to be learned of the question."""
        return self.labels[:, 0] != IGNORE

    @cached_property
    def hashes(self) -> np.ndarray:
        """uint64 [N]: a hash of each question's article."""
        return np.array([xxhash.xxh3_64_intdigest(_bytes(article)) for article in self.articles], np.uint64)

    @cached_property
    def divided_by(self) -> tuple[str, np.ndarray]:
        """The article; the paragraph, which is the context, where all questions are from one article."""
        if len(np.unique(self.hashes)) > 1:
            return "article", self.hashes
        hashes = [xxhash.xxh3_64_intdigest(_bytes(context)) for _, context in self.texts]
        return "paragraph", np.array(hashes, np.uint64)

    @property
    def known_by(self) -> tuple[str, np.ndarray]:
        return self.divided_by

    @cached_property
    def fingerprint(self) -> str:
        """Of ids, questions, contexts, articles, the answers that are learned and all others."""
        state = xxhash.xxh3_64(np.ascontiguousarray(self.labels).tobytes())
        for parts in (*zip(self.ids, self.articles, strict=True), *self.texts, *self.answers):
            state.update(_bytes("\x1e" + "\x1f".join(parts)))
        return state.hexdigest()


def _bytes(text: str) -> bytes:
    """Of text that may hold half a surrogate pair, as JSON can."""
    return text.encode("utf-8", "surrogatepass")
