"""Masked language modelling on one row of ids: which positions, and what stands there instead (MLM-1 to MLM-5)."""

from bisect import bisect_right

import numpy as np

Array = np.ndarray
NGRAMS = 1 / np.arange(1, 4)  # weights of runs of 1, 2, 3 words: 6/11, 3/11, 2/11 (ALB-2)
SPANS = 0.2 * 0.8 ** np.arange(10)  # geometric, cut at ten words: 3.8 on average (SpanBERT, arXiv 1907.10529)


def mask_count(length: int, rate: float, cap: int | None = None, rounding: float | None = None) -> int:
    """Positions to predict in a row of ``length`` tokens, specials included: 19 at 128, 77 at 512 (MLM-2).

    ``rounding``: a uniform number, with which the count is right on average instead of to the nearest (ROB-1).
    """
    wanted = length * rate
    count = max(1, round(wanted) if rounding is None else int(wanted + rounding))
    return count if cap is None else min(cap, count)


def most_positions(length: int, rate: float) -> int:
    """Positions that ELECTRA has room for in a row of ``length``: 19 at 128, 79 at 512, 130 if a quarter (ELE-2)."""
    return max(1, int((rate + 0.005) * length))


def choose_tokens(candidates: Array, count: int, rng: np.random.Generator) -> Array:
    """``count`` of the ``candidates`` (positions), without replacement, sorted (MLM-1, MLM-5)."""
    return np.sort(rng.permutation(candidates)[:count])


def choose_words(candidates: Array, starts: Array, count: int, rng: np.random.Generator) -> Array:
    """Whole words until ``count`` positions; a word that would overshoot is left out (MLM-3).

    ``starts`` [C] tells which candidates begin a word; the first always does.
    """
    groups = np.flatnonzero(starts | (np.arange(len(candidates)) == 0))
    sizes = np.diff(np.append(groups, len(candidates)))
    own, taken = sizes.tolist(), bytearray(len(groups))
    left = count
    for word in rng.permutation(len(groups)).tolist():
        if own[word] <= left:
            taken[word] = 1
            left -= own[word]
            if left == 0:
                break
    return candidates[np.repeat(np.frombuffer(taken, bool), sizes)]


def choose_runs(candidates: Array, starts: Array, count: int, rng: np.random.Generator, weights: Array) -> Array:
    """Runs of whole words until ``count`` positions; ``weights`` [N] are those of 1, 2 ... N words (ALB-2).

    First words are tried in random order. A run that would overshoot is made shorter, by whole words; one that meets
    a chosen word is left out. Special tokens are no candidates, so a run may lie on both sides of one.
    """
    groups = np.flatnonzero(starts | (np.arange(len(candidates)) == 0))
    edges, cumulative = [*groups.tolist(), len(candidates)], np.cumsum(weights).tolist()
    taken = bytearray(len(groups))
    left = count
    for first, draw in zip(rng.permutation(len(groups)).tolist(), rng.random(len(groups)).tolist(), strict=True):
        if left == 0:
            break
        most = min(len(weights), len(groups) - first)
        words = 1 + bisect_right(cumulative, draw * cumulative[most - 1], 0, most - 1)
        while words and edges[first + words] - edges[first] > left:
            words -= 1
        if not any(taken[first : first + words]):
            taken[first : first + words] = bytes([1]) * words
            left -= edges[first + words] - edges[first]
    return candidates[np.repeat(np.frombuffer(taken, bool), np.diff(edges))]


def corrupt(
    ids: Array,
    positions: Array,
    mask_id: int,
    entries: Array | int,
    rng: np.random.Generator,
    masked: float = 0.8,
    random: float = 0.1,
) -> Array:
    """A copy of ``ids`` [T] with [MASK], a random entry or the original at each position, drawn per token (MLM-4).

    The random entry is uniform over ``entries``, or that many, and may be the original.
    """
    draw = rng.random(len(positions))
    replacement = np.where(draw < masked, mask_id, ids[positions])
    is_random = (draw >= masked) & (draw < masked + random)
    number = np.count_nonzero(is_random)
    drawn = rng.integers(entries if isinstance(entries, int) else len(entries), size=number)
    replacement[is_random] = drawn if isinstance(entries, int) else entries[drawn]
    corrupted = ids.copy()
    corrupted[positions] = replacement
    return corrupted
