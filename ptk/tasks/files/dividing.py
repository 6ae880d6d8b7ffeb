"""Which examples are trained on, and which are validated on where the task says no file for it."""

import numpy as np

from ptk.tasks.examples import Examples


def held_out(examples: Examples, share: float) -> np.ndarray:
    """bool [N]: about ``share`` of the examples, those whose texts have the smallest hashes; equal texts stay together.

    At least one is held out and at least one is not, where not all texts are equal.
    """
    hashes = examples.hashes
    different = np.unique(hashes)
    wanted = round(share * len(hashes))
    limit = np.sort(hashes)[min(max(wanted, 1), len(hashes)) - 1]
    return hashes <= (different[-2] if limit == different[-1] and len(different) > 1 else limit)


def drawn(examples: Examples, wanted: float, seed: int) -> np.ndarray:
    """bool [N]: so many examples, or below 1 that share of them; a smaller draw is part of a larger one.

    The first of each class come first, so that a small draw has all of them where that is possible.
    """
    count = min(len(examples), max(1, round(wanted * len(examples) if wanted < 1 else wanted)))
    order = np.random.default_rng(seed).permutation(len(examples))
    if examples.labels.dtype == np.int64 and not examples.tagging:
        _, first = np.unique(examples.labels[order], return_index=True)
        order = np.concatenate([order[np.sort(first)], np.delete(order, first)])
    chosen = np.zeros(len(examples), bool)
    chosen[order[:count]] = True
    return chosen


def part(examples: Examples, chosen: np.ndarray) -> Examples:
    """The chosen examples [N], in order."""
    of_label = np.repeat(chosen, [len(texts) for texts in examples.texts]) if examples.tagging else chosen
    return Examples(
        [texts for texts, keep in zip(examples.texts, chosen.tolist(), strict=True) if keep],
        examples.labels[of_label],
        examples.names,
        examples.path,
        examples.lines[of_label],
        examples.characters,
        examples.tagging,
    )
