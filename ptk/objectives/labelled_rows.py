"""What the objectives share whose rows are labelled examples: a document is an example, its sentences its texts.

A row holds its texts cut to ``train.length`` tokens; ``encode``, which knows what stands around them, cuts what is
still too long.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ptk.metrics import Mean
from ptk.objectives.objective import Objective
from ptk.recipe import Positive

if TYPE_CHECKING:
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class LabelledRows(Objective):
    """The keys that every head's ``objective:`` section has."""

    labels: tuple[str, ...] = ()
    """The labels by id; those of the task when left out."""
    metrics: tuple[str, ...] = ()
    """Names of ptk/tasks/scores.py; ``score`` is their mean."""
    positive: str | None = None
    """The label that the metric ``f1`` is of; the task's, else the one with id 1."""
    length: Positive | None = None
    """Most tokens of an example, specials included; ``train.length`` when left out."""
    fidelity: Literal["fixed", "paper"] | None = None

    part: ClassVar[str]  # the name of the loss
    around: ClassVar[Literal["head"]] = "head"
    rows_change: ClassVar[bool] = False
    leaves_out: ClassVar[str] = "examples"
    """Of those that ``cut`` counts."""

    @property
    def weights(self) -> Mapping[str, float]:  # type: ignore[override]
        return {self.part: 1.0}

    def at(self, length: int, progress: float) -> "LabelledRows":
        """With the length of the rows, which ``encode`` has to know."""
        return self if self.length else replace(self, length=length)

    def epoch(self, examples: int, rows: int) -> float:
        """Share of its rows that an epoch is."""
        return 1.0

    def kept(self, model: "nn.Module") -> list[str]:
        """What was done with the head and the weights of ``init``."""
        from ptk.models import heads

        return heads.told(model)

    @abstractmethod
    def cut(self, documents: "Documents", tokenizer: "Tokenizer", length: int) -> int:
        """How many examples are longer than ``length`` with what stands around them: they lose their end."""

    def too_long(self, length: int) -> str:
        """What is said of the examples that ``cut`` counts."""
        return f"are longer than a row ({length} tokens)"

    @property
    @abstractmethod
    def scored_by(self) -> tuple[str, ...]:
        """``metrics``, or what is usual where none are named."""

    def score(self, predictions: Mapping[str, np.ndarray]) -> dict[str, Mean]:
        """Each metric, and ``score``, their mean; nothing where there is no gold."""
        from ptk.tasks.scores import scored

        found = self.with_gold(predictions)
        if not found or not len(found["gold"]):
            return {}
        if np.isfinite(found["predicted"]).all():
            sentences = found.get("sentences")
            values = scored(self.scored_by, found["predicted"], found["gold"], self.labels, sentences, self.positive)
        else:  # the run will say that it diverged
            values = dict.fromkeys(self.scored_by, math.nan)
        mean = float(np.mean([values[metric] for metric in self.scored_by]))
        return {**{name: Mean(value, 1) for name, value in values.items()}, "score": Mean(mean, 1)}

    def with_gold(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of the arrays of ``evaluate`` those of what has a label, in the order of the examples."""
        if not predictions:
            return {}
        gold = predictions["gold"]
        labelled = has_label(gold)
        order = np.flatnonzero(labelled)
        order = order[np.argsort(predictions["example"][order], kind="stable")]
        return {"predicted": predictions["predicted"][order], "gold": gold[order]}

    def rank(self, line: Mapping[str, Any]) -> float:
        """A better score is a better validation, whatever the loss."""
        return -line["score"] if "score" in line else line["loss"]


def has_label(gold: np.ndarray) -> np.ndarray:
    """bool [N] of gold [N] or [N, L]: IGNORE and nan are no label."""
    known = ~np.isnan(gold) if gold.dtype.kind == "f" else gold >= 0
    return np.asarray(np.reshape(known, (len(gold), -1)).all(axis=1))


def texts_of(documents: "Documents", block: range) -> tuple[np.ndarray, np.ndarray]:
    """Of the examples of a block: bounds of each one's texts [E + 1], and where each text is in the store [S, 2]."""
    first, stop = documents.first[block.start : block.stop], documents.stop[block.start : block.stop]
    offsets = np.concatenate([[0], np.cumsum(stop - first)])
    text = np.repeat(first - offsets[:-1], stop - first) + np.arange(offsets[-1])
    sentences = documents.store.sentences
    return offsets, np.stack([sentences[text], sentences[text + 1]], axis=1)


def shortened(first: Any, second: Any, most: Any) -> tuple[Any, Any]:
    """Lengths of two texts, cut to ``most`` together: tokens go one by one from the longer, of equals from the second
    (NSP-9's fine-tuning rule). Numbers or arrays of them.

    >>> shortened(10, 6, 9)
    (5, 4)
    """
    excess = np.maximum(first + second - most, 0)
    of_first, of_second = (
        np.minimum(excess, np.maximum(mine - other, 0)) for mine, other in ((first, second), (second, first))
    )
    rest = excess - of_first - of_second
    return first - of_first - rest // 2, second - of_second - (rest + 1) // 2


def fitted(texts: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """One text cut to ``most`` tokens, or two cut to so many together."""
    if len(texts) == 1:
        return [texts[0][:most]]
    first, second = texts
    sizes = shortened(len(first), len(second), most)
    return [first[: sizes[0]], second[: sizes[1]]]


def laid_out(texts: Sequence[np.ndarray], tokenizer: "Tokenizer", length: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Ids and token types [T] of one or two texts with what stands around them, cut to ``length`` tokens in all."""
    frame = tokenizer.single if len(texts) == 1 else tokenizer.pair
    return frame.around(texts if length is None else fitted(texts, max(0, length - frame.size)))
