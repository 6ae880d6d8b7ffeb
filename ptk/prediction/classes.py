"""A label, labels or a score for a text, or for two.

a line                                  its answer
A, or A<TAB>B                           label<TAB>probability; or label,label; or a score
{"text": "A"}                           {"label": "...", "probability": 0.9, "probabilities": {"label": 0.9, ...}},
{"text": "A", "pair": "B"}              {"labels": ["...", ...], "probabilities": {...}}, or {"score": 3.2}

Of several labels those are said that are more probable than not; where none is, the line is empty. A model whose
configuration says how many texts it was fine-tuned on (``ptk_texts``) takes no other number, and with one a tab is a
blank like others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptk.models import heads
from ptk.prediction import asked

if TYPE_CHECKING:
    from torch import nn

    from ptk.objectives.objective import Batch
    from ptk.objectives.sequence_classification import SequenceClassification


@dataclass(frozen=True)
class Classes:
    objective: "SequenceClassification"
    number_of_texts: int | None = None
    """As a model's configuration says it; None where it does not."""

    @property
    def form(self) -> str:
        return '{"text": "..."}' if self.number_of_texts == 1 else '{"text": "...", "pair": "..."}'

    def of_line(self, line: str) -> dict[str, Any]:
        first, tab, second = line.partition("\t")
        return {"text": first, "pair": second} if tab and self.number_of_texts != 1 else {"text": line}

    def read(self, value: dict[str, Any]) -> tuple[str, ...]:
        """The one or two texts. Raises ValueError."""
        first = asked.text(value, "text", self.form)
        texts = (first, asked.text(value, "pair", self.form)) if value.get("pair") is not None else (first,)
        if self.number_of_texts not in (None, len(texts)):
            two = f"two: A<TAB>B, or {self.form}"
            wanted = f"one: {self.form}" if self.number_of_texts == 1 else two
            raise ValueError(f"{len(texts)} of text, and the model was fine-tuned on {wanted}")
        return texts

    def found(self, model: "nn.Module", batch: "Batch") -> Iterator[tuple[int, tuple[Any, Any]]]:
        """Of each example what is predicted, and the probability of each label (none of a score)."""
        logits = heads.logits(model, batch).float()
        said = self.objective.predictions(logits, batch["labels"])
        probability = (
            logits.softmax(-1) if self.objective.problem == "single_label" else said.get("probability", logits)
        )
        both = zip(said["predicted"].tolist(), probability.tolist(), strict=True)
        yield from zip(batch["example"].tolist(), both, strict=True)

    def plain(self, texts: tuple[str, ...], found: list[tuple[Any, Any]]) -> str:
        ((predicted, probability),) = found
        if self.objective.problem == "regression":
            return f"{predicted:.4f}"
        if self.objective.problem == "multi_label":
            return ",".join(self.names(predicted))
        return f"{self.objective.labels[predicted]}\t{probability[predicted]:.4f}"

    def full(self, value: dict[str, Any], texts: tuple[str, ...], found: list[tuple[Any, Any]]) -> dict[str, Any]:
        ((predicted, probability),) = found
        if self.objective.problem == "regression":
            return {"score": round(predicted, 6)}
        rounded = [round(share, 6) for share in probability]
        every = {"probabilities": dict(zip(self.objective.labels, rounded, strict=True))}
        if self.objective.problem == "multi_label":
            return {"labels": self.names(predicted), **every}
        return {"label": self.objective.labels[predicted], "probability": rounded[predicted], **every}

    def names(self, predicted: list[int]) -> list[str]:
        return [name for name, has in zip(self.objective.labels, predicted, strict=True) if has]
