"""Masked language modelling on one row of ids: which positions, and what stands there instead (MLM-1 to MLM-5)."""

import numpy as np

Array = np.ndarray


def mask_count(length: int, rate: float, cap: int | None = None) -> int:
    """Positions to predict in a row of ``length`` tokens, specials included: 19 at 128, 77 at 512 (MLM-2)."""
    count = max(1, round(length * rate))
    return count if cap is None else min(cap, count)


def choose_tokens(candidates: Array, count: int, rng: np.random.Generator) -> Array:
    """``count`` of the ``candidates`` (positions), without replacement, sorted (MLM-1, MLM-5)."""
    return np.sort(rng.permutation(candidates)[:count])


def choose_words(candidates: Array, starts: Array, count: int, rng: np.random.Generator) -> Array:
    """Whole words until ``count`` positions; a word that would overshoot is left out (MLM-3).

    ``starts`` [C] tells which candidates begin a word; the first always does.
    """
    groups = np.flatnonzero(starts | (np.arange(len(candidates)) == 0))
    sizes = np.diff(np.append(groups, len(candidates)))
    chosen: list[Array] = []
    left = count
    for word in rng.permutation(len(groups)):
        if sizes[word] <= left:
            chosen.append(candidates[groups[word] : groups[word] + sizes[word]])
            left -= int(sizes[word])
            if left == 0:
                break
    return np.sort(np.concatenate(chosen)) if chosen else candidates[:0]


def corrupt(
    ids: Array,
    positions: Array,
    mask_id: int,
    vocab_size: int,
    rng: np.random.Generator,
    masked: float = 0.8,
    random: float = 0.1,
) -> Array:
    """A copy of ``ids`` [T] with [MASK], a random entry or the original at each position, drawn per token (MLM-4).

    The random entry is uniform over the whole vocabulary and may be the original.
    """
    draw = rng.random(len(positions))
    replacement = np.where(draw < masked, mask_id, ids[positions])
    is_random = (draw >= masked) & (draw < masked + random)
    replacement[is_random] = rng.integers(vocab_size, size=int(is_random.sum()))
    corrupted = ids.copy()
    corrupted[positions] = replacement
    return corrupted
