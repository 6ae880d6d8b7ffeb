"""What a file of a task holds, before its labels are ids: texts, the values of the labels, lines."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ptk.tasks.files.tables import clean


@dataclass
class Raw:
    """What a file holds. Of tagging, ``values`` and ``lines`` are flat: one for each word."""

    path: str
    texts: list[tuple[str, ...]] = field(default_factory=list)
    values: list[Any] | None = None
    """Text of a label, or of multi-label a list of them; None of a file without labels."""
    lines: list[int] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    """What was left out or changed -> how often."""
    characters: bool = False

    def __len__(self) -> int:
        return len(self.texts)


@dataclass
class RawQuestions(Raw):
    """Questions and contexts; ``lines`` count the questions of the files. There are no values of labels."""

    ids: list[str] = field(default_factory=list)
    articles: list[str] = field(default_factory=list)
    answers: list[tuple[str, ...]] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Of the answer that is learned, as labels of Questions (ptk/tasks/examples.py)."""


def text_value(value: Any) -> str:
    """A label as text: 1 and 1.0 are ``1``, null is empty."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return clean(value if isinstance(value, str) else str(value))
