"""The SQuAD format: articles of paragraphs, each a context with questions; and the same as rows, as the hub has it.

    {"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [
        {"id": ..., "question": ..., "answers": [{"text": ..., "answer_start": ...}], "is_impossible": ...}]}]}]}

``title``, ``version``, ``is_impossible`` and, in a file without answers, ``answers`` may be left out; keys in any order
and others beside them are fine. A question is without an answer where ``is_impossible`` is true, whatever answers are
given there. An empty list of answers says so only in rows, which have no such key; in a file where no question has an
answer it says that the file has none.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from ptk.errors import DataError
from ptk.tasks.files import finding, placing
from ptk.tasks.files.faults import Faults
from ptk.tasks.files.raw import RawQuestions
from ptk.tasks.files.tables import clean, decoded, format_of, open_table

KEYS = ("context", "question", "answers")  # of a row
TYPES = {str: "text", list: "a list", dict: "an object", bool: "true or false", int: "a whole number"}


class Asked(NamedTuple):
    place: str
    """Said of the question where it has no id."""
    path: str
    article: str
    context: str
    question: Any
    """As it stands in the file."""


def read(path: Path, encoding: str | None, unanswerable: bool) -> RawQuestions:
    """The questions of a file, or of all that a pattern such as ``parts/*.json`` has, as one split.

    ``unanswerable``: whether there may be questions without an answer. Raises DataError for every fault, the first few
    of them named by question, and for a file that most likely belongs to other contexts.
    """
    faults = Faults()
    paths = finding.several(path) or [path]
    asked = (one for file in paths for one in _of_file(file, encoding, unanswerable, faults))
    raw = collected(str(path), asked, unanswerable, faults)
    raw.notes["files read as one split"] = len(paths) if len(paths) > 1 else 0
    return raw


def is_squad(text: str) -> bool:
    """Whether a JSON text is of articles of paragraphs, by its first keys of that kind."""
    return all(f'"{key}"' in text for key in ("paragraphs", "qas", "context"))


def are_rows(names: Iterable[str], sample: Iterable[Mapping[str, Any]]) -> bool:
    """Whether objects with these keys are questions as the hub has them."""
    return set(KEYS) <= set(names) and all(isinstance(row.get("answers"), dict | list) for row in sample)


def _of_file(path: Path, encoding: str | None, unanswerable: bool, faults: Faults) -> Iterator[Asked]:
    form = format_of(path, "squad")
    if form in ("jsonl", "parquet", "csv"):
        table = open_table(path, form, encoding, lambda _: True)
        yield from of_rows(str(path), table.rows, unanswerable, faults)
        return
    found = parsed(path, encoding)
    data = found.get("data") if isinstance(found, dict) else found
    if not isinstance(data, list):
        there = f"keys {', '.join(map(str, found))}" if isinstance(found, dict) else _shown(found)
        raise DataError(f'{path}: no list of articles; the SQuAD format is {{"data": [articles]}}; found {there}')
    if data and isinstance(data[0], dict) and "paragraphs" not in data[0] and set(KEYS) <= data[0].keys():
        yield from of_rows(str(path), enumerate(data, start=1), unanswerable, faults)
        return
    for number, article in enumerate(data, start=1):
        yield from _of_article(str(path), number, article, faults)


def parsed(path: Path, encoding: str | None) -> Any:
    """Raises DataError for what is no JSON, with line and column."""
    try:
        return json.loads(decoded(str(path), encoding))
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise DataError(f"{place}: not JSON: {error.msg}; the file is damaged or cut short, fetch it again") from error
    except RecursionError as error:
        raise DataError(f"{path}: nested too deep for JSON in the SQuAD format; fetch the file again") from error


def _of_article(path: str, number: int, article: Any, faults: Faults) -> Iterator[Asked]:
    place = f"article {number}"
    try:
        paragraphs = value(article, "paragraphs", list)
    except ValueError as error:
        faults.add(f"{path}: {place}", str(error))
        return
    title = article.get("title")
    called = title if isinstance(title, str) and title.strip() else _called(paragraphs)
    for number, paragraph in enumerate(paragraphs, start=1):
        within = f"{place}, paragraph {number}"
        try:
            context, questions = value(paragraph, "context", str), value(paragraph, "qas", list)
        except ValueError as error:
            faults.add(f"{path}: {within}", str(error))
            continue
        for number, question in enumerate(questions, start=1):
            yield Asked(f"{within}, question {number}", path, called, context, question)


def _called(paragraphs: list[Any]) -> str:
    """What stands for the title of an article that has none: a hash of its contexts."""
    contexts = [str(paragraph.get("context")) for paragraph in paragraphs if isinstance(paragraph, dict)]
    return xxhash.xxh3_64_hexdigest("\x1f".join(contexts).encode("utf-8", "surrogatepass"))


def of_rows(path: str, rows: Iterable[tuple[int, Any]], unanswerable: bool, faults: Faults) -> Iterator[Asked]:
    """Questions of (number, row): ``answers`` is ``{"text": [...], "answer_start": [...]}``, or a list as in files.

    An article is what has one title, or without titles one context.
    """
    found = list(rows)
    if any(not isinstance(row, dict) for _, row in found):
        raise DataError(
            f"{path}: rows without keys; questions come as JSON of the SQuAD format, or as rows of {', '.join(KEYS)}"
        )
    every = [(number, row | {"answers": _listed(row.get("answers"))}) for number, row in found]
    some = any(row["answers"] for _, row in every)
    for number, row in every:
        try:
            context = value(row, "context", str)
        except ValueError as error:
            faults.add(f"{path}: row {number}", str(error))
            continue
        title = row.get("title")
        if unanswerable and some and row.get("is_impossible") is None:
            row["is_impossible"] = not row["answers"]
        called = title if isinstance(title, str) and title.strip() else _called([row])
        yield Asked(f"row {number}", path, called, context, row)


def _listed(answers: Any) -> Any:
    """Answers as files have them."""
    if not isinstance(answers, dict):
        return answers
    texts, starts = answers.get("text"), answers.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        return answers
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def collected(path: str, asked: Iterable[Asked], unanswerable: bool, faults: Faults) -> RawQuestions:
    """Every question, and where its answer is. Raises DataError after all of them were looked at."""
    raw = RawQuestions(path)
    seen: dict[str, str] = {}
    unsaid: list[str] = []
    misplaced = placing.Misplaced()
    context, empty = "", True
    for one in asked:
        place = f"{one.path}: {one.place}"
        try:
            id_ = _id(one.question)
            place = f"{one.path}: question `{id_}`"
            if id_ in seen:
                raise ValueError(f"there twice{_and_in(seen[id_], one.path)}; give each question an id of its own")
            seen[id_] = one.path
            if one.context is not context:  # that of several questions is looked at once
                context, empty = one.context, not clean(one.context)
            if empty:
                raise ValueError("its context is empty; write it, or take the paragraph out")
            text, answers, impossible = _said(one.question)
            if impossible and not unanswerable:
                raise ValueError("`is_impossible` is true; with --task squad2 questions may be without an answer")
        except ValueError as error:
            faults.add(place, str(error))
            continue
        if not impossible and not answers:
            unsaid.append(place)
        raw.texts.append((text, one.context))
        raw.ids.append(id_)
        raw.articles.append(one.article)
        raw.answers.append(tuple(said for said, _ in answers))
        raw.spans.append((-1, -1) if impossible else misplaced.first(one.context, answers, id_))
        raw.lines.append(len(raw.texts))
        raw.notes["questions without text"] += not text
    if len(unsaid) < len(raw):
        for place in unsaid:
            faults.add(place, 'no answer, as others have; give one, or "is_impossible": true where there is none')
    faults.check()
    misplaced.tell(raw)
    return raw


def _and_in(first: str, second: str) -> str:
    return "" if first == second else f", in {first} too"


def _id(question: Any) -> str:
    """``id``, or ``guid`` as KLUE has it; a number is fine. Raises ValueError, with the remedy."""
    key = "guid" if isinstance(question, dict) and "id" not in question and "guid" in question else "id"
    found = question.get(key) if isinstance(question, dict) else None
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else value(question, key, str)


def _said(question: Any) -> tuple[str, list[placing.Answer], bool]:
    """Its text, its answers each with ``answer_start``, and whether it is said to have none.

    Raises ValueError, with the value and the remedy.
    """
    text = clean(value(question, "question", str))
    impossible = question.get("is_impossible") is not None and value(question, "is_impossible", bool)
    if impossible or question.get("answers") is None:
        return text, [], impossible
    answers: list[placing.Answer] = []
    for answer in value(question, "answers", list):
        said = value(answer, "text", str)
        if not said.strip():
            raise ValueError('an answer without text; write it, or give "is_impossible": true where there is none')
        start = value(answer, "answer_start", int) if answer.get("answer_start") is not None else None
        answers.append((said, start))
    return text, answers, False


def value(owner: Any, key: str, kind: type) -> Any:
    """What an object has under ``key``. Raises ValueError, with value and remedy, for none and for another type."""
    if not isinstance(owner, dict):
        raise ValueError(f"{_shown(owner)} instead of an object with `{key}`; write it as the SQuAD format has it")
    if key not in owner:
        raise ValueError(f"no `{key}`; found {', '.join(map(str, owner))[:80] or 'nothing'}; add it")
    found = owner[key]
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise ValueError(f"`{key}` is {_shown(found)}, not {TYPES[kind]}; write it so")
    return found


def _shown(found: Any) -> str:
    return f"{json.dumps(found, ensure_ascii=False, default=str)[:40]} ({type(found).__name__})"
