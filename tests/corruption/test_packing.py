"""Cuts of documents into rows: every position once, rows as long as they may be, other ones each epoch."""

import numpy as np
import pytest

from ptk.corruption import packing

WAYS = {"stream": packing.stream, "pieces": packing.pieces, "best_fit": packing.best_fit}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("length", [1, 2, 7, 64])
@pytest.mark.parametrize("sizes", [[1], [5], [64], [200], [3, 1, 90, 2, 64, 65], list(range(1, 60))])
def test_every_position_is_in_one_cut_of_a_row_that_is_not_too_long(way, length, sizes):
    for seed in range(5):
        cuts = WAYS[way](np.array(sizes), length, np.random.default_rng(seed))
        covered = sorted((d, p) for d, start, stop, _ in cuts.tolist() for p in range(start, stop))
        assert covered == [(d, p) for d, size in enumerate(sizes) for p in range(size)]
        rows = np.bincount(cuts[:, 3], weights=cuts[:, 2] - cuts[:, 1])
        assert rows.max() <= length
        assert rows.min() > 0
        assert (np.diff(cuts[:, 3]) >= 0).all()


def test_a_stream_has_whole_rows_but_the_last():
    cuts = packing.stream(np.array([30, 50, 25]), 20, np.random.default_rng(0))
    assert np.bincount(cuts[:, 3], weights=cuts[:, 2] - cuts[:, 1]).tolist() == [20] * 5 + [5]


def test_neighbours_in_a_stream_follow_each_other():
    cuts = packing.stream(np.array([3, 5, 2]), 4, np.random.default_rng(0))
    sizes = [3, 5, 2]
    for (document, _, stop, _), (following, start, _, _) in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        assert (document == following and start == stop) or (stop == sizes[document] and start == 0)


def test_another_epoch_cuts_elsewhere():
    one, other = (packing.stream(np.array([1000]), 64, np.random.default_rng(seed)) for seed in (0, 1))
    assert one[0, 1] % 64 != other[0, 1] % 64
    one, other = (packing.pieces(np.array([1000]), 64, np.random.default_rng(seed)) for seed in (0, 1))
    assert one[0, 2] != other[0, 2]


def test_only_documents_longer_than_a_row_are_cut():
    sizes = np.array([64, 3, 65, 10])
    for way in (packing.pieces, packing.best_fit):
        cuts = way(sizes, 64, np.random.default_rng(0))
        assert np.bincount(cuts[:, 0]).tolist() == [1, 1, 2, 1]


def test_best_fit_takes_the_fullest_bin_with_room():
    assert packing.bins([7, 5, 3, 3, 2], 10) == [0, 1, 0, 1, 1]
    assert packing.bins([6, 5, 4, 4, 1], 10) == [0, 1, 0, 1, 1]
    assert packing.bins([10, 10], 10) == [0, 1]


def test_packing_fills_rows():
    rng = np.random.default_rng(0)
    sizes = rng.geometric(1 / 100, size=5000)
    cuts = packing.best_fit(sizes, 512, rng)
    assert sizes.sum() / (512 * (cuts[-1, 3] + 1)) > 0.99


def test_ties_in_packing_are_broken_at_random():
    sizes = np.full(40, 5)
    rows = [packing.best_fit(sizes, 10, np.random.default_rng(seed))[:, 0].tolist() for seed in (0, 1)]
    assert rows[0] != rows[1]


def test_nothing_to_pack():
    for way in WAYS.values():
        assert way(np.zeros(0, np.int64), 8, np.random.default_rng(0)).shape == (0, 4)
