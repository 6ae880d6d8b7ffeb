"""Ids of words seen before, remembered, so that the `tokenizers` library sees every word once and not every time.

A model cuts each pre-token by itself, so the ids of a text are those of its words, end to end, if cutting the text
into these words before it is normalised changes nothing. That depends on every component. What is known, everything
else being encoded whole, as is any text of a tokenizer with added tokens that are not special:

  BertPreTokenizer after BertNormalizer, Lowercase, NFC, with WordPiece
      It drops blanks and takes each ASCII punctuation mark for a word. The normalisers change characters one by one,
      drop some, and compose a mark with what follows it (< and U+0338 are ≮, which is no punctuation), even across
      a dropped control character: so a mark is only cut off where a printable character or Hangul follows it.
      Nothing else can happen there: ASCII composes with nothing before it.
  ByteLevel without a normaliser, with BPE
      GPT-2's pattern has no alternative with a blank behind anything else, nor with punctuation behind a letter or
      digit, and none looks back. It does look ahead in a run of blanks, which must stay whole, wide ones included.
      What a letter is depends on the version of Unicode, hence ASCII and Hangul syllables only.
  Metaspace that splits and always prepends, with Unigram, where blanks were taken together and stripped
      No piece goes over a blank. Of what Nmt drops or makes a blank, nothing looks at its neighbours.

Precompiled normalisers (T5's and ALBERT's files) look at graphemes, which may begin with a blank, and are not known.
"""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken

PUNCTUATION = r"!-/:-@\[-`{-~"
WORD = rf"[^ \t\n\r{PUNCTUATION}]+"
JOINED = rf"[{PUNCTUATION}](?=[^ -~\t\n\r가-힣]){WORD}"  # a mark that what follows may compose with
WORDS_AND_MARKS = re.compile(rf"(?:{WORD}|{JOINED})(?:{JOINED})*|[{PUNCTUATION}]")
WORDS_WITH_BLANKS = re.compile(
    rf"\s*+[0-9A-Za-z가-힣]++(?=[ \t\n\r{PUNCTUATION}]|\Z)|\s*\S+(?:[^\S \t\n\r]\s*\S*)*|\s+"
)
BETWEEN_BLANKS = re.compile(r"[^ \t\n\r]+")

ROOM = 64 << 20  # bytes that the words may take, about; then they are forgotten, and the common ones soon back
ENTRY = 200  # bytes that a word takes beside its characters and ids
NEW = 0.5  # share of the words of a batch that may be new: with more, the library is faster on the texts as they are
FIRST = 20_000  # words that are learned whatever their share: every text begins with new ones
PAUSE = 16  # batches that it then gets without looking
TOGETHER = 100  # new words that the library gets as one text, with MARK between
MARK = "\ufffe"  # no character of Unicode


def words_of(spec: dict[str, Any]) -> re.Pattern[str] | None:
    """What finds the words of a text that have ids of their own, for the parts of a tokenizer.json; None: nothing."""
    steps = _steps(spec["normalizer"])
    names = [step["type"] for step in steps]
    splitter, model = spec["pre_tokenizer"] or {}, spec["model"]
    if any(not token["special"] for token in spec["added_tokens"]) or spec["truncation"] or spec["padding"]:
        return None
    match model["type"], splitter.get("type"):
        case "WordPiece", "BertPreTokenizer":
            return WORDS_AND_MARKS if set(names) <= {"BertNormalizer", "Lowercase", "NFC"} else None
        case "BPE", "ByteLevel":
            plain = not splitter["add_prefix_space"] and splitter.get("use_regex") is True
            return WORDS_WITH_BLANKS if plain and not steps and not model["dropout"] else None
        case "Unigram", "Metaspace":
            always = splitter["prepend_scheme"] == "always" and splitter["split"] and splitter["replacement"] == "▁"
            return BETWEEN_BLANKS if always and _blanks_are_one(steps) and set(model) == UNIGRAM else None
    return None


UNIGRAM = {"type", "unk_id", "vocab", "byte_fallback"}
ONE_BLANK = [
    {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
    {"type": "Strip", "strip_left": True, "strip_right": True},
]
NO_NUL = {"type": "Replace", "pattern": {"String": "\0"}, "content": ""}


def _blanks_are_one(steps: list[dict[str, Any]]) -> bool:
    """Whether runs of blanks are one in the end, none is left outside, and what comes before is known."""
    by_character = all(s["type"] in ("Nmt", "Lowercase", "BertNormalizer", "NFC") or s == NO_NUL for s in steps[:-2])
    # Nmt makes a blank of the mark that stands for blanks where a text has one.
    return by_character and {"type": "Nmt"} in steps and steps[-2:] == ONE_BLANK


def _steps(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The normaliser's parts in their order."""
    if normalizer is None:
        return []
    if normalizer["type"] == "Sequence":
        return [step for part in normalizer["normalizers"] for step in _steps(part)]
    return [normalizer]


class WordCache:
    """Encodes texts word by word, each word by the library once. Takes ``ROOM`` bytes at most, and a batch."""

    def __init__(self, spec: str, words: re.Pattern[str]) -> None:
        self.find = words.findall
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
        found = [self.find(text) for text in texts]
        new = set(chain.from_iterable(found)).difference(self.ids)
        if len(self.ids) >= FIRST and len(new) > NEW * sum(map(len, found)):
            self.pause = PAUSE
            return None
        if any(MARK in word for word in new):
            return None
        if self.room < 0:
            self.ids, self.room = {}, ROOM
            new = set(chain.from_iterable(found))
        self.learn(list(new))
        parts = [b"".join(map(self.ids.__getitem__, words)) for words in found]
        lengths = np.fromiter(map(len, parts), np.int64, len(parts)) // 4
        return np.frombuffer(bytearray().join(parts), np.uint32), lengths

    def learn(self, new: list[str]) -> None:
        """Ask the library for the ids of new words, many at a time: a call costs more than a word."""
        groups = [new[start : start + TOGETHER] for start in range(0, len(new), TOGETHER)]
        encodings = self.library.encode_batch_fast([MARK.join(group) for group in groups], add_special_tokens=False)
        for group, encoding in zip(groups, encodings, strict=True):
            ids = np.array(encoding.ids, np.uint32)
            marks = np.flatnonzero(ids == self.mark)
            starts, stops = np.append(0, marks + 1) * 4, np.append(marks, len(ids)) * 4
            packed = ids.tobytes()
            each = [packed[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
            self.ids.update(zip(group, each, strict=True))
            self.room -= ENTRY * len(group) + 4 * sum(map(len, group)) + len(packed)
