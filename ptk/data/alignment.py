"""Clean text that remembers where it is from: which characters of the original each of its own stands for."""

import re
import unicodedata
from collections import Counter
from functools import cache

import numpy as np

from ptk.data.decoding import CONTROL, LINE_ENDS, normalise

_BLANKS_AT_LINE_END = re.compile(r"(?<![^\S\n])[^\S\n]+(?=\n|\Z)")
_BLANK = np.array([chr(code).isspace() for code in range(0x3002)])  # of every code up to the last blank, and one more


def clean(text: str) -> tuple[str, np.ndarray]:
    """The clean text, as ptk has all text (ptk/data/decoding.py), without blanks around it; and what it is from.

    The second is int32 [characters of the clean text, 2]: the first character of ``text`` that each stands for, and the
    one behind the last.
    """
    origins = places(text)
    if normalise(text, Counter()) != text:
        text, origins = _replaced(LINE_ENDS, "\n", text, origins)
        text, origins = _replaced(CONTROL, "", text, origins)
        text, origins = _replaced(_BLANKS_AT_LINE_END, "", text, origins)
        text, origins = composed(text, origins)
    first = len(text) - len(text.lstrip())
    return text.strip(), origins[first : first + len(text.strip())]


def places(text: str) -> np.ndarray:
    """int32 [characters, 2]: of each character its own place, and the next."""
    every = np.arange(len(text) + 1, dtype=np.int32)
    return np.stack([every[:-1], every[1:]], axis=1)


def _replaced(pattern: re.Pattern[str], by: str, text: str, origins: np.ndarray) -> tuple[str, np.ndarray]:
    """Each match becomes ``by``, which is one character or none and then stands for all that it replaces."""
    kept, origins = np.ones(len(text), bool), origins.copy()
    for match in pattern.finditer(text):
        kept[match.start() + len(by) : match.end()] = False
        origins[match.start(), 1] = origins[match.end() - 1, 1]
    return pattern.sub(by, text), origins[kept]


def composed(text: str, origins: np.ndarray) -> tuple[str, np.ndarray]:
    """NFC; what is composed of several characters stands for all of them.

    The library's own NFC would lose that: there it stands for the first of them only.
    """
    if unicodedata.is_normalized("NFC", text):
        return text, origins
    letters = set(text)
    joining = "".join(map(re.escape, filter(joins, letters)))
    alone = "".join(re.escape(letter) for letter in letters if unicodedata.normalize("NFC", letter) != letter)
    either = [f".?[{joining}]+" if joining else "", f"[{alone}]" if alone else ""]
    texts: list[str] = []
    parts: list[np.ndarray] = []
    done = 0
    for match in re.finditer("|".join(filter(None, either)), text, re.DOTALL):
        whole = unicodedata.normalize("NFC", match[0])
        of_match = origins[match.start() : match.end()]
        if whole != match[0]:
            of_match = np.tile([of_match[0, 0], of_match[-1, 1]], (len(whole), 1))
        texts += [text[done : match.start()], whole]
        parts += [origins[done : match.start()], of_match]
        done = match.end()
    return "".join([*texts, text[done:]]), np.concatenate([*parts, origins[done:]]).astype(np.int32)


@cache
def joins(letter: str) -> bool:
    """Whether a character may belong to the one before it: marks, and the vowels and final consonants of Hangul."""
    return unicodedata.category(letter)[0] == "M" or "\u1161" <= letter <= "\u1175" or "\u11a8" <= letter <= "\u11c2"


def in_original(text: str, origins: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """int32 [T, 2]: of each token, where in the original text that begins with it begins, and where what ends with it
    ends, neither on a blank.

    ``text`` and ``origins`` as ``clean`` gives them, ``offsets`` [T, 2] those of the tokens in the clean text. Marks
    that no token covers (accents that a model does not read) belong to the token before them. Of a token of nothing
    but blanks the end is before the beginning.
    """
    if not len(text):
        return np.zeros((len(offsets), 2), np.int32)
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    starts, stops = offsets.T
    marks = [] if text.isascii() else [ord(letter) for letter in set(text) if joins(letter)]
    if marks:
        stops = _next(~(np.isin(codes, marks) & ~_covered(offsets, len(codes))))[stops]
    blank = _BLANK[np.minimum(codes, len(_BLANK) - 1)]
    if blank[np.minimum(starts, len(codes) - 1)].any() or blank[stops - 1].any():
        starts = _next(~blank)[starts]
        stops = len(codes) - _next(~blank[::-1])[len(codes) - stops]
    begins, ends = np.append(origins[:, 0], origins[-1, 1]), np.append(origins[0, 0], origins[:, 1])
    return np.stack([begins[starts], ends[stops]], axis=1)


def _covered(offsets: np.ndarray, size: int) -> np.ndarray:
    """bool [size]: which characters are part of some token."""
    changes = np.bincount(offsets[:, 0], minlength=size + 1) - np.bincount(offsets[:, 1], minlength=size + 1)
    return np.cumsum(changes)[:size] > 0


def _next(wanted: np.ndarray) -> np.ndarray:
    """int [N + 1]: of each place, the first one from there on that is wanted; N where there is none."""
    places = np.where(np.append(wanted, True), np.arange(len(wanted) + 1), len(wanted))
    return np.minimum.accumulate(places[::-1])[::-1]
