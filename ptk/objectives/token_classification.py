"""A label for each word of a text, or each character: named entities, parts of speech.

A word's label is read at the first of its tokens (TAG-1). A word without a token of its own, which only characters can
be, goes on with the label before it: B-X and I-X with I-X. A text longer than a row becomes windows that overlap by
half, and each word is learned and scored in the one window where it has most context on its shorter side: none is left
out (TAG-2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from ptk.errors import DataError, RecipeError
from ptk.metrics import Mean
from ptk.objectives.labelled_rows import LabelledRows, has_label
from ptk.objectives.objective import IGNORE, Batch, Example, Row, Table
from ptk.objectives.segments import shown
from ptk.recipe import STRICT

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer

AROUND = 2  # tokens of a row that are left to what stands around a text


class Window(NamedTuple):
    """Words ``first`` to ``stop`` of a text, of which ``scored`` to ``until`` are learned and scored here."""

    first: int
    stop: int
    scored: int
    until: int


@dataclass(frozen=True, kw_only=True)
class TokenClassification(LabelledRows):
    """The ``objective:`` section of ``name: token_classification``."""

    __pydantic_config__ = STRICT

    fidelity: Literal["fixed", "paper"] | None = None
    """``paper`` for BERT's truncated normal head (FT-1)."""

    part: ClassVar[str] = "tagging"
    padding: ClassVar[Mapping[str, int]] = {"labels": IGNORE, "positions": -1, "unit": -1}
    leaves_out: ClassVar[str] = "texts without a word"
    legend: ClassVar[str] = "piece=label at the first piece of each word that is scored in this row"

    @property
    def scored_by(self) -> tuple[str, ...]:
        entities = any(name.startswith(("B-", "I-")) for name in self.labels)
        return self.metrics or (("entity_f1",) if entities else ("accuracy",))

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """A row of each window of each text: a span a word, its label the mark; columns ``example``, ``unit`` (the
        first word's number in the store), ``scored`` and ``until`` (words of the row)."""
        labels, width = documents.store.labels, length - AROUND
        offsets, spans, columns, left_out = [0], [], [], 0
        for piece in block:
            bounds, first = documents.boundaries(piece), int(documents.first[piece])
            left_out += len(bounds) < 2
            for window in windows(np.diff(bounds), width) if len(bounds) > 1 else ():
                words = slice(window.first, window.stop)
                starts = bounds[:-1][words]
                stops = np.minimum(bounds[1:][words], starts[0] + width)  # of one word that is longer than a row
                marks = labels[first + window.first : first + window.stop]
                spans.append(np.stack([starts, np.maximum(starts, stops), marks], axis=1))
                offsets.append(offsets[-1] + len(starts))
                scored, until = window.scored - window.first, window.until - window.first
                columns.append((documents.parent[piece], first + window.first, scored, until))
        of_rows = np.array(columns, np.int64).reshape(-1, 4)
        named = {name: of_rows[:, n] for n, name in enumerate(("example", "unit", "scored", "until"))}
        every = np.concatenate([np.zeros((0, 3), np.int64), *spans])
        return Table(np.array(offsets), every, named, left_out)

    def cut(self, documents: "Documents", tokenizer: "Tokenizer", length: int) -> int:
        """None: long texts become several rows."""
        return 0

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        """Raises DataError for a tokenizer that puts more around a text than rows leave room for."""
        if tokenizer.single.size > AROUND:
            raise DataError(
                f"the tokenizer puts {tokenizer.single.size} tokens around a text, and rows of words leave room for "
                f"{AROUND}; use another tokenizer"
            )

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids [T]; of each word [W]: labels, positions (of its first token; -1 without a token) and unit (-1
        where another window scores it); example."""
        frame = tokenizer.single
        ids, _ = frame.around([np.concatenate([np.zeros(0, np.int64), *row.segments])])
        sizes = np.array([len(word) for word in row.segments])
        starts = len(frame.parts[0]) + np.cumsum(sizes) - sizes
        word = np.arange(len(sizes))
        here = (word >= row.columns["scored"]) & (word < row.columns["until"])
        return {
            "input_ids": ids,
            "labels": np.where(here, np.array(row.marks, np.int64), IGNORE),
            "positions": np.where(sizes > 0, starts, -1),
            "unit": np.where(here, row.columns["unit"] + word, -1),
            "example": np.array(row.columns["example"]),
        }

    def model(self, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> "nn.Module":
        """The ForTokenClassification class of the family, or its backbone with a linear layer."""
        from ptk.models import heads

        paper = self.fidelity == "paper"
        return heads.model("token_classification", settings, tokenizer, length, self.labels, paper=paper)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {self.part: int((self.learned(batch) != IGNORE).sum())}

    def learned(self, batch: Batch) -> "torch.Tensor":
        """Labels [B, W], but only of words that have a token of their own."""
        return batch["labels"].masked_fill(batch["positions"] < 0, IGNORE)

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        return self.both(model, batch)[0]

    def both(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], torch.Tensor]":
        """The loss, and the logits [B, W, L] of each word."""
        import torch

        from ptk.models import heads
        from ptk.objectives.losses import classification

        rows = torch.arange(len(batch["positions"]), device=batch["positions"].device)[:, None]
        logits = heads.logits(model, batch)[rows, batch["positions"].clamp(min=0)]
        return classification(self.part, logits, self.learned(batch)), logits

    def evaluate(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], dict[str, torch.Tensor]]":
        """``example``, ``unit``, ``predicted``, ``gold`` and ``probability`` [N] of every word that is scored here."""
        parts, logits = self.both(model, batch)
        predicted, probability = self.of_words(logits, batch["positions"])
        here = batch["unit"] >= 0
        example = batch["example"][:, None].expand_as(here)
        found = {"predicted": predicted, "probability": probability, "gold": batch["labels"]}
        return parts, {
            name: array[here] for name, array in {**found, "unit": batch["unit"], "example": example}.items()
        }

    def of_words(self, logits: "torch.Tensor", positions: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Labels and their probabilities [B, W]: a word without a token goes on with that before it."""
        import torch

        probability, predicted = logits.float().softmax(-1).max(-1)
        own = positions >= 0
        word = torch.arange(own.shape[1], device=own.device).expand_as(own)
        before = torch.where(own, word, -1).cummax(1).values  # the last word that has a token
        follows = torch.tensor(self.going_on(), device=own.device)
        gone_on = torch.where(before < 0, self.outside, follows[predicted.gather(1, before.clamp(min=0))])
        of_before = torch.where(before < 0, 1.0, probability.gather(1, before.clamp(min=0)))
        return torch.where(own, predicted, gone_on), of_before

    @property
    def outside(self) -> int:
        """The label of what no word stands before."""
        return self.labels.index("O") if "O" in self.labels else 0

    def going_on(self) -> list[int]:
        """Of each label the one that goes on with it: of B-X I-X, where there is one; of others themselves."""
        number = {name: label for label, name in enumerate(self.labels)}
        return [
            number.get(f"I-{name[2:]}", label) if name.startswith("B-") else label for name, label in number.items()
        ]

    def with_gold(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Words that have a label, in reading order, and the example of each."""
        if not predictions:
            return {}
        labelled = np.flatnonzero(has_label(predictions["gold"]))
        order = labelled[np.argsort(predictions["unit"][labelled], kind="stable")]
        found = {name: predictions[name][order] for name in ("predicted", "gold")}
        return {**found, "sentences": predictions["example"][order]}

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        pieces = shown(example, {}, tokenizer)
        words = zip(example["positions"].tolist(), example["labels"].tolist(), strict=True)
        for position, label in words:
            if position >= 0 and label >= 0:
                outside = self.labels[label] == "O"
                pieces[position] = (f"{pieces[position][0]}={self.labels[label]}", "first" if outside else "kept")
        scored = int((example["unit"] >= 0).sum())
        return f"{len(pieces)} tokens, {scored} of {len(example['unit'])} words scored", pieces

    def answer(self, model: "nn.Module", batch: Batch, tokenizer: "Tokenizer") -> str:
        _, logits = self.both(model, batch)
        predicted = self.of_words(logits, batch["positions"])[0][0].tolist()
        pieces = tokenizer.tokens(batch["input_ids"][0].tolist())
        for position, guess, label in zip(
            batch["positions"][0].tolist(), predicted, batch["labels"][0].tolist(), strict=True
        ):
            if position >= 0 and label >= 0 and (guess != label or self.labels[label] != "O"):
                said, right = self.labels[guess], self.labels[label]
                pieces[position] += f" [{said}]" if guess == label else f" [{said}, not {right}]"
        return " ".join(pieces).replace(" ##", "")

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        return ["FT-1: a fresh head is drawn from a truncated normal distribution"] if fidelity == "paper" else []


OBJECTIVE = TokenClassification


def windows(sizes: np.ndarray, width: int) -> list[Window]:
    """Words of ``sizes`` [W] tokens, in windows of at most ``width`` tokens, or one word, that overlap by half.

    Each word is scored once: where the tokens beside it are most, on the side where they are fewer. A word without
    tokens stays with that before it.

    >>> windows(np.array([1, 1, 1, 1, 1, 1]), 4)
    [Window(first=0, stop=4, scored=0, until=3), Window(first=2, stop=6, scored=3, until=6)]
    """
    if width < 1:
        raise RecipeError("train.length: no room for a word; give more")
    count = len(sizes)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    own = np.flatnonzero(sizes)
    found = [(0, count)]
    if count and ends[-1] > width:
        found = list(overlapping(own, starts, ends, width))
    context = np.full((len(found), count), -np.inf)
    for number, (first, stop) in enumerate(found):
        left, right = starts[first:stop] - starts[first], ends[stop - 1] - ends[first:stop]
        context[number, first:stop] = np.minimum(left, right)
    best = context.argmax(0)
    best = best[own[np.maximum(np.searchsorted(own, np.arange(count), "right") - 1, 0)]] if len(own) else best
    edges = np.searchsorted(best, np.arange(len(found) + 1))
    return [
        Window(first, stop, scored, until)
        for (first, stop), scored, until in zip(found, edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


def overlapping(own: np.ndarray, starts: np.ndarray, ends: np.ndarray, width: int) -> "Sequence[tuple[int, int]]":
    """First and stop of each window, in words; each begins at a word that has tokens (``own``), but the first."""
    found: list[tuple[int, int]] = []
    first, count = 0, len(starts)
    while True:
        fits = int(np.searchsorted(ends, starts[first] + width, "right"))
        # Up to the next word with tokens: those without belong to the word before. At least one word.
        after = own[np.searchsorted(own, max(fits, own[np.searchsorted(own, first)] + 1)) :]
        stop = int(after[0]) if len(after) else count
        found.append((first, stop))
        if stop == count:
            return found
        half = own[np.searchsorted(starts[own], starts[first] + (width + 1) // 2) :]
        first = min(int(half[0]), stop) if len(half) else stop
