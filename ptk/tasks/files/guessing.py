"""Which column of somebody's own table is what, by the names of the columns where the recipe does not say."""

import re
from collections.abc import Sequence
from typing import Any

from ptk.data.layout import guess_column
from ptk.errors import DataError
from ptk.recipe import TaskSpec
from ptk.tasks.files.tables import Table
from ptk.tasks.task import Column, Columns

PAIRS = {
    "sentence1": ("sentence2",),
    "premise": ("hypothesis",),
    "question1": ("question2",),
    "text1": ("text2",),
    "text_a": ("text_b",),
    "text": ("text_b", "text2", "text_pair"),
    "question": ("sentence", "passage"),
}
"""What a text is called, and the second text where there is one."""
TEXTS = (*PAIRS, "sentence", "document", "review", "comment", "comments", "content", "body", "title", "headline")
TEXTS += ("tweet", "utterance", "query")
LABELS = ("label", "labels", "gold_label", "category", "class", "target", "score", "rating", "sentiment", "intent")
LABELS += ("topic", "is_duplicate", "similarity", "answer")
BEFORE = ("sent1", "ctx", "context", "startphrase", "premise", "goal", "question", "article")
LISTS = ("endings", "choices", "options")
ONE_CHOICE = re.compile(r"(ending|choice|option|alternative|answer|sol)[_ ]?\d", re.IGNORECASE)
WORDS = ("words", "tokens")
TAGS = ("tags", "ner", "ner_tags", "pos", "pos_tags", "upos", "labels", "label")
SCORES = 20
"""Numbers of more different values than this, or with decimals, are scores and not labels."""


def column(name: str, table: Table | None = None) -> Column:
    """A column that a recipe names: digits are its number, unless a column is called so."""
    return int(name) if name.isdigit() and not (table and table.has(name)) else name


def has_header(cells: Sequence[str], spec: TaskSpec) -> bool:
    """Unless the recipe gives columns by number, and the first row does not happen to have such names."""
    given = [name for name in (spec.text, spec.pair, spec.label, *spec.choices) if name is not None]
    return set(given) <= set(cells) or not any(name.isdigit() for name in given)


def called(table: Table, names: Sequence[str]) -> str | None:
    """The first of ``names`` that is a column, whatever its case."""
    there = {name.casefold(): name for name in reversed(table.names or ())}
    return next((there[name] for name in names if name in there), None)


def text_and_label(table: Table, sample: Sequence[Any], spec: TaskSpec) -> Columns:
    """Where the text, the second text and the label are. Raises DataError where nothing says it (D10)."""
    label = spec.label if spec.label is not None else called(table, LABELS)
    text = spec.text if spec.text is not None else called(table, [name for name in TEXTS if name != label])
    pair = spec.pair
    if pair is None and spec.text is None and text is not None:
        pair = called(table, PAIRS.get(text.casefold(), ()))
    names = list(table.names or ())
    if text is None and label is not None:
        text = guess_column([_without(table, row, label) for row in sample])
    if label is None and text is not None and len(names) == 2:
        label = next(name for name in names if name != text)
    if text is None or label is None:
        what, setting = ("text", "task.text") if text is None else ("labels", "task.label")
        raise DataError(
            f"{table.path}: no column of {what} by its name; found: {', '.join(names)[:200]}; name it with {setting}; "
            "where the file has no header give task.text and task.label by number, from 0"
        )
    texts = (text,) if pair is None else (text, pair)
    return Columns(tuple(column(name, table) for name in texts), column(label, table))


def _without(table: Table, row: Any, label: str) -> dict[str, Any]:
    """A row by names, but for its label."""
    cells = dict(zip(table.names or (), row, strict=True)) if table.delimited else dict(row)
    return {name: value for name, value in cells.items() if name != label}


def choice_columns(table: Table) -> tuple[str, ...]:
    """Columns of choices by their names: ending0, ending1, ..., or one with a list of them."""
    names = [name for name in table.names or () if ONE_CHOICE.fullmatch(name)]
    lists = [] if table.delimited else [name for name in table.names or () if name in LISTS]
    return tuple(names) if len(names) > 1 else tuple(lists[:1])


def before_and_choices(table: Table, spec: TaskSpec) -> Columns:
    """What comes before the choices, the choices, and which is right. Raises DataError where nothing says it."""
    choices = spec.choices or choice_columns(table)
    label = spec.label if spec.label is not None else called(table, LABELS)
    text = spec.text if spec.text is not None else called(table, (*BEFORE, *TEXTS))
    if not choices or text is None or label is None:
        setting = "task.choices" if not choices else "task.text" if text is None else "task.label"
        found = ", ".join(table.names or ())[:200]
        raise DataError(f"{table.path}: no column for {setting} by its name; found: {found}; name it with {setting}")
    start = "sent2" if text == "sent1" and table.has("sent2") else None
    return Columns((column(text, table),), column(label, table), tuple(column(c, table) for c in choices), start)


def words_and_tags(table: Table, spec: TaskSpec) -> Columns:
    """The lists of words and of tags; the names that are missing are told when they are read."""
    words = spec.text or called(table, WORDS) or WORDS[0]
    return Columns((column(words, table),), column(spec.label or called(table, TAGS) or TAGS[0], table))


def are_scores(values: Sequence[Any]) -> bool:
    """Whether labels are numbers with decimals, or of many values."""
    try:
        numbers = {float(value) for value in values}
    except (TypeError, ValueError):
        return False
    return len(numbers) > SCORES or any(not number.is_integer() for number in numbers)


def are_entities(tags: set[str]) -> bool:
    """Whether tags are those of entities: O, B-X and I-X."""
    return tags > {"O"} and all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags)


def numbering(values: set[str], count: int) -> dict[str, str]:
    """Value -> number of the choice from 0: values are numbers from 0 or, where there is none, from 1, or letters."""
    letters = [chr(ord("A") + number) for number in range(count)]
    from_one = "0" not in values and str(count) in values
    given = letters if values <= set(letters) else [str(number + from_one) for number in range(count)]
    return {value: str(number) for number, value in enumerate(given)}
