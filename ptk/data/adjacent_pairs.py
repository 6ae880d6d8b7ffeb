"""Which two ids stand next to each other most often, while they are joined to new ones: the bookkeeping of byte-pair
encoding (Sennrich et al., arXiv 1508.07909), which touches only what a join has changed.
"""

import heapq
from collections import Counter, defaultdict
from itertools import pairwise

from ptk.data.tokenizer_training import MIN_COUNT

Pair = tuple[int, int]


class Pairs:
    """Pairs of adjacent ids in many stretches: how often each occurs, and where.

    ``heap`` may hold counts that are too high by now: ``pop`` puts those right. Ties go to the smaller ids.
    """

    def __init__(self, stretches: list[list[int]], counts: list[int]) -> None:
        """``stretches`` are changed in place; ``counts`` say how often each occurs."""
        self.stretches, self.counts = stretches, counts
        self.seen: Counter[Pair] = Counter()
        self.where: defaultdict[Pair, list[int]] = defaultdict(list)
        for number, ids in enumerate(stretches):
            for pair in pairwise(ids):
                self.seen[pair] += counts[number]
                self.where[pair].append(number)
        self.heap = [(-count, pair) for pair, count in self.seen.items() if count >= MIN_COUNT]
        heapq.heapify(self.heap)

    def pop(self) -> tuple[Pair, int] | None:
        """Take out the most frequent pair, with its count; None when none occurs MIN_COUNT times."""
        while self.heap:
            promised, pair = heapq.heappop(self.heap)
            count = self.seen[pair]
            if count == -promised:
                return pair, count
            if MIN_COUNT <= count < -promised:
                heapq.heappush(self.heap, (-count, pair))
        return None

    def join(self, pair: Pair, new: int) -> None:
        """Put ``new`` wherever the pair stands, from left to right."""
        change: Counter[Pair] = Counter()
        for number in self.where.pop(pair):  # some twice
            self._join_in(number, pair, new, change)
        for changed, by in change.items():
            self.seen[changed] += by
            if by > 0 and self.seen[changed] >= MIN_COUNT:
                heapq.heappush(self.heap, (-self.seen[changed], changed))
        del self.seen[pair]

    def _join_in(self, number: int, pair: Pair, new: int, change: Counter[Pair]) -> None:
        ids, count = self.stretches[number], self.counts[number]
        at = 0
        while at < len(ids) - 1:
            if (ids[at], ids[at + 1]) == pair:
                ids[at : at + 2] = [new]
                neighbours = [((left, pair[0]), (left, new)) for left in ids[max(0, at - 1) : at]]
                neighbours += [((pair[1], right), (new, right)) for right in ids[at + 1 : at + 2]]
                for before, after in neighbours:
                    change[before] -= count
                    change[after] += count
                    self.where[after].append(number)
            at += 1
