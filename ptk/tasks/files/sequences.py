"""Tagged files to words and tags: CoNLL's columns, CoNLL-U, KLUE-NER's characters, and rows that hold lists.

* Columns: a word a line, 2 to 5 columns between tabs or blanks, a blank line after each sentence; ``-DOCSTART-``
  ends one and is none itself. The tag is the last column unless the task or the recipe says otherwise.
* CoNLL-U: ten columns; the lines of ranges (``8-9``) and of empty nodes (``8.1``) are no words.
* Characters: a character a line, a blank one too; lines that begin with ``## `` are comments. Blanks get no label:
  KLUE's scorer leaves them out.

Tags of entities become IOB2 (TAG-3): each begins with B-. In IO files it begins with I-, in IOB1 files too unless the
one right before it is of the same type.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ptk.errors import DataError
from ptk.tasks.files.faults import Faults
from ptk.tasks.files.raw import Raw, text_value
from ptk.tasks.files.tables import Table, clean, decoded, open_table
from ptk.tasks.task import Column, Columns, Format, Task

DOCSTART = "-DOCSTART-"
BEGUN_WRONGLY = 0.05
"""Share of the entities of a BIO file that may begin with I- before the file is refused (D13)."""
CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_GAP = re.compile(r"[ \t]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")


class Line(NamedTuple):
    number: int
    cells: list[str]


def read(task: Task, path: Path, form: Format | None, encoding: str | None, needs_labels: bool) -> Raw:
    """The sentences of one file. Raises DataError for ragged rows and for tags that are none, by line."""
    if form in ("csv", "jsonl", "json", "parquet"):
        table = open_table(path, form, encoding, lambda _: True)
        return of_lists(task, task.columns, table, needs_labels)
    return _finished(task, _of_lines(task, path, form or "columns", encoding, needs_labels))


def _finished(task: Task, raw: Raw) -> Raw:
    """Without labels of blank characters; tags of entities checked, and in IOB2."""
    if raw.values is None:
        return raw
    if raw.characters:
        raw.values = ["" if blank else value for value, blank in zip(raw.values, _blanks(raw), strict=True)]
    if task.entities:
        _check_tags(raw)
        to_iob2(raw)
    return raw


def _of_lines(task: Task, path: Path, form: Format, encoding: str | None, needs_labels: bool) -> Raw:
    text = decoded(str(path), encoding)
    faults = Faults()
    sentences = [s for s in _sentences(str(path), text, form, faults) if s]
    faults.check()
    width = len(sentences[0][0].cells) if sentences else 0
    word = _number(task.columns.text[0], form, path, width)
    if width == 1 and needs_labels:
        raise DataError(f"{path}: one column only, so words without tags; give a tag behind each word")
    tag = _number(task.columns.label if task.columns.label is not None and width > 1 else -1, form, path, width)
    raw = Raw(str(path), characters=form == "characters")
    values: list[str] = []
    make = _character if raw.characters else clean
    for sentence in sentences:
        raw.texts.append(tuple(make(line.cells[word]) for line in sentence))
        raw.lines += [line.number for line in sentence]
        values += [line.cells[tag].strip() for line in sentence]
    raw.values = values if width > 1 else None
    return raw


def _blanks(raw: Raw) -> Iterator[bool]:
    return (not character.strip() for characters in raw.texts for character in characters)


def _character(cell: str) -> str:
    """A character by itself, NFC; a blank stays one, a control character is empty."""
    return unicodedata.normalize("NFC", _CONTROL.sub("", cell))


def _number(column: Column, form: Format, path: Path, width: int) -> int:
    """The number of a column; those of CoNLL-U have names."""
    if isinstance(column, str):
        if form != "conllu" or column.upper() not in CONLLU:
            there = ", ".join(CONLLU) if form == "conllu" else f"0 to {width - 1}"
            raise DataError(f"{path}: no column `{column}`; give one of {there}")
        return CONLLU.index(column.upper())
    number = column + width if column < 0 else column
    if width and not 0 <= number < width:
        raise DataError(f"{path}: no column {column}; found {width} columns; give one of 0 to {width - 1}")
    return number


def _sentences(path: str, text: str, form: Format, faults: Faults) -> Iterator[list[Line]]:
    """The sentences, each a list of its lines; ragged rows are faults."""
    lines = _conllu_lines if form == "conllu" else _character_lines if form == "characters" else _column_lines
    sentence: list[Line] = []
    width = None
    for line in lines(text):
        if not line.cells:
            yield sentence
            sentence = []
            continue
        width = width or len(line.cells)
        if len(line.cells) != width:
            said = f"{len(line.cells)} columns instead of {width}; give each word all of its columns"
            faults.add(f"{path}:{line.number}", said)
            continue
        sentence.append(line)
    yield sentence


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), start=1))


def _column_lines(text: str) -> Iterator[Line]:
    """A line without cells ends a sentence. Where there is a tab in the first word's line, tabs separate."""
    tabs: bool | None = None
    for number, line in _numbered(text):
        if not line.strip() or line.startswith(DOCSTART):
            yield Line(number, [])
            continue
        if tabs is None:
            tabs = "\t" in line
        yield Line(number, line.rstrip("\t ").split("\t") if tabs else _GAP.split(line.strip(" \t")))


def _conllu_lines(text: str) -> Iterator[Line]:
    for number, line in _numbered(text):
        if not line.strip():
            yield Line(number, [])
        elif not line.startswith("#"):
            cells = line.split("\t")
            if cells[0].isdigit() or len(cells) != len(CONLLU):
                yield Line(number, cells)


def _character_lines(text: str) -> Iterator[Line]:
    for number, line in _numbered(text):
        if not line:
            yield Line(number, [])
        elif not line.startswith("## "):
            yield Line(number, line.split("\t"))


def of_lists(task: Task, columns: Columns, table: Table, needs_labels: bool) -> Raw:
    """Rows that hold a list of words and one of as many tags."""
    word, label = columns.text[0], columns.label if columns.label is not None else "tags"
    words = table.pick(word, "task.text")
    tags = table.pick(label, "task.label") if needs_labels or table.has(label) else None
    raw = Raw(table.path, characters=task.format == "characters")
    make = _character if raw.characters else text_value
    values: list[str] = []
    for number, row in table.rows:
        found, given = words(row), tags(row) if tags else None
        if not isinstance(found, list) or (tags and not isinstance(given, list)):
            said = f"`{word}` and `{label}` are not lists; give a list of words and one of tags"
            table.faults.add(f"{table.path}:{number}", said)
        elif given is not None and len(given) != len(found):
            said = f"{len(given)} tags of {len(found)} words; give each word a tag"
            table.faults.add(f"{table.path}:{number}", said)
        elif found:
            raw.texts.append(tuple(make(word) for word in found))
            raw.lines += [number] * len(found)
            values += [text_value(tag) for tag in given or ()]
    table.faults.check()
    raw.values = values if tags else None
    return _finished(task, raw)


def _check_tags(raw: Raw) -> None:
    """Raises DataError for tags that are none of O, B-X and I-X."""
    faults = Faults()
    for value, line in zip(raw.values or (), raw.lines, strict=True):
        if value != "O" and not (value[:2] in ("B-", "I-") and len(value) > 2) and value not in ("", "_"):
            faults.add(f"{raw.path}:{line}", f"tag `{value[:40]}` is not O, B-TYPE or I-TYPE; correct it")
    faults.check()


def to_iob2(raw: Raw) -> None:
    """Let every entity of an IO or IOB1 file begin with B-; how many changed is noted.

    In a BIO file an entity that begins with I- stays as it is, as the official scorers take it, and is noted. Raises
    DataError where there are many.
    """
    begun, bio, entities = _begun_with_i(raw)
    if begun and bio:
        first = f"{raw.path}:{raw.lines[begun[0]]}"
        if len(begun) > BEGUN_WRONGLY * entities:
            raise DataError(
                f"{first}: tag `{raw.values[begun[0]]}` begins an entity, and so do I- tags for {len(begun):,} of "  # type: ignore[index]
                f"{entities:,} entities, the others begin with B-; write all of them in one way"
            )
        raw.notes[f"entities begin with I- in a file of B- and I-, first in line {raw.lines[begun[0]]}"] += len(begun)
    elif begun:
        for number in begun:
            raw.values[number] = f"B-{raw.values[number][2:]}"  # type: ignore[index]
        raw.notes["entities began with I- (IO or IOB1), now with B- (IOB2)"] += len(begun)


def _begun_with_i(raw: Raw) -> tuple[list[int], bool, int]:
    """(words whose I- begins an entity, whether some entity begins with B- without need, how many entities)."""
    begun: list[int] = []
    with_b = needed = position = 0
    for texts in raw.texts:
        before = "O"
        for number, tag in enumerate((raw.values or [])[position : position + len(texts)], start=position):
            if not tag:  # a blank character: what is around it stays one entity
                continue
            follows = before != "O" and tag[2:] == before[2:]
            if tag[0] == "B":
                with_b += 1
                needed += follows
            elif tag[0] == "I" and not follows:
                begun.append(number)
            before = tag
        position += len(texts)
    return begun, with_b > needed, len(begun) + with_b
