"""How the text of a source lies in its files: guessed from samples where the recipe does not say, and said."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from ptk.data.sentences import Lines, split
from ptk.errors import DataError

Documents = Literal["blank_line", "file", "line"]

COLUMNS = ("text", "content", "document", "body", "sentence")
_FINAL = re.compile(r"[.!?…。！？][\"'”’»」』）)\]]*$")
_SAID = {
    "wrapped": "wrapped lines, a blank line ends a paragraph",
    "paragraphs": "a line is a paragraph",
    "sentences": "a line is a sentence",
}
_DOCUMENTS_SAID = {
    "blank_line": "a blank line ends a document",
    "file": "a file is a document",
    "line": "a line is a document",
}


@dataclass(frozen=True)
class Layout:
    documents: Documents = "file"
    lines: Lines = "wrapped"
    column: str = ""
    """Of tables: where the text is."""

    def __str__(self) -> str:
        return f"{_DOCUMENTS_SAID[self.documents]}, {_SAID[self.lines]}"


def guess_layout(samples: Sequence[str], split_documents: str) -> Layout:
    """The layout of plain text; ``split_documents`` other than ``auto`` is obeyed.

    samples: starts of files, normalised. One sentence a line with a blank line between documents is BERT's
    format: blocks of several lines, nearly all of which end as sentences do and hold no second one. Anything
    else is one document a file, be it a speech among many or a single long book.
    """
    lines = guess_lines(samples)
    if split_documents == "line":
        return Layout("line", "paragraphs")
    if split_documents == "blank_line" or (split_documents == "auto" and lines == "sentences"):
        return Layout("blank_line", lines)
    return Layout("file", lines)


def guess_lines(samples: Sequence[str]) -> Lines:
    """What the end of a line is, by how lines end and how long those are that others follow."""
    blocks = [block.split("\n") for text in samples for block in re.split(r"\n{2,}", text.strip("\n"))]
    lines = [line for block in blocks for line in block]
    followed = [line for block in blocks for line in block[:-1]]
    if not followed:
        return "wrapped"
    if len(lines) >= 2 * len(blocks) and _share_final(lines) >= 0.8 and _sentences_a_line(lines) <= 1.5:
        return "sentences"
    long = fmean(len(line) for line in followed) > 100
    return "paragraphs" if long or _share_final(followed) >= 0.6 else "wrapped"


def _share_final(lines: Sequence[str]) -> float:
    return fmean(bool(_FINAL.search(line)) for line in lines)


def _sentences_a_line(lines: Sequence[str]) -> float:
    return fmean(len(split(line)) for line in lines[:1000])


def guess_column(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """``text`` or another of COLUMNS, else the column with the longest text on average."""
    texts: dict[str, list[int]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str):
                texts.setdefault(name, []).append(len(value))
    named = (name for wanted in COLUMNS for name in texts if name.lower() == wanted)
    return next(named, None) or max(texts, key=lambda name: fmean(texts[name]), default=None)


def no_column(place: str, wanted: str | None, rows: Sequence[Mapping[str, Any]]) -> DataError:
    """D10: ``no column `text`; found: body, id. Did you mean `body`? (`corpus.text=body`)``."""
    found = list(dict.fromkeys(name for row in rows for name in row))
    near = difflib.get_close_matches(wanted, found, n=1)[:1] if wanted else []
    meant = near[0] if near else guess_column(rows)
    hint = f". Did you mean `{meant}`? (`corpus.text={meant}`)" if meant else ""
    missing = f"no column `{wanted}`" if wanted else "no column of text"
    return DataError(f"{place}: {missing}; found: {', '.join(sorted(found)) or 'nothing'}{hint}")
