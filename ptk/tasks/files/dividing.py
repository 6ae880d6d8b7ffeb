"""Which examples are trained on, and which are validated on where the task says no file for it."""

from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np

from ptk.tasks.examples import Examples, Questions


def held_out(examples: Examples, share: float) -> np.ndarray:
    """bool [N]: the examples with the smallest hashes, as many as come nearest to ``share``; what has one hash, equal
    texts, pairs with one first text or the questions of one article, stays together.

    At least one is held out and at least one is not, where not all are equal.
    """
    _, hashes = examples.divided_by
    different, counts = np.unique(hashes, return_counts=True)
    nearest = int(np.argmin(np.abs(np.cumsum(counts) - round(share * len(hashes)))))
    return hashes <= different[max(0, min(nearest, len(different) - 2))]


def drawn(examples: Examples, wanted: float, seed: int) -> np.ndarray:
    """bool [N]: so many examples, or below 1 that share of them; a smaller draw is part of a larger one.

    The first of each class come first, so that a small draw has all of them where that is possible.
    """
    count = min(len(examples), max(1, round(wanted * len(examples) if wanted < 1 else wanted)))
    order = np.random.default_rng(seed).permutation(len(examples))
    if examples.labels.dtype == np.int64 and examples.labels.ndim == 1 and not examples.tagging:
        _, first = np.unique(examples.labels[order], return_index=True)
        order = np.concatenate([order[np.sort(first)], np.delete(order, first)])
    chosen = np.zeros(len(examples), bool)
    chosen[order[:count]] = True
    return chosen


def part(examples: Examples, chosen: np.ndarray) -> Examples:
    """The chosen examples [N], in order."""
    of_label = np.repeat(chosen, [len(texts) for texts in examples.texts]) if examples.tagging else chosen
    kept: dict[str, Any] = {
        "texts": list(compress(examples.texts, chosen)),
        "labels": examples.labels[of_label],
        "lines": examples.lines[of_label],
    }
    if isinstance(examples, Questions):
        kept |= {key: tuple(compress(getattr(examples, key), chosen)) for key in ("ids", "answers", "articles")}
    return replace(examples, **kept)
