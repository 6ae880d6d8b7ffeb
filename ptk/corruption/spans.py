"""Span corruption of one row of ids: how long rows may be, which tokens are noise, what is read and what is written.

T5 (arXiv 1910.10683, section 3.1.4) as its code does it: T5-2 to T5-4, T5-10.
"""

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Lengths(NamedTuple):
    """Tokens of one row: uncorrupted, read by the encoder, written by the decoder; the last two with end-of-text."""

    row: int
    inputs: int
    targets: int


def counts(length: int, density: float, mean_span: float) -> tuple[int, int]:
    """Noise tokens and spans of noise in a row of ``length``: 85 and 28 of 568 (T5-3). Rounding is half to even.

    At least one token and one span, never the whole row, and a token that is not noise before each span.
    """
    length = max(length, 2)
    noise = min(max(round(length * density), 1), length - 1)
    return noise, min(max(round(noise / mean_span), 1), length - noise)


def solve(inputs: int, density: float, mean_span: float, more_spans: int = 0) -> Lengths:
    """The longest row whose corrupted form has at most ``inputs`` tokens (T5-2).

    >>> solve(512, 0.15, 3.0)
    Lengths(row=568, inputs=512, targets=114)

    ``more_spans``: spans that a row may have beside the usual number.
    """

    def corrupted(row: int) -> Lengths:
        noise = max(round(row * density), 1)
        spans = max(round(noise / mean_span), 1) + more_spans  # below 12 tokens the original forgets the one
        return Lengths(row, row - noise + spans + 1, noise + spans + 1)

    row = inputs - 1
    while corrupted(row + 1).inputs <= inputs:
        row += 1
    found = corrupted(row)
    if density == 0.5 and found.targets > found.inputs:
        found = Lengths(found.row - 1, found.inputs, found.targets - 1)
    return found


def noise_mask(length: int, density: float, mean_span: float, rng: np.random.Generator, roll: bool = False) -> Array:
    """Which tokens are noise, bool [length]: a constant number of tokens in a constant number of spans (T5-3).

    Noise and the rest are each cut into as many parts, uniformly at random, and take turns, the rest first: the first
    token is never noise, the last always is. ``roll`` turns the row by a random number of tokens, so that every
    position is noise as often; a span that comes to lie over the edge is two.
    """
    noise, spans = counts(length, density, mean_span)
    parts = np.empty(2 * spans, np.int64)
    parts[0::2] = partition(max(length, 2) - noise, spans, rng)
    parts[1::2] = partition(noise, spans, rng)
    mask = np.repeat(np.arange(2 * spans) % 2 == 1, parts)[:length]
    return np.roll(mask, rng.integers(length)) if roll else mask


def partition(total: int, parts: int, rng: np.random.Generator) -> Array:
    """``total`` as a sum of ``parts`` numbers of at least 1, each way as probable as any other, [parts]."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def iid_mask(length: int, density: float, most_spans: int, rng: np.random.Generator) -> Array:
    """Each token is noise with probability ``density`` (T5-10), given that 1 to ``most_spans`` spans come out."""
    while True:
        mask = rng.random(length) < density
        if 1 <= len(span_starts(mask)) <= most_spans:
            return mask


def span_starts(mask: Array) -> Array:
    """Positions where a run of True begins."""
    return np.flatnonzero(mask & ~np.concatenate([[False], mask[:-1]]))


def without(ids: Array, mask: Array, sentinels: Array) -> Array:
    """``ids`` [T] with each run of ``mask`` replaced by one sentinel, in their order (T5-4).

    Raises ValueError when there are more runs than sentinels.
    """
    starts = span_starts(mask)
    if len(starts) > len(sentinels):
        raise ValueError(f"{len(starts)} spans, but only {len(sentinels)} sentinels")
    result = ids.copy()
    result[starts] = sentinels[: len(starts)]
    kept = ~mask
    kept[starts] = True
    return result[kept]


def only(ids: Array, mask: Array, sentinels: Array) -> Array:
    """Each run of ``mask`` behind its sentinel; no sentinel closes the last one (T5-4)."""
    starts = span_starts(mask)
    marked = np.insert(ids, starts, sentinels[: len(starts)])
    return marked[np.insert(mask, starts, True)]
