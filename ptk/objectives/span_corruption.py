"""Span corruption: the encoder reads a text whose spans are each one sentinel, the decoder writes the spans (T5).

Rows come from the stream of documents; ``train.length`` is what the encoder reads, from which the length of the
uncorrupted row and of the targets follow (T5-2).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Interval

from ptk.corruption import masking, packing, spans
from ptk.errors import DataError, RecipeError
from ptk.metrics import Mean
from ptk.objectives.generation import Architecture, Generation, bounds, separator, table, with_separators
from ptk.objectives.objective import IGNORE, Batch, Example, Row, Table
from ptk.recipe import STRICT

if TYPE_CHECKING:
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class SpanCorruption(Generation):
    """The ``objective:`` section of ``name: span_corruption``."""

    __pydantic_config__ = STRICT

    noise: Literal["spans", "iid", "mass"] = "spans"
    """Spans of a mean length; tokens drawn one by one, neighbours as one span; or the same and write all (T5-10)."""
    noise_density: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    """Share of the tokens that is noise."""
    mean_span_length: Annotated[float, Ge(1)] = 3.0
    """Tokens of a span of noise."""
    random_roll: bool = False
    """Turn the mask by a random number of tokens: without it the first token is never noise, the last always (T5-3)."""
    mode_token: str | None = None
    """A token of the tokenizer that stands before the input and says how it was corrupted (UL2, arXiv 2205.05131)."""
    z_loss: Annotated[float, Ge(0)] = 0.0
    """Weight of the squared log of the softmax's normaliser; 1e-4 in the original (T5-5)."""
    fidelity: Literal["fixed", "paper"] | None = None
    """``paper``: no separator between documents (T5-1); the recipe's ``fidelity`` when left out."""

    part: ClassVar[str] = "span"
    rows_depend_on: ClassVar[tuple[str, ...]] = (
        "noise",
        "noise_density",
        "mean_span_length",
        "random_roll",
        "mode_token",
        "fidelity",
    )

    @property
    def architecture(self) -> Architecture:
        return "encoder_decoder"

    @property
    def weights(self) -> Mapping[str, float]:  # type: ignore[override]
        return {"span": 1.0, "z": self.z_loss} if self.z_loss else {"span": 1.0}

    def lengths(self, length: int) -> spans.Lengths:
        """Row, inputs and targets for an encoder of ``length`` tokens."""
        length -= self.mode_token is not None
        if self.noise == "spans":
            return spans.solve(length, self.noise_density, self.mean_span_length, more_spans=int(self.random_roll))
        # One by one, sentinels never lengthen a row; targets are at most everything, and a sentinel a token.
        return spans.Lengths(length - 1, length, length if self.noise == "mass" else 2 * length - 1)

    def most_spans(self, length: int) -> float:
        """Spans that a row of ``length`` may have: exactly, or one by one two standard deviations above the mean."""
        row, density = self.lengths(length).row, self.noise_density
        if self.noise == "spans":
            return spans.counts(row, density, self.mean_span_length)[1] + self.random_roll
        mean = row * density * (1 - density)
        return 1 if self.noise == "mass" else mean + 2 * math.sqrt(mean * (1 - 3 * density * (1 - density)))

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        """Rows must not need more sentinels than there are (T5-4)."""
        separator(tokenizer)
        known, needed = len(sentinels(tokenizer)), math.ceil(self.most_spans(length))
        if needed > known:
            raise RecipeError(
                f"train.length: {length} tokens hold {needed} spans of noise, and the tokenizer has {known} sentinels; "
                "give a shorter train.length, a longer objective.mean_span_length or a smaller noise_density"
            )
        if self.mode_token is not None:
            mode_id(tokenizer, self.mode_token)

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """Rows of as many tokens as become ``length`` once corrupted, from the stream of documents."""
        starts, stops = bounds(documents, block)
        between = int(self.fidelity != "paper")  # a separator before each document, or none (T5-1)
        cuts = packing.stream(stops - starts + between, self.lengths(length).row, rng)
        return table(starts, stops, cuts + np.array([0, 1 - between, 1 - between, 0]), ahead=False)

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids [T] and labels [K], each with end-of-text behind it (T5-1)."""
        end = separator(tokenizer)
        parts = [with_separators(*both, end, end) for both in zip(row.segments, row.marks, strict=True)]
        inputs, targets = self.corrupt(np.concatenate(parts), tokenizer, rng)
        mode = [] if self.mode_token is None else [mode_id(tokenizer, self.mode_token)]
        return {"input_ids": np.concatenate([mode, inputs, [end]]).astype(np.int64), "labels": np.append(targets, end)}

    def corrupt(
        self, ids: np.ndarray, tokenizer: "Tokenizer", rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is read and what is written, for one row of ids."""
        known = sentinels(tokenizer)
        if self.noise == "spans":
            mask = spans.noise_mask(len(ids), self.noise_density, self.mean_span_length, rng, self.random_roll)
        else:
            most = len(known) if self.noise == "iid" else len(ids)
            mask = spans.iid_mask(len(ids), self.noise_density, most, rng)
        if self.noise == "mass":
            positions = np.flatnonzero(mask)
            return masking.corrupt(ids, positions, known[0], tokenizer.vocab_size, rng, 0.9, 0.1), ids
        written = spans.without(ids, ~mask, known) if self.fidelity == "paper" else spans.only(ids, mask, known)
        return spans.without(ids, mask, known), written

    def longest(self, length: int) -> int:
        return max(length, self.lengths(length).targets)

    @property
    def mixes(self) -> bool:
        return not self.z_loss

    def marks(self, tokenizer: "Tokenizer") -> dict[str, Any]:
        return {} if self.mode_token is None else {"span_mode_id": mode_id(tokenizer, self.mode_token)}

    def reads(self, stored: np.ndarray) -> np.ndarray:
        if self.noise != "spans":
            return stored + 1
        noise = np.clip(np.round(stored * self.noise_density), 1, np.maximum(stored - 1, 1))
        return (stored - noise + np.maximum(np.round(noise / self.mean_span_length), 1) + 1).astype(np.int64)

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        """``span``, and ``z`` where it counts: the mean square of the log of the softmax's normaliser (T5-5)."""
        if not self.z_loss:
            return super().loss(model, batch)
        from ptk.models.next_token import logits
        from ptk.objectives.losses import classification

        found, labels = logits(model, batch).float(), batch["labels"]
        parts = classification(self.part, found, labels)
        squares = found.logsumexp(-1).square()
        return {**parts, "z": Mean(squares.masked_fill(labels == IGNORE, 0).sum(), parts[self.part].count)}

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        ids, labels = example["input_ids"].tolist(), example["labels"].tolist()
        pieces = [(piece, "special" if i in tokenizer.special_ids else "first") for piece, i in spelled(tokenizer, ids)]
        written = [
            (piece, "special" if i in tokenizer.special_ids else "masked") for piece, i in spelled(tokenizer, labels)
        ]
        return f"{len(ids)} tokens read, {len(labels)} written", [*pieces, ("->", "special"), *written]

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        if fidelity != "paper":
            return []
        rules = ["T5-1: documents follow each other without a separator (all of them, not one chunk of each of 128)"]
        rolled = "T5-3: with random_roll, where the mask begins with noise, sentinels name the kept runs"
        return [*rules, rolled] if self.random_roll else rules


OBJECTIVE = SpanCorruption


def spelled(tokenizer: "Tokenizer", ids: list[int]) -> list[tuple[str, int]]:
    return list(zip(tokenizer.tokens(ids), ids, strict=True))


def sentinels(tokenizer: "Tokenizer") -> np.ndarray:
    """Ids of <extra_id_0>, <extra_id_1> ...: of T5's own vocabulary the last, the last but one ... (T5-4).

    Raises DataError when there are none.
    """
    if not len(tokenizer.sentinel_ids):
        raise DataError("the tokenizer has no <extra_id_0>, which stands for a span; use tokenizer.kind=unigram")
    return tokenizer.sentinel_ids


def mode_id(tokenizer: "Tokenizer", token: str) -> int:
    """The id of a mode token. Raises RecipeError when the tokenizer does not have it."""
    found = tokenizer.id_of(token)
    if found is None:
        raise RecipeError(f"objective: mode_token {token} is no token of the tokenizer; see tokenizer.special_tokens")
    return found
