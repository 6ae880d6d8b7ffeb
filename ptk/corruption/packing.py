"""Documents of different lengths into rows of one length: from a stream, packed whole, or one by one (LM-1 to LM-3).

A cut is (document, start, stop, row): the positions [start, stop) of a document, in the row that it goes to.
Positions are virtual: where a separator stands before each document, it is position 0 and token n position n + 1.
Every position of every document is in exactly one cut.
"""

import numpy as np

Array = np.ndarray


def stream(sizes: Array, length: int, rng: np.random.Generator) -> Array:
    """Rows cut from all documents end to end, whole rows but for the last, [C, 4].

    The documents [D] are shuffled, and the stream, a ring, is cut from a random position on: another epoch has other
    neighbours and other cuts.
    """
    order = rng.permutation(len(sizes))
    edges = np.concatenate([[0], np.cumsum(sizes[order])])
    total = int(edges[-1])
    if not total:
        return np.zeros((0, 4), np.int64)
    first = int(rng.integers(min(length, total)))
    rows = np.append(np.arange(first, first + total, length), first + total)
    inside = np.concatenate([edges, edges[edges <= first] + total])
    cuts = np.union1d(rows, inside[(inside >= first) & (inside <= first + total)])
    start, stop = cuts[:-1], cuts[1:]
    where = np.searchsorted(edges, start % total, side="right") - 1
    begins = start % total - edges[where]
    row = np.searchsorted(rows, start, side="right") - 1
    return np.stack([order[where], begins, begins + stop - start, row], axis=1)


def pieces(sizes: Array, length: int, rng: np.random.Generator) -> Array:
    """Every document by itself, one longer than a row cut from a random position on, [C, 4]: a row each."""
    first = np.where(sizes > length, rng.integers(1, length + 1, size=len(sizes)), sizes)
    number = np.where(sizes > length, 1 + -(-(sizes - first) // length), 1)
    document = np.repeat(np.arange(len(sizes)), number)
    nth = np.arange(len(document)) - np.repeat(np.cumsum(number) - number, number)
    start = np.where(nth > 0, first[document] + (nth - 1) * length, 0)
    stop = np.minimum(np.where(nth > 0, start + length, first[document]), sizes[document])
    kept = stop > start
    return np.stack([document, start, stop, np.cumsum(kept) - 1], axis=1)[kept]


def best_fit(sizes: Array, length: int, rng: np.random.Generator) -> Array:
    """Documents packed whole into rows, the longest first, each where it leaves the least room, [C, 4] by row.

    Best-fit-decreasing bin packing (arXiv 2404.10830): nothing is thrown away, and only documents longer than a row
    are cut. Ties are broken at random, so another epoch packs other neighbours together.
    """
    cuts = pieces(sizes, length, rng)
    cuts = cuts[rng.permutation(len(cuts))]
    cuts = cuts[np.argsort(cuts[:, 1] - cuts[:, 2], kind="stable")]
    cuts[:, 3] = bins((cuts[:, 2] - cuts[:, 1]).tolist(), length)
    return cuts[np.argsort(cuts[:, 3], kind="stable")]


def bins(sizes: list[int], capacity: int) -> list[int]:
    """The bin of each of ``sizes``, in their order: the fullest that has room, else a new one.

    Bins are kept by the room they have left; an integer has a bit set for each room that some bin has.
    """
    having: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0
    chosen = []
    opened = 0
    for size in sizes:
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            bin_ = having[room].pop()
            rooms ^= (not having[room]) << room
        else:
            room, bin_, opened = capacity, opened, opened + 1
        chosen.append(bin_)
        left = room - size
        having[left].append(bin_)
        rooms |= 1 << left
    return chosen
