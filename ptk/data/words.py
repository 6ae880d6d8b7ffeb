"""Where a text may be cut into words before it is normalised, without changing the ids of any tokenizer known here.

A model cuts each pre-token by itself, so the ids of a text are those of its words, end to end, if cutting the text into
these words changes nothing. That depends on every component. What is known, everything else being encoded whole, as
is any text of a tokenizer with added tokens that are not special:

  BertPreTokenizer after BertNormalizer, Lowercase, NFC, with WordPiece
      It drops blanks and takes each ASCII punctuation mark for a word. The normalisers change characters one by one,
      drop some, and compose a mark with what follows it (< and U+0338 are ≮, which is no punctuation), even across
      a dropped control character: so a mark is only cut off where a printable character or Hangul follows it.
      Nothing else can happen there: ASCII composes with nothing before it.
  ByteLevel without a normaliser, with BPE
      GPT-2's pattern has no alternative with a blank behind anything else, nor with punctuation behind a letter or
      digit, nor with either of these behind punctuation other than an apostrophe, and none looks back. It does look
      ahead in a run of blanks, which must stay whole, wide ones included. What a letter is depends on the version of
      Unicode, hence ASCII and Hangul syllables only.
  Metaspace that splits and always prepends, with Unigram, where blanks were taken together and stripped
      No piece goes over a blank. Of what Nmt drops or makes a blank, nothing looks at its neighbours.

Precompiled normalisers (T5's and ALBERT's files) look at graphemes, which may begin with a blank, and are not known.
Blanks that give no ids are words, too, so that no word is there once with a blank and once without.
"""

import string
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Cut = Callable[[np.ndarray], np.ndarray]
"""Kinds of the characters of a text, uint8 [N] -> where a word may begin, bool [N]; the first has nothing before it."""

# Kinds of characters, bits.
BLANK = 1  # ASCII: blank, tab, line feed, carriage return
SPACE = 2  # what Python takes for whitespace, BLANK too
MARK = 4  # ASCII punctuation
APOSTROPHE = 8
LETTER = 16  # an ASCII letter or digit, or a Hangul syllable
PLAIN = 32  # printable ASCII, BLANK, or a Hangul syllable
MORE = 6  # the two bits above: how many bytes of UTF-8 follow the first


@cache
def kinds() -> np.ndarray:
    """The kinds of every character of Unicode, uint8 [0x110000]."""
    table = np.zeros(0x110000, np.uint8)
    for least in (0x80, 0x800, 0x10000):
        table[least:] += 1 << MORE
    table[[code for code in range(0x3001) if chr(code).isspace()]] |= SPACE
    table[0xAC00:0xD7A4] |= LETTER | PLAIN
    table[0x20:0x7F] |= PLAIN
    ascii_kinds = {" \t\n\r": BLANK | PLAIN, string.punctuation: MARK, "'": APOSTROPHE}
    ascii_kinds |= {string.ascii_letters + string.digits: LETTER}
    for characters, kind in ascii_kinds.items():
        table[[ord(character) for character in characters]] |= kind
    table.flags.writeable = False
    return table


def at_blanks_and_marks(kinds: np.ndarray) -> np.ndarray:
    """For BertPreTokenizer."""
    blank, mark, plain = (_are(kinds, kind) for kind in (BLANK, MARK, PLAIN))
    apart = mark & np.append(plain[1:], True)  # marks that nothing behind them can compose with
    return (blank != _behind(blank)) | apart | (_behind(mark) & plain)


def at_blanks_and_letters(kinds: np.ndarray) -> np.ndarray:
    """For ByteLevel: before blanks, and between letters and marks."""
    letter, mark = _are(kinds, LETTER), _are(kinds, MARK)
    joins = _are(kinds, SPACE | APOSTROPHE)
    before_blanks = _are(kinds, BLANK) & _behind(~_are(kinds, SPACE))
    return before_blanks | (mark & _behind(letter)) | (letter & _behind(mark & ~joins))


def at_blanks(kinds: np.ndarray) -> np.ndarray:
    """For Metaspace."""
    blank = _are(kinds, BLANK)
    return blank != _behind(blank)


def _are(kinds: np.ndarray, kind: int) -> np.ndarray:
    return (kinds & np.uint8(kind)) != 0


def _behind(what: np.ndarray) -> np.ndarray:
    """Of each character, what is true of the one before it."""
    return np.append(True, what[:-1]) if len(what) else what


def cut_of(spec: dict[str, Any]) -> Cut | None:
    """What cuts texts into words for the tokenizer of these parts of a tokenizer.json; None: nothing is known to."""
    steps = _steps(spec["normalizer"])
    names = [step["type"] for step in steps]
    splitter, model = spec["pre_tokenizer"] or {}, spec["model"]
    if any(not token["special"] for token in spec["added_tokens"]) or spec["truncation"] or spec["padding"]:
        return None
    match model["type"], splitter.get("type"):
        case "WordPiece", "BertPreTokenizer":
            return at_blanks_and_marks if set(names) <= {"BertNormalizer", "Lowercase", "NFC"} else None
        case "BPE", "ByteLevel":
            plain = not splitter["add_prefix_space"] and splitter.get("use_regex") is True
            return at_blanks_and_letters if plain and not steps and not model["dropout"] else None
        case "Unigram", "Metaspace":
            always = splitter["prepend_scheme"] == "always" and splitter["split"] and splitter["replacement"] == "▁"
            return at_blanks if always and _blanks_are_one(steps) and set(model) == UNIGRAM else None
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
