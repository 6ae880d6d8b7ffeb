"""Ids of words seen before, remembered, so that the `tokenizers` library sees every word once and not every time.

Where texts may be cut into words: ptk/data/words.py. No word is a string of Python's but the first of its kind in a
batch: the texts are one array of characters, words are stretches of it, and Arrow finds out which are equal.
"""

from collections.abc import Sequence

import numpy as np
import tokenizers
from tokenizers import AddedToken

from ptk.data.words import MORE, Cut, kinds

ROOM = 64 << 20  # bytes that the words may take, about; then they are forgotten, and the common ones soon back
ENTRY = 200  # bytes that a word takes beside its characters and ids
NEW = 0.5  # share of the words of a batch that may be new: with more, the library is faster on the texts as they are
FIRST = 20_000  # words that are learned whatever their share: every text begins with new ones
PAUSE = 16  # batches that it then gets without looking
TOGETHER = 100  # new words that the library gets as one text, with MARK between
MARK = "\ufffe"  # no character of Unicode


class WordCache:
    """Encodes texts word by word, each word by the library once. Takes ``ROOM`` bytes at most, and a batch."""

    def __init__(self, spec: str, cut: Cut) -> None:
        self.cut = cut
        self.library = tokenizers.Tokenizer.from_str(spec)
        self.library.encode_special_tokens = True
        self.library.add_tokens([AddedToken(MARK, normalized=False)])
        self.mark = self.library.token_to_id(MARK)
        self.ids: dict[str, bytes] = {}  # of a word, uint32
        self.room = ROOM
        self.pause = 0

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """Ids of all texts end to end, uint32 [N], and how many are of each, int64; None: better encoded whole."""
        if self.pause:
            self.pause -= 1
            return None
        joined = "".join(texts)
        if MARK in joined:
            return None
        bounds = np.append(0, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts))))
        starts, words, which = words_in(joined, bounds, self.cut)
        known = [*map(self.ids.get, words)]
        if len(self.ids) >= FIRST and known.count(None) > NEW * len(which):
            self.pause = PAUSE
            return None
        if self.room < 0:
            self.ids, self.room, known = {}, ROOM, [None] * len(words)
        learned = iter(self.learn([word for word, ids in zip(words, known, strict=True) if ids is None]))
        parts = [next(learned) if ids is None else ids for ids in known]
        ids, counts = put_together(parts, which)
        before = np.append(0, np.cumsum(counts))  # ids before each word
        return ids, np.diff(before[np.searchsorted(starts, bounds)])

    def learn(self, new: Sequence[str]) -> list[bytes]:
        """Ask the library for the ids of new words, many at a time: a call costs more than a word."""
        groups = [new[start : start + TOGETHER] for start in range(0, len(new), TOGETHER)]
        encodings = self.library.encode_batch_fast([MARK.join(group) for group in groups], add_special_tokens=False)
        learned: list[bytes] = []
        for encoding in encodings:
            ids = np.array(encoding.ids, np.uint32)
            marks = np.flatnonzero(ids == self.mark)
            starts, stops = np.append(0, marks + 1) * 4, np.append(marks, len(ids)) * 4
            packed = ids.tobytes()
            learned += [packed[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
            self.room -= len(packed)
        self.ids.update(zip(new, learned, strict=True))
        self.room -= ENTRY * len(new) + 4 * sum(map(len, new))
        return learned


def words_in(joined: str, bounds: np.ndarray, cut: Cut) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The words of texts end to end, text i from character ``bounds[i]`` to ``bounds[i + 1]``.

    Returns where they begin, int64 [W], the different ones, and which of these each one is, int32 [W].
    """
    import pyarrow  # here: it takes a while, and only stores need it

    found = kinds()[np.frombuffer(joined.encode("utf-32-le"), np.uint32)]
    begins = cut(found)
    begins[bounds[bounds < len(begins)]] = True
    starts = np.flatnonzero(begins)
    encoded = joined.encode()
    offsets = np.append(starts, len(joined))
    if len(encoded) > len(joined):  # characters of more than one byte
        offsets = np.append(0, np.cumsum((found >> MORE) + 1, dtype=np.int64))[offsets]
    buffers = pyarrow.py_buffer(offsets), pyarrow.py_buffer(encoded)
    words = pyarrow.LargeStringArray.from_buffers(len(starts), *buffers).dictionary_encode()
    which = np.frombuffer(words.indices.buffers()[1], np.int32, len(words))  # to_numpy() would import pandas
    return starts, words.dictionary.to_pylist(), which


def put_together(parts: Sequence[bytes], which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids (uint32) of ``parts[i]`` for each i of ``which``, end to end, and how many are of each, int64."""
    ids = np.frombuffer(b"".join(parts), np.uint32)
    sizes = np.fromiter(map(len, parts), np.int64, len(parts)) // ids.itemsize
    counts = sizes[which]
    skipped = (np.cumsum(sizes) - sizes)[which] - (np.cumsum(counts) - counts)  # from a place in the result to its id
    return ids[np.repeat(skipped, counts) + np.arange(counts.sum())], counts
