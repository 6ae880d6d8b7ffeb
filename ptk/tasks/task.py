"""What a task is: pure data. An entry says where its files lie, what their columns are and how it is scored.

To add one, copy an entry of ``glue.py`` or of another module here that has ``TASKS``; nothing else has to know it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Column = str | int
"""The name of a column or key (``labels.label`` is a nested one); of files without a header its number, from 0."""
Kind = Literal["classification", "multi_label", "regression", "tagging", "multiple_choice", "answering"]
Format = Literal["tsv", "csv", "jsonl", "json", "parquet", "columns", "conllu", "characters", "race", "squad"]
TABLES = ("tsv", "csv", "jsonl", "json", "parquet")
HEADS: Mapping[Kind, str] = {
    "classification": "sequence_classification",
    "multi_label": "sequence_classification",
    "regression": "sequence_classification",
    "tagging": "token_classification",
    "multiple_choice": "multiple_choice",
    "answering": "question_answering",
}
"""The objective (its word in a recipe) that learns each kind."""


@dataclass(frozen=True)
class Columns:
    text: tuple[Column, ...]
    """The text, or the two of a pair; of tagging the words; of multiple choice what comes before the choices."""
    label: Column | None = None
    choices: tuple[Column, ...] = ()
    """A column for each choice, or one that holds a list of them."""
    start: Column | None = None
    """What every choice begins with (SWAG's sent2)."""


@dataclass(frozen=True)
class Hub:
    """The same task as a dataset of the Hugging Face hub."""

    path: str
    config: str | None
    columns: Columns
    splits: Mapping[str, str] = field(default_factory=lambda: {s: s for s in ("train", "validation", "test")})
    """Our split -> the hub's."""


@dataclass(frozen=True, kw_only=True)
class Task:
    name: str
    about: str
    """One line for ``ptk finetune --task list``."""
    kind: Kind
    columns: Columns
    metrics: tuple[str, ...]
    """As ptk/tasks/scores.py names them; the task's score is their mean."""
    recipe: str
    """The bundled recipe that has its settings."""
    folders: tuple[str, ...] = ()
    """What the folder of its files is called where several tasks lie side by side."""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Split -> patterns of its file, tried in order, relative to the folder."""
    format: Format = "tsv"
    """Of the files whose extension (csv, jsonl, json, parquet) does not say it."""
    numbers: Columns | None = None
    """The columns of those files that have no header."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The file's value -> the label's name, in the order of the ids; several values may mean one label. Empty where
    the labels are what the files hold, and of regression."""
    no_label: tuple[str, ...] = ()
    """Values for examples on which the annotators did not agree; they are left out, and counted."""
    starts: Mapping[str, str] = field(default_factory=dict)
    """Value of ``columns.start`` -> the words that a choice begins with; the value itself where it is not here."""
    positive: str | None = None
    """The name of the label that ``f1`` is of; the label with id 1 when left out."""
    uneven: Literal["broken", "labels"] | None = None
    """Rows of the official file with other cells than its header: ``broken`` in two by a line end, which are left out
    and counted (GLUE-1); with further annotators' ``labels`` before the last one, which is the one that counts."""
    rule: Literal["squad", "squad2", "korquad"] | None = None
    """The official script by which answers to questions are scored (ptk/tasks/answer_scores.py)."""
    predictions: Mapping[str, str] = field(default_factory=dict)
    """Split -> the official prediction file (GLUE-3); labels are written there as ``values`` says."""
    hub: Hub | None = None
    builtin: str | None = None
    """A module of ptk.tasks whose ``examples()`` gives {split: Examples}, instead of files."""

    @property
    def names(self) -> tuple[str, ...]:
        """The labels by id, where the task fixes them."""
        return tuple(dict.fromkeys(self.labels.values()))

    @property
    def values(self) -> tuple[str, ...]:
        """By id, what the task's own files call the label."""
        first = {name: value for value, name in reversed(list(self.labels.items()))}
        return tuple(first[name] for name in self.names)

    def label(self, called: str) -> str | None:
        """The name of the label that a model or a recipe calls so: by its name or the files' value, in any case."""
        known = {**dict(zip(self.values, self.names, strict=True)), **{name: name for name in self.names}}
        if called in known:
            return known[called]
        return next((name for said, name in known.items() if said.casefold() == called.casefold()), None)

    @property
    def head(self) -> str:
        """The objective that learns it."""
        return HEADS[self.kind]

    @property
    def entities(self) -> bool:
        """Whether the tags are those of entities, B-X and I-X."""
        return any(metric.startswith("entity") for metric in self.metrics)
