"""Which of several texts goes on with, or answers, another one: a score for each, of which the largest is chosen.

SWAG and its like (MC-1): the context and each choice are a pair; one linear layer gives each pair a number, and the
softmax runs over the choices of an example.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ptk.errors import RecipeError
from ptk.metrics import Mean
from ptk.objectives.labelled_rows import LabelledRows, laid_out, texts_of
from ptk.objectives.objective import IGNORE, Batch, Example, Row, Table
from ptk.objectives.segments import shown
from ptk.recipe import STRICT

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(LabelledRows):
    """The ``objective:`` section of ``name: multiple_choice``."""

    __pydantic_config__ = STRICT

    fidelity: Literal["fixed", "paper"] | None = None
    """``paper`` for BERT's truncated normal head (FT-1)."""

    part: ClassVar[str] = "choice"
    padding: ClassVar[Mapping[str, int]] = {}
    legend: ClassVar[str] = "a line of each choice, the right one in colour"

    @property
    def scored_by(self) -> tuple[str, ...]:
        return self.metrics or ("accuracy",)

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """A row of each example: its context and each choice, each cut to ``length``; columns example, label."""
        offsets, spans = texts_of(documents, block)
        spans[:, 1] = np.minimum(spans[:, 1], spans[:, 0] + length)
        example = documents.parent[block.start : block.stop]
        return Table(offsets, spans, {"example": example, "label": documents.store.labels[example]})

    def cut(self, documents: "Documents", tokenizer: "Tokenizer", length: int) -> int:
        offsets, spans = texts_of(documents, range(len(documents)))
        sizes = spans[:, 1] - spans[:, 0]
        together = sizes + np.repeat(sizes[offsets[:-1]], np.diff(offsets)) + tokenizer.pair.size
        together[offsets[:-1]] = 0
        return int((np.maximum.reduceat(together, offsets[:-1]) > length).sum()) if len(together) else 0

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        """Raises RecipeError for rows without room for text, DataError for a tokenizer that cannot part two texts."""
        if length <= tokenizer.pair.size + 2:
            raise RecipeError(f"train.length: {length} leaves no room for two texts; give more")

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids and attention_mask [C, T], token_type_ids [C, T] where pairs have them; labels; example."""
        context, *choices = row.segments
        rows = [laid_out((context, choice), tokenizer, self.length) for choice in choices]
        shape = len(rows), max(len(ids) for ids, _ in rows)
        arrays = {"input_ids": np.full(shape, tokenizer.filler or 0), "attention_mask": np.zeros(shape, np.int64)}
        arrays["token_type_ids"] = np.zeros(shape, np.int64)
        for number, (ids, types) in enumerate(rows):
            for name, values in (("input_ids", ids), ("attention_mask", 1), ("token_type_ids", types)):
                arrays[name][number, : len(ids)] = values
        if not arrays["token_type_ids"].any():
            del arrays["token_type_ids"]
        return {**arrays, "labels": np.array(row.columns["label"]), "example": np.array(row.columns["example"])}

    def model(self, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> "nn.Module":
        """The ForMultipleChoice class of the family, or its backbone with a linear layer."""
        from ptk.models import heads

        return heads.model("multiple_choice", settings, tokenizer, length, paper=self.fidelity == "paper")

    def counts(self, batch: Batch) -> dict[str, int]:
        return {self.part: int((batch["labels"] != IGNORE).sum())}

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        return self.both(model, batch)[0]

    def both(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], torch.Tensor]":
        """The loss, the share of right choices, and the logits [B, C]: minus infinity of choices that only fill up."""
        from ptk.models import heads
        from ptk.objectives.losses import classification

        missing = ~batch["attention_mask"].any(-1)
        logits = heads.logits(model, batch).float().masked_fill(missing, float("-inf"))
        parts = classification(self.part, logits, batch["labels"])
        return {self.part: parts[self.part], "accuracy": parts[f"{self.part}_accuracy"]}, logits

    def evaluate(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], dict[str, torch.Tensor]]":
        """``example``, ``predicted``, ``gold`` and ``probability`` [N], that of what is predicted."""
        parts, logits = self.both(model, batch)
        probability, predicted = logits.softmax(-1).max(-1)
        found = {"example": batch["example"], "predicted": predicted, "probability": probability}
        return parts, {**found, "gold": batch["labels"]}

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        right, pieces = int(example["labels"]), []
        for number, (ids, mask) in enumerate(zip(example["input_ids"], example["attention_mask"], strict=True)):
            row = shown({"input_ids": ids[mask > 0]}, {}, tokenizer)
            pieces += [(f"\n{number}:", "special")]
            pieces += [(piece, "kept" if number == right and role == "first" else role) for piece, role in row]
        said = "no label" if right < 0 else f"{right} is right"
        return f"{len(example['input_ids'])} choices of at most {example['input_ids'].shape[1]} tokens: {said}", pieces

    def answer(self, model: "nn.Module", batch: Batch, tokenizer: "Tokenizer") -> str:
        _, logits = self.both(model, batch)
        guess, right = int(logits[0].argmax()), int(batch["labels"][0])
        text = tokenizer.decode(batch["input_ids"][0, guess][batch["attention_mask"][0, guess] > 0].tolist())
        return f"{text} [{guess}{'' if guess == right else f', not {right}'}]"

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        return ["FT-1: a fresh head is drawn from a truncated normal distribution"] if fidelity == "paper" else []


OBJECTIVE = MultipleChoice
