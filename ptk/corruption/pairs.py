"""Rows of two segments: next sentence (BERT) and sentence order (ALBERT).

A document is the list of its sentences' boundaries, ``[s0, s1, ..., sn]``: token offsets into the store, so
sentences ``i`` to ``j`` are the tokens ``[s_i, s_j)``. A row is ``(a, a_stop, b, b_stop, label)``, also offsets;
``label`` is 0 for "is next" or "in order", 1 for "random" or "swapped" (NSP-10, ALB-1).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

Boundaries = Sequence[int] | np.ndarray
Fidelity = Literal["fixed", "paper"]
SHORT = 0.1  # share of documents whose rows aim at a shorter length (NSP-2)


class Pair(NamedTuple):
    a: int
    a_stop: int
    b: int
    b_stop: int
    label: int


def below(rng: np.random.Generator, n: int) -> int:
    """A uniform integer in [0, n); several times cheaper than ``rng.integers``."""
    return int(rng.random() * n)


def target_length(budget: int, rng: np.random.Generator, short: float = SHORT) -> int:
    """Tokens that the rows of one document aim at: drawn once per document, not per row (NSP-2)."""
    return 2 + below(rng, budget - 1) if rng.random() < short else budget


def truncated(a: int, b: int, budget: int) -> tuple[int, int]:
    """How many tokens to take off A and B so that both fit: always from the longer, on a tie from B (NSP-9)."""
    excess = a + b - budget
    if excess <= 0:
        return 0, 0
    from_longer = min(excess, abs(a - b))
    rest = excess - from_longer
    half, other = rest // 2, rest - rest // 2
    return (from_longer + half, other) if a > b else (half, from_longer + other)


def trim(start: int, stop: int, remove: int, rng: np.random.Generator) -> tuple[int, int]:
    """Take ``remove`` tokens off a span, each from the front or the back with equal chance (NSP-9)."""
    if remove == 0:
        return start, stop
    front = int(rng.binomial(remove, 0.5))
    return start + front, stop - (remove - front)


def fit(a: int, a_stop: int, b: int, b_stop: int, label: int, budget: int, rng: np.random.Generator) -> Pair:
    off_a, off_b = truncated(a_stop - a, b_stop - b, budget)
    return Pair(*trim(a, a_stop, off_a, rng), *trim(b, b_stop, off_b, rng), label)


def chunk_end(document: Boundaries, first: int, target: int, least: int) -> int:
    """The sentence after the chunk that starts at ``first``: filled until it reaches ``target`` tokens or the
    document ends (NSP-3), with at least ``least`` sentences where there are that many."""
    last = len(document) - 1
    enough = document[first] + target
    end = min(first + least, last)
    while end < last and document[end] < enough:
        end += 1
    return end


def random_span(document: Boundaries, wanted: int, rng: np.random.Generator) -> tuple[int, int]:
    """Whole sentences from a uniform start until ``wanted`` tokens; at least one, however little is wanted (NSP-7)."""
    first = below(rng, len(document) - 1)
    end = chunk_end(document, first, wanted, 1)
    return document[first], document[end]


def next_sentence_pairs(
    documents: Iterable[tuple[int, Boundaries]],
    draw: Callable[[int, np.random.Generator], Boundaries],
    budget: int,
    rng: np.random.Generator,
    fidelity: Fidelity = "fixed",
    short: float = SHORT,
) -> tuple[list[Pair], int]:
    """Next-sentence rows of a block of ``(number, document)`` (NSP-2 to NSP-9).

    ``draw(number, rng)`` gives the document that a random B comes from. ``budget`` is the row's length less its
    three special tokens. In ``fixed``, a chunk of one sentence is merged with what follows; at a document's end
    it becomes a random pair, and the next free choice a true one, so that labels are balanced (NSP-5).
    Also returns how many chunks were left out, because no true pair was there to balance them.
    """
    rows: list[Pair] = []
    alone: list[Pair] = []  # random pairs that no true pair balances yet
    for number, document in documents:
        target = target_length(budget, rng, short)
        first, last = 0, len(document) - 1
        while first < last:
            end = chunk_end(document, first, target, 1 if fidelity == "paper" else 2)
            sentences = end - first
            cut = first + 1 if sentences < 2 else first + 1 + below(rng, sentences - 1)  # NSP-4
            owed = sentences >= 2 and bool(alone)
            is_random = sentences < 2 or (not owed and rng.random() < 0.5)
            a, a_stop = document[first], document[cut]
            if not is_random:
                rows.append(fit(a, a_stop, a_stop, document[end], 0, budget, rng))
                if owed:
                    rows.append(alone.pop())
                first = end
                continue
            span = random_span(draw(number, rng), target - (a_stop - a), rng)
            pair = fit(a, a_stop, *span, 1, budget, rng)
            (alone if sentences < 2 and fidelity == "fixed" else rows).append(pair)
            first = cut  # sentences that were not used are put back (NSP-8)
    return rows, len(alone)


def sentence_order_pairs(
    documents: Iterable[tuple[int, Boundaries]],
    draw: Callable[[int, np.random.Generator], Boundaries],
    budget: int,
    rng: np.random.Generator,
    fidelity: Fidelity = "fixed",
    short: float = SHORT,
) -> tuple[list[Pair], int]:
    """Sentence-order rows (ALB-1): the halves of a chunk, swapped with probability 0.5.

    A chunk of one sentence at a document's end has no order: ``fixed`` leaves it out, ``paper`` gives it a random
    second segment and label 1, as the original does. Also returns how many were left out.
    """
    rows: list[Pair] = []
    left_out = 0
    for number, document in documents:
        target = target_length(budget, rng, short)
        first, last = 0, len(document) - 1
        while first < last:
            end = chunk_end(document, first, target, 1 if fidelity == "paper" else 2)
            if end - first < 2:
                left_out += fidelity == "fixed"
                if fidelity == "paper":
                    a, a_stop = document[first], document[end]
                    span = random_span(draw(number, rng), target - (a_stop - a), rng)
                    rows.append(fit(a, a_stop, *span, 1, budget, rng))
            else:
                cut = first + 1 + below(rng, end - first - 1)
                halves = (document[first], document[cut]), (document[cut], document[end])
                swapped = int(rng.random() < 0.5)
                rows.append(fit(*halves[swapped], *halves[1 - swapped], swapped, budget, rng))
            first = end
    return rows, left_out
