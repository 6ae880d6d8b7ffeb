"""A tag for each word of a text, and the entities that tags like B-PER and I-PER mark.

a line                            its answer
words between blanks              a tag for each word, between blanks
{"words": ["...", ...]}           {"words": [...], "tags": [...], "probabilities": [...], "entities": [...]}
{"text": "..."}                   the same, and "text": its words are those between blanks

An entity is {"text", "type", "start", "end"}: the characters start to end (not included) of the text, or of a list the
words; it goes on as ``entity_f1`` counts it (ptk/tasks/scores.py). A model that was fine-tuned on characters
(``ptk_unit: characters`` in its configuration) tags every character of a text, blanks too; it says no "words".
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ptk.prediction import asked
from ptk.tasks.examples import Examples
from ptk.tasks.predictions import over_blanks

if TYPE_CHECKING:
    from torch import nn

    from ptk.objectives.objective import Batch
    from ptk.objectives.token_classification import TokenClassification

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Tags:
    objective: "TokenClassification"
    characters: bool = False

    @property
    def form(self) -> str:
        return '{"text": "..."}' if self.characters else '{"text": "..."} or {"words": ["...", "..."]}'

    def of_line(self, line: str) -> dict[str, Any]:
        return {"text": line}

    def read(self, value: dict[str, Any]) -> tuple[str, ...]:
        """The words, or characters. Raises ValueError."""
        if self.characters:
            return tuple(asked.text(value, "text", self.form))
        if "words" in value:
            return asked.texts(value, "words", self.form)
        return tuple(WORD.findall(asked.text(value, "text", self.form)))

    def found(self, model: "nn.Module", batch: "Batch") -> Iterator[tuple[int, tuple[int, int, float]]]:
        """Of each word that is answered here its example; its number, its label and the label's probability."""
        _, logits = self.objective.both(model, batch)
        predicted, probability = self.objective.of_words(logits, batch["positions"])
        here = batch["unit"] >= 0
        example = batch["example"][:, None].expand_as(here)
        words = zip(*(array[here].tolist() for array in (batch["unit"], predicted, probability)), strict=True)
        yield from zip(example[here].tolist(), words, strict=True)

    def tags(self, texts: tuple[str, ...], found: list[tuple[int, int, float]]) -> list[str]:
        """The names of the labels, in the order of the words."""
        labels = np.array([label for _, label, _ in sorted(found)], np.int64)
        names = self.objective.labels
        if self.characters:
            labels = over_blanks(Examples([texts], labels, names, "stdin", np.ones(len(texts))), labels)
        return [names[label] for label in labels]

    def plain(self, texts: tuple[str, ...], found: list[tuple[int, int, float]]) -> str:
        return " ".join(self.tags(texts, found))

    def full(
        self, value: dict[str, Any], texts: tuple[str, ...], found: list[tuple[int, int, float]]
    ) -> dict[str, Any]:
        tags = self.tags(texts, found)
        in_text = self.characters or "words" not in value
        text = asked.text(value, "text", self.form) if in_text else ""
        said: dict[str, Any] = {"text": text} if in_text else {}
        said |= {} if self.characters else {"words": list(texts)}
        said |= {"tags": tags, "probabilities": [round(share, 6) for _, _, share in sorted(found)]}
        if any(name.startswith(("B-", "I-")) for name in self.objective.labels):
            places = self.places(text, texts) if in_text else None
            said["entities"] = [entity(*marked, text, texts, places) for marked in entities(tags)]
        return said

    def places(self, text: str, texts: tuple[str, ...]) -> list[tuple[int, int]]:
        """First and last (not included) character of each word, or character, of a text."""
        if self.characters:
            return [(place, place + 1) for place in range(len(texts))]
        return [match.span() for match in WORD.finditer(text)]


def entity(
    kind: str, first: int, stop: int, text: str, texts: tuple[str, ...], places: list[tuple[int, int]] | None
) -> dict[str, Any]:
    """The entity of the words ``first`` to ``stop``; ``places`` are theirs in ``text``, None of a list of words."""
    if places is None:
        return {"text": " ".join(texts[first:stop]), "type": kind, "start": first, "end": stop}
    start, end = places[first][0], places[stop - 1][1]
    return {"text": text[start:end], "type": kind, "start": start, "end": end}


def entities(tags: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Type, first word and last (not included) of each entity: ``I-X`` goes on with X, and after all else begins one.

    >>> list(entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [('PER', 0, 2), ('LOC', 3, 4), ('LOC', 4, 5)]
    """
    kind, first = "", 0
    for place, tag in enumerate([*tags, "O"]):
        begin, _, own = tag.partition("-")
        if kind and (begin, own) != ("I", kind):
            yield kind, first, place
            kind = ""
        if not kind and begin in ("B", "I"):
            kind, first = own, place
