"""Rows of what follows in a text, without a label: whole sentences of one document or of many (RoBERTa), and ELECTRA's
two segments.

A document is the list of its sentences' boundaries, as in ``pairs.py``.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from ptk.corruption.pairs import SHORT, Boundaries, Fidelity, Pair, below, chunk_end, target_length


def single_segments(
    documents: Iterable[tuple[int, Boundaries]], budget: int, rng: np.random.Generator, short: float = SHORT
) -> tuple[list[Pair], int]:
    """Rows of one segment: whole sentences of one document up to ``budget``; a longer sentence is cut into rows."""
    rows: list[Pair] = []
    for _, document in documents:
        target = target_length(budget, rng, short)
        start, end = document[0], 0
        last = len(document) - 1
        while start < document[last]:
            while end < last and document[end + 1] - start <= target:
                end += 1
            stop = document[end] if document[end] > start else start + target
            rows.append(Pair(start, stop, stop, stop, 0))
            start = stop
    return rows, 0


def full_sentences(
    documents: Iterable[Boundaries], budget: int, rng: np.random.Generator, short: float = SHORT
) -> list[list[tuple[int, int]]]:
    """Rows of whole sentences in a row, across the ends of documents (RoBERTa, arXiv 1907.11692, FULL-SENTENCES).

    Each row is a list of spans, one of each document; every span but the first costs a separator. A share of ``short``
    of the rows aims at a random, shorter length. Only a sentence longer than its row is cut.
    """
    rows: list[list[tuple[int, int]]] = []
    row: list[tuple[int, int]] = []
    room = target_length(budget, rng, short)
    for document in documents:
        start, end, last = int(document[0]), 0, len(document) - 1
        while start < document[last]:
            while end < last and document[end + 1] - start <= room:
                end += 1
            fits = document[end] > start
            if fits or not row:
                stop = int(document[end]) if fits else start + room
                row.append((start, stop))
                room -= stop - start + 1
                start = stop
            if not fits or start < document[last]:  # the row is full
                rows.append(row)
                row, room = [], target_length(budget, rng, short)
    return [*rows, row] if row else rows


def joins_first(
    sizes: Sequence[int], target: int, rng: np.random.Generator, single: float, fidelity: Fidelity
) -> list[bool]:
    """Which sentences of ELECTRA's rows go to the first segment (ELE-1); ``sizes`` in tokens.

    The first one; one that leaves the segment below half the row; half of those that would not, once. A share of
    ``single`` of the rows has one segment. In ``paper``, a short sentence may join it behind one that did not.
    """
    half = math.inf if rng.random() < single else (target - 3) // 2
    joined: list[bool] = []
    size = 0
    for tokens in sizes:
        begun = False in joined
        joins = not size or size + tokens < half or (not begun and size < half and rng.random() < 0.5)
        joined.append(bool(joins) and not (begun and fidelity == "fixed"))
        size += tokens * joined[-1]
    return joined


def following_segments(
    documents: Iterable[Boundaries],
    length: int,
    rng: np.random.Generator,
    fidelity: Fidelity = "fixed",
    short: float = 0.05,
    single: float = 0.1,
) -> tuple[list[list[tuple[int, int, int]]], int]:
    """ELECTRA's rows (ELE-1): what follows in a text, in one or two segments, without a label.

    Each row is a list of spans (start, stop, segment) of at most ``length`` tokens with their special ones. ``fixed``
    fills rows and goes on where one ended; ``paper`` throws away what its last sentence has too much. Also returns how
    many rows have lost their ends so.
    """
    rows: list[list[tuple[int, int, int]]] = []
    cut_off = 0
    target = length
    for document in documents:
        start, last = int(document[0]), len(document) - 1
        first = 0
        while start < document[last]:
            if fidelity == "paper":
                end = chunk_end(document, first, target, 1)
                stop = int(document[end])
            else:
                stop = min(start + target - 3, int(document[last]))
                end = int(np.searchsorted(document, stop))
            edges = [start, *map(int, document[first + 1 : end]), stop]
            sizes = [b - a for a, b in pairwise(edges)]
            row = laid_out(edges, joins_first(sizes, target, rng, single, fidelity), length)
            cut_off += sum(b - a for a, b, _ in row) < stop - start
            rows.append(row)
            start = stop
            first = end if stop == document[end] else end - 1
            target = 5 + below(rng, length - 4) if rng.random() < short else length
    return rows, cut_off


def laid_out(edges: Sequence[int], joined: Sequence[bool], length: int) -> list[tuple[int, int, int]]:
    """Spans (start, stop, segment): the first segment cut to ``length`` - 2, the second to what is left (ELE-1)."""
    spans: list[tuple[int, int, int]] = []
    room = length - 2
    for segment in (0, 1):
        for (start, stop), is_first in zip(pairwise(edges), joined, strict=True):
            stop = min(stop, start + room)
            if is_first == (segment == 0) and stop > start:
                room -= stop - start
                if spans and spans[-1][1:] == (start, segment):
                    start = spans.pop()[0]
                spans.append((start, stop, segment))
        room -= 1  # the second [SEP]
    return spans
