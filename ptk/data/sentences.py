"""Text to sentences. A partition: the pieces joined are the input, so nothing is lost to a model of bytes.

Boundaries inside a paragraph are those of ``sentencex`` (Wikimedia's, some 300 languages; 80 MB/s on one
core, where pysbd, which knows no Korean, makes 0.2), with two repairs of ours: a quotation that goes on without
a blank (Korean "간다."라고 말했다) and the number of a list are no end; whitespace leads the sentence after it.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from sentencex import segment  # pyright: ignore[reportAttributeAccessIssue]  (compiled, without stubs)

Lines = Literal["wrapped", "paragraphs", "sentences"]
"""What the end of a line is: a blank, the end of a paragraph, or the end of a sentence."""

LONGEST_PARAGRAPH = 1_000_000  # characters; what is longer is cut at a whitespace, for bounded memory (D6)
_WINDOW = 4096  # characters given to sentencex at once: some of its rules look back to the start
_CUT_SEARCH = 10_000  # characters looked through for a whitespace to cut at

_BLANK_LINES = re.compile(r"\n{2,}")
_NEWLINES = re.compile(r"\n+")
_HANGUL = re.compile(r"[\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f]")
_WIDE_BLANK = re.compile(r"[^\S\x00-\x7f]")
_CLOSING = "\"'”’」』》)]）"
_LIST_NUMBER = re.compile(r"\s*\(?\d{1,3}[.)]")


class Document(NamedTuple):
    text: str
    sentences: tuple[str, ...]


def document(text: str, lines: Lines) -> Document:
    """``text`` without blanks around it, and its sentences; ``"".join(sentences) == text``."""
    text = text.strip()
    return Document(text, tuple(_sentences(text, lines)))


def split(paragraph: str) -> list[str]:
    """Sentences of one paragraph; joined they are the paragraph. Whitespace leads the sentence after it."""
    language = "ko" if _is_korean(paragraph) else "en"
    return _lead_with_whitespace(_segment(paragraph, language))


def cut_at_whitespace(text: str, size: int) -> Iterator[str]:
    """Pieces of at most ``size`` characters, cut before a whitespace where one is near."""
    start = 0
    while len(text) - start > size:
        stop = start + size
        near = max(start + 1, stop - _CUT_SEARCH)
        cut = next((i for i in range(stop, near, -1) if text[i].isspace()), stop)
        yield text[start:cut]
        start = cut
    yield text[start:]


def _sentences(text: str, lines: Lines) -> Iterator[str]:
    ends = _BLANK_LINES if lines == "wrapped" else _NEWLINES
    bounds = [0, *(match.start() for match in ends.finditer(text)), len(text)]
    for start, stop in pairwise(bounds):
        for piece in cut_at_whitespace(text[start:stop], LONGEST_PARAGRAPH):
            if piece and lines == "sentences":
                yield piece
            elif piece:
                yield from split(piece)


def _is_korean(text: str) -> bool:
    """More than a fifth of the characters at the start are Hangul."""
    start = text[:1000]
    return not start.isascii() and 5 * len(_HANGUL.findall(start)) > len(start)


def _segment(text: str, language: str) -> list[str]:
    """sentencex, window by window: the last sentence of a window is cut again with what follows it."""
    found: list[str] = []
    unfinished, start = "", 0
    while start < len(text):
        window = text[start : start + _WINDOW]
        pieces = _segment_window(window, language)
        start += len(window)
        if start < len(text):
            last = pieces.pop()
            if not pieces:  # no end in the whole window: a very long sentence
                unfinished += last
                continue
            start -= len(last)
        found.append(unfinished + pieces[0])
        found.extend(pieces[1:])
        unfinished = ""
    return [*found, unfinished] if unfinished else found


def _segment_window(window: str, language: str) -> list[str]:
    if window.isascii():
        return list(segment(language, window))
    # sentencex 1.0 stops with an error on a wide blank before a full stop, so it sees plain blanks.
    pieces, start = [], 0
    for piece in segment(language, _WIDE_BLANK.sub(" ", window)):
        pieces.append(window[start : start + len(piece)])
        start += len(piece)
    return pieces


def _lead_with_whitespace(pieces: list[str]) -> list[str]:
    sentences: list[str] = []
    blank = ""
    for piece in pieces:
        body = piece.rstrip()
        if not body:
            blank += piece
            continue
        if sentences and _goes_on(sentences[-1], blank + body):
            sentences[-1] += blank + body
        else:
            sentences.append(blank + body)
        blank = piece[len(body) :]
    if not sentences:
        return [blank] if blank else []
    sentences[-1] += blank
    return sentences


def _goes_on(sentence: str, following: str) -> bool:
    """A quotation without a blank after it, and a list number, are not the end of a sentence."""
    return (sentence[-1] in _CLOSING and not following[0].isspace()) or bool(_LIST_NUMBER.fullmatch(sentence))
