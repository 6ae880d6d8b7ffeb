"""Pairs of adjacent ids while they are joined: by hand, and against counting them anew after every join."""

from collections import Counter
from itertools import pairwise

import numpy as np

from ptk.data.adjacent_pairs import Pairs


def test_the_most_frequent_pair_is_joined_first():
    stretches = [[1, 2, 3], [1, 2], [4, 3, 1]]
    pairs = Pairs(stretches, [3, 2, 1])
    assert pairs.pop() == ((1, 2), 5)
    pairs.join((1, 2), 9)
    assert stretches == [[9, 3], [9], [4, 3, 1]]
    assert pairs.pop() == ((9, 3), 3)
    pairs.join((9, 3), 10)
    assert pairs.pop() is None  # 4 3 and 3 1 were seen once


def test_ties_go_to_the_smaller_ids_and_runs_are_joined_from_the_left():
    pairs = Pairs([[5, 6], [2, 8], [2, 7]], [2, 2, 2])
    assert [pairs.pop() for _ in range(4)] == [((2, 7), 2), ((2, 8), 2), ((5, 6), 2), None]
    stretches = [[1, 1, 1], [1, 1, 1, 1, 2]]
    pairs = Pairs(stretches, [2, 2])
    pairs.join((1, 1), 9)
    assert stretches == [[9, 1], [9, 9, 2]]
    assert pairs.seen == {(9, 1): 2, (9, 9): 2, (9, 2): 2} | {(1, 2): 0}


def test_counts_kept_while_joining_are_those_counted_anew():
    rng = np.random.default_rng(0)
    stretches = [rng.integers(0, 4, rng.integers(1, 12)).tolist() for _ in range(60)]
    counts = rng.integers(1, 6, 60).tolist()
    pairs = Pairs(stretches, counts)
    for new in range(4, 30):
        found = pairs.pop()
        anew = Counter()
        for stretch, count in zip(stretches, counts, strict=True):
            for pair in pairwise(stretch):
                anew[pair] += count
        assert +pairs.seen == anew
        if found is None:
            break
        assert found == min(((p, c) for p, c in anew.items()), key=lambda one: (-one[1], one[0]))
        pairs.join(found[0], new)
    assert new > 15
