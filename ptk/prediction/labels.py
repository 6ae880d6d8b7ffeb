"""What a fine-tuned head says of lines: ``classes.py``, ``tags.py`` and ``choices.py`` have the form of each.

Texts become rows as a task's examples do, so that a model reads the ids that it was fine-tuned on. Lines that are there
together are read together, in batches of like length, and answered in their order; an empty line has an empty answer.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from ptk.data import batches
from ptk.data import tokenizer as tokenizers
from ptk.data.batches import Division
from ptk.data.rows import Rows, RowSource
from ptk.data.tokenizer import Tokenizer
from ptk.errors import DataError
from ptk.models import checks, load
from ptk.objectives.objective import IGNORE, Batch, Table
from ptk.prediction import answers, asked, head
from ptk.prediction.answers import Answers
from ptk.prediction.choices import Choices
from ptk.prediction.classes import Classes
from ptk.prediction.lines import one_line
from ptk.prediction.tags import Tags
from ptk.progress import Talk
from ptk.recipe import EvaluateSpec
from ptk.tasks import store
from ptk.tasks.examples import Examples

if TYPE_CHECKING:
    from torch import nn

TOKENS = 4096  # of a batch


class Kind(Protocol):
    """What one kind of head reads and says."""

    @property
    def objective(self) -> Any: ...
    @property
    def form(self) -> str:
        """A JSON line that asks it."""
        ...

    def of_line(self, line: str) -> dict[str, Any]:
        """The JSON line that a plain line stands for."""
        ...

    def read(self, value: dict[str, Any]) -> tuple[str, ...]:
        """The texts of an example, as Examples has them. Raises ValueError."""
        ...

    def found(self, model: "nn.Module", batch: Batch) -> Iterator[tuple[int, Any]]:
        """What the model says of the examples of a batch: the number of each, and a part of its answer."""
        ...

    def plain(self, texts: tuple[str, ...], found: list[Any]) -> str:
        """The answer to a plain line, of its parts."""
        ...

    def full(self, value: dict[str, Any], texts: tuple[str, ...], found: list[Any]) -> dict[str, Any]:
        """The answer to a JSON line."""
        ...


@dataclass(frozen=True)
class Question:
    number: int
    """Of the line, from 1."""
    value: dict[str, Any]
    texts: tuple[str, ...]
    as_json: bool


@dataclass(frozen=True)
class Few(Rows):
    """Rows of a few examples, made where they are read: nothing is left on the disk."""

    @cached_property
    def table(self) -> Table:
        documents = self.source.documents
        whole = range(len(documents))
        return self.source.objective.rows(documents, whole, self.source.length, np.random.default_rng(0))


class Labeller:
    """A fine-tuned model, and all that it takes to ask it."""

    def __init__(self, name: str, model: "nn.Module", config: Any) -> None:
        self.model = model
        self.tokenizer: Tokenizer = tokenizers.load(load.folder_of(name))
        objective, length = head.objective_of(name, config)
        self.kind = kind_of(objective, config, self.tokenizer)
        self.length = min(length, checks.positions_of(model) or length)
        self.told = False

    def answers(self, groups: Iterable[Sequence[str]]) -> Iterator[str]:
        """An answer a line; the lines of a group are read together. Raises DataError naming the line, once those before
        it are answered."""
        number = 0
        for group in groups:
            questions, fault = self.questions(group, number + 1)
            number += len(group)
            found = self.found([question for question in questions if question])
            for question in questions:
                yield self.said(question, found[question.number]) if question else ""
            if fault:
                raise fault

    def questions(self, lines: Sequence[str], first: int) -> tuple[list[Question | None], DataError | None]:
        """What is asked, None of empty lines; up to the first fault, and that."""
        found: list[Question | None] = []
        for number, line in enumerate(lines, first):
            try:
                found.append(self.question(line.rstrip("\r\n"), number) if line.strip() else None)
            except ValueError as error:
                return found, DataError(f"stdin:{number}: {error}")
        return found, None

    def question(self, line: str, number: int) -> Question:
        as_json = line.lstrip().startswith("{")
        value = asked.parsed(line, self.kind.form) if as_json else self.kind.of_line(line)
        return Question(number, value, self.kind.read(value), as_json)

    def said(self, question: Question, found: list[Any]) -> str:
        if not question.as_json:
            return one_line(self.kind.plain(question.texts, found))
        named = {key: question.value[key] for key in ("id",) if key in question.value}  # who asked, for the asker
        return json.dumps({**named, **self.kind.full(question.value, question.texts, found)}, ensure_ascii=False)

    @torch.no_grad()
    def found(self, questions: Sequence[Question]) -> dict[int, list[Any]]:
        """Number of the line -> the parts of its answer."""
        parts: dict[int, list[Any]] = defaultdict(list)
        if not questions:
            return parts
        rows = self.rows(questions)
        where = next(self.model.parameters()).device
        of_like_length = Division(micro_batch_tokens=TOKENS)
        for batch in batches.held_out(rows, len(rows), self.tokenizer, of_like_length, seed=0):
            there = {name: array.to(where) for name, array in batch.items()}
            for example, part in self.kind.found(self.model, there):
                parts[questions[example].number].append(part)
        return parts

    def rows(self, questions: Sequence[Question]) -> Few:
        """The rows of the texts. Raises DataError for a text that leaves the model nothing to read."""
        objective = self.kind.objective
        made = store.in_memory(self.examples(questions), self.tokenizer)
        source = RowSource(made, objective, EvaluateSpec(), self.length, 0, "all")
        lengths = source.documents.lengths()
        if not self.told and objective.cut(source.documents, self.tokenizer, self.length):
            Talk().warn(f"texts that {objective.too_long(self.length)} are cut, as in training")
            self.told = True
        for question, length in zip(questions, lengths.tolist(), strict=True):
            if not length and not self.tokenizer.single.size:
                raise DataError(f"stdin:{question.number}: no token of text; give {self.kind.form}")
        return Few(source, 0)

    def examples(self, questions: Sequence[Question]) -> Examples:
        """The texts as a task's examples, without labels."""
        tagging = isinstance(self.kind, Tags)
        texts = [question.texts for question in questions]
        if isinstance(self.kind, Answers):
            return answers.questions(texts, np.array([question.number for question in questions]))
        labels = np.full(sum(map(len, texts)) if tagging else len(texts), IGNORE)
        lines = np.array([question.number for question in questions])
        characters = isinstance(self.kind, Tags) and self.kind.characters
        return Examples(texts, labels, self.kind.objective.labels, "stdin", lines, characters, tagging)


def kind_of(objective: Any, config: Any, tokenizer: Tokenizer) -> Kind:
    """Who asks and answers for an objective; a model's configuration says what it was fine-tuned on."""
    if objective.part == "tagging":
        return Tags(objective, getattr(config, "ptk_unit", None) == "characters")
    if objective.part == "answer":
        return Answers(objective, tokenizer, getattr(config, "ptk_threshold", 0.0))
    if objective.part == "choice":
        return Choices(objective, getattr(config, "ptk_starts", {}))
    return Classes(objective, getattr(config, "ptk_texts", None))
