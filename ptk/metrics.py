"""Mean, and the metrics that are pure functions of sums and counts.

A mean travels as (total, count) until it is printed: averages of averages weigh long and short batches alike.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Mean(NamedTuple):
    """A sum over ``count`` things: losses in nats over tokens, hits over predictions.

    Both are numbers, or scalar tensors: in training ``total`` hangs on the graph.

    >>> (Mean(6.0, 2) + Mean(1.0, 8)).value
    0.7
    """

    total: Any
    count: Any

    @property
    def value(self) -> Any:
        """total / count, a tensor where either is one; nan where nothing was counted."""
        return self.total / self.count if self.count else math.nan

    def __add__(self, other: object) -> "Mean":
        """The mean over both: totals and counts added (a plain tuple would concatenate)."""
        if not isinstance(other, Mean):
            return NotImplemented
        return Mean(self.total + other.total, self.count + other.count)


def merge(parts: Iterable[Mapping[str, Mean]]) -> dict[str, Mean]:
    """Adds means by name. A part that lacks a name adds nothing to it; names keep their first order."""
    merged: dict[str, Mean] = {}
    for part in parts:
        for name, mean in part.items():
            merged[name] = merged[name] + mean if name in merged else mean
    return merged


def perplexity(mean: Mean) -> float:
    """Exp of a mean loss in nats: infinite where that is beyond a float, nan where nothing was counted."""
    try:
        return math.exp(mean.value)
    except OverflowError:
        return math.inf


def bits_per_byte(total_nats: float, byte_count: float) -> float:
    """Summed loss of a text, in bits, over the bytes of its UTF-8: comparable between tokenizers."""
    return total_nats / math.log(2) / byte_count if byte_count else math.nan


def auc(scores: ArrayLike, labels: ArrayLike) -> Mean:
    """Area under the ROC curve: of all pairs of a positive and a negative, those ranked right, a tie counting half.

    scores [N], larger for what looks positive; labels [N], true or 1 for positives.
    """
    scores, labels = np.asarray(scores), np.asarray(labels, dtype=np.float64)
    _, rank, tied = np.unique(scores, return_inverse=True, return_counts=True)
    positives = np.bincount(rank, weights=labels, minlength=len(tied))
    negatives = tied - positives
    below = np.cumsum(negatives) - negatives
    right = float((positives * (below + negatives / 2)).sum())
    return Mean(right, int(positives.sum()) * int(negatives.sum()))


def unigram_entropy(counts: ArrayLike) -> float:
    """Occurrences of each token [V] -> nats: the loss of a model that knows frequencies only."""
    shares = _shares(counts)
    shares = shares[shares > 0]
    return float((shares * np.log(1 / shares)).sum()) if shares.size else math.nan


def majority(counts: ArrayLike) -> float:
    """Examples of each label [L] -> the accuracy of always giving the most frequent one."""
    return float(_shares(counts).max(initial=-math.inf)) if np.any(counts) else math.nan


def _shares(counts: ArrayLike) -> np.ndarray:
    counts = np.asarray(counts, dtype=np.float64)
    return counts / counts.sum() if counts.any() else counts[:0]
