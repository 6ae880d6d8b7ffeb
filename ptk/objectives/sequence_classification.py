"""A label, several labels or a score for a text or a pair of texts.

BERT's classifier (arXiv 1810.04805, 4.1) and what other families have in its place. Texts that are too long lose their
end, of a pair the longer one; the loss is the mean over examples, of several labels over examples and labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from ptk.errors import RecipeError
from ptk.metrics import Mean
from ptk.objectives.labelled_rows import LabelledRows, laid_out, shortened, texts_of
from ptk.objectives.objective import IGNORE, Batch, Example, Row, Table
from ptk.objectives.segments import shown
from ptk.recipe import STRICT, Fraction

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class SequenceClassification(LabelledRows):
    """The ``objective:`` section of ``name: sequence_classification``."""

    __pydantic_config__ = STRICT

    problem: Literal["single_label", "multi_label", "regression"] = "single_label"
    """One of the labels, any number of them, or a score."""
    label_smoothing: Fraction = 0.0
    """Share of the probability that is spread over all labels, of a single label."""
    scale: Literal["raw", "unit"] = "raw"
    """A score is learned as it is, or its ``score_range`` as 0 to 1, as ELECTRA does (FT-5)."""
    score_range: tuple[float, float] = (0.0, 5.0)
    """The lowest and the highest score, for ``scale: unit``; STS-B's."""
    lm_weight: Annotated[float, Ge(0)] = 0.0
    """Of the loss of a language model on the same rows, of a decoder: GPT-1's 0.5 (GPT1-1)."""
    fidelity: Literal["fixed", "paper"] | None = None
    """``paper`` for BERT's truncated normal head (FT-1), ELECTRA's own (ELE-12), and a language model's loss that is
    the mean over rows of their means (GPT1-1)."""

    part: ClassVar[str] = "classification"
    padding: ClassVar[Mapping[str, int]] = {}
    legend: ClassVar[str] = "the second text has another colour"

    def __post_init__(self) -> None:
        if self.score_range[0] >= self.score_range[1]:
            raise ValueError(
                f"score_range: the lowest score comes first and is below the highest; not {self.score_range}"
            )
        if self.label_smoothing and self.problem != "single_label":
            raise ValueError(f"label_smoothing: {self.label_smoothing} is for problem single_label; leave it out")

    @property
    def weights(self) -> Mapping[str, float]:  # type: ignore[override]
        return {self.part: 1.0, **({"lm": self.lm_weight} if self.lm_weight else {})}

    @property
    def scored_by(self) -> tuple[str, ...]:
        usual = {"single_label": "accuracy", "multi_label": "micro_f1", "regression": "pearson"}
        return self.metrics or (usual[self.problem],)

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """A row of each example, its one or two texts cut to ``length`` together; columns ``example`` and ``label``."""
        offsets, spans = texts_of(documents, block)
        sizes = spans[:, 1] - spans[:, 0]
        pairs = offsets[:-1][np.diff(offsets) == 2]
        kept = np.minimum(sizes, length)
        kept[pairs], kept[pairs + 1] = shortened(sizes[pairs], sizes[pairs + 1], length)
        spans = np.stack([spans[:, 0], spans[:, 0] + kept], axis=1)
        example = documents.parent[block.start : block.stop]
        return Table(offsets, spans, {"example": example, "label": documents.store.labels[example]})

    def cut(self, documents: "Documents", tokenizer: "Tokenizer", length: int) -> int:
        texts = documents.stop - documents.first
        around = np.where(texts == 1, tokenizer.single.size, tokenizer.pair.size if (texts == 2).any() else 0)
        return int((documents.lengths() + around > length).sum())

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        """Raises RecipeError for rows without room for text, DataError for a tokenizer that cannot part two texts."""
        texts = int((documents.stop - documents.first).max(initial=1))
        around = (tokenizer.single if texts == 1 else tokenizer.pair).size
        if length <= around + texts:
            raise RecipeError(f"train.length: {length} leaves no room for {texts} texts; give more")
        if self.positive is not None and self.positive not in self.labels:
            there = ", ".join(self.labels) or "none"
            raise RecipeError(f"objective.positive: {self.positive} is none of the labels ({there}); name one of them")

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids [T], token_type_ids [T] of a pair; labels: a label, a score, or [L] of several labels; example."""
        ids, types = laid_out(row.segments, tokenizer, self.length)
        example = {"input_ids": ids, "labels": self.target(row.columns["label"])}
        if types.any():
            example["token_type_ids"] = types
        return {**example, "example": np.array(row.columns["example"])}

    def target(self, label: Any) -> np.ndarray:
        """What is learned of a stored label, in the type of the loss."""
        if self.problem != "regression":
            return np.array(label, np.int64)
        low, high = self.score_range
        return np.array((label - low) / (high - low) if self.scale == "unit" else label, np.float32)

    def model(self, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> "nn.Module":
        """The ForSequenceClassification class of the family."""
        from ptk.models import heads

        paper = self.fidelity == "paper"
        kind = "sequence_classification"
        model = heads.model(kind, settings, tokenizer, length, self.labels, self.problem, paper)
        if self.lm_weight:
            heads.check_language_model(model)
        return model

    def counts(self, batch: Batch) -> dict[str, int]:
        counts = {self.part: int(self.known(batch["labels"]).sum())}
        if self.lm_weight:
            rows = len(batch["input_ids"])
            counts["lm"] = rows if self.fidelity == "paper" else self.tokens(batch) - rows
        return counts

    def known(self, labels: "torch.Tensor") -> "torch.Tensor":
        """Where there is a label, bool as ``labels``."""
        return ~labels.isnan() if self.problem == "regression" else labels >= 0

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        return self.both(model, batch)[0]

    def both(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], torch.Tensor]":
        """The losses, the share of right answers of a single label, and the logits [B, L]."""
        from ptk.models import heads

        if not self.lm_weight:
            logits = heads.logits(model, batch).float()
            return self.of_labels(logits, batch["labels"]), logits
        logits, hidden = heads.logits_and_hidden(model, batch)
        parts = self.of_labels(logits.float(), batch["labels"])
        return parts | {"lm": self.of_next_tokens(model, hidden, batch)}, logits.float()

    def of_next_tokens(self, model: Any, hidden: "torch.Tensor", batch: Batch) -> Mean:
        """The cross entropy of every token but the first: their sum, or in paper the sum of the rows' means."""
        from torch.nn import functional as F

        logits = F.linear(hidden[:, :-1], model.get_input_embeddings().weight).float()
        real = batch["attention_mask"][:, 1:] if "attention_mask" in batch else batch["input_ids"].new_ones(1)
        each = F.cross_entropy(logits.transpose(1, 2), batch["input_ids"][:, 1:], reduction="none") * real
        if self.fidelity != "paper":
            return Mean(each.sum(), real.expand_as(each).sum())
        return Mean((each.sum(1) / real.expand_as(each).sum(1).clamp(min=1)).sum(), len(each))

    def of_labels(self, logits: "torch.Tensor", labels: "torch.Tensor") -> dict[str, Mean]:
        from torch.nn import functional as F

        known = self.known(labels)
        if self.problem == "single_label":
            total = F.cross_entropy(
                logits, labels, ignore_index=IGNORE, reduction="sum", label_smoothing=self.label_smoothing
            )
            right = ((logits.detach().argmax(-1) == labels) & known).sum()
            return {self.part: Mean(total, known.sum()), "accuracy": Mean(right, known.sum())}
        if self.problem == "multi_label":
            each = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).float(), reduction="none")
        else:
            each = F.mse_loss(logits.squeeze(-1), labels.nan_to_num(), reduction="none")
        return {self.part: Mean((each * known).sum(), known.sum())}

    def evaluate(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], dict[str, torch.Tensor]]":
        """``example``, ``predicted`` and ``gold`` [N], of several labels [N, L]; but of scores ``probability``, that of
        what is predicted (of several labels of each label)."""
        parts, logits = self.both(model, batch)
        return parts, {"example": batch["example"], **self.predictions(logits, batch["labels"])}

    def predictions(self, logits: "torch.Tensor", labels: "torch.Tensor") -> "dict[str, torch.Tensor]":
        if self.problem == "single_label":
            probability, predicted = logits.softmax(-1).max(-1)
            return {"predicted": predicted, "gold": labels, "probability": probability}
        if self.problem == "multi_label":
            return {"predicted": (logits > 0).long(), "gold": labels, "probability": logits.sigmoid()}
        low, high = self.score_range if self.scale == "unit" else (0.0, 1.0)
        return {"predicted": logits.squeeze(-1) * (high - low) + low, "gold": labels * (high - low) + low}

    def said(self, label: Any) -> str:
        """A label, labels or a score in words."""
        if self.problem == "regression":
            low, high = self.score_range if self.scale == "unit" else (0.0, 1.0)
            return "no score" if np.isnan(label) else f"{float(label) * (high - low) + low:.2f}"
        names = np.flatnonzero(np.asarray(label) > 0) if self.problem == "multi_label" else [int(label)]
        if np.min(label) < 0:
            return "no label"
        return ", ".join(self.labels[name] if name < len(self.labels) else str(name) for name in names) or "none"

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        headline = f"{len(example['input_ids'])} tokens: {self.said(example['labels'])}"
        return headline, shown(example, {}, tokenizer)

    def answer(self, model: "nn.Module", batch: Batch, tokenizer: "Tokenizer") -> str:
        from ptk.models import heads

        found = self.predictions(heads.logits(model, batch).float(), batch["labels"])
        right = self.said(batch["labels"][0].cpu().numpy())
        # What is predicted has the scale of the files already.
        value = found["predicted"][0].cpu().numpy()
        guess = f"{float(value):.2f}" if self.problem == "regression" else self.said(value)
        verdict = guess if guess == right else f"{guess}, not {right}"
        return f"{tokenizer.decode(batch['input_ids'][0].tolist())} [{verdict}]"

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        if fidelity != "paper":
            return []
        rules = ["FT-1: a fresh head is drawn from a truncated normal distribution"]
        rules += ["GPT1-1: the language model's loss is the mean over rows of their means"] * bool(self.lm_weight)
        return rules + ["ELE-12: the head is one layer over the first token"] * (model_type == "electra")


OBJECTIVE = SequenceClassification
