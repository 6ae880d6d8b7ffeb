"""Span corruption against T5's own numbers (T5-2 to T5-4, T5-10) and arrays written by hand."""

import numpy as np
import pytest

from ptk.corruption import spans

SENTINELS = np.arange(999, 899, -1)


@pytest.mark.parametrize(
    ("inputs", "density", "mean_span", "row", "targets"),
    [
        (128, 0.15, 3.0, 141, 29),
        (256, 0.15, 3.0, 284, 58),
        (512, 0.15, 3.0, 568, 114),
        (1024, 0.15, 3.0, 1137, 229),
        (2048, 0.15, 3.0, 2274, 456),
        (512, 0.15, 2.0, 552, 126),
        (512, 0.15, 5.0, 581, 105),
        (512, 0.15, 10.0, 591, 99),
        (512, 0.25, 3.0, 614, 206),
        (512, 0.5, 3.0, 766, 512),
    ],
)
def test_lengths_of_the_original(inputs, density, mean_span, row, targets):
    assert spans.solve(inputs, density, mean_span) == (row, inputs, targets)


@pytest.mark.parametrize("inputs", range(8, 400, 7))
@pytest.mark.parametrize(("density", "mean_span", "roll"), [(0.15, 3.0, False), (0.15, 3.0, True), (0.5, 3.0, False)])
def test_a_corrupted_row_is_as_long_as_solved(inputs, density, mean_span, roll):
    found = spans.solve(inputs, density, mean_span, more_spans=int(roll))
    rng = np.random.default_rng(inputs)
    ids = np.arange(found.row)
    for _ in range(5):
        mask = spans.noise_mask(found.row, density, mean_span, rng, roll)
        read, written = spans.without(ids, mask, SENTINELS), spans.only(ids, mask, SENTINELS)
        assert len(read) + 1 <= inputs
        assert len(written) + 1 <= found.targets
        if density == 0.15 and not roll:  # at a half the original's correction leaves one token free
            assert (len(read) + 1, len(written) + 1) == (found.inputs, found.targets)


def test_the_noise_of_568_tokens():
    rng = np.random.default_rng(0)
    masks = np.array([spans.noise_mask(568, 0.15, 3.0, rng) for _ in range(20_000)])
    assert set(masks.sum(1)) == {85}
    assert {len(spans.span_starts(mask)) for mask in masks[:500]} == {28}
    share = masks.mean(0)
    assert share[0] == 0.0
    assert share[-1] == 1.0
    error = 3 * np.sqrt(0.25 / len(masks))
    for position, known in {1: 0.055, 2: 0.086, 3: 0.111, 284: 0.15, -5: 0.27, -4: 0.35, -3: 0.48, -2: 0.68}.items():
        assert share[position] == pytest.approx(known, abs=error + 0.005), position  # known to two or three digits
    edges = np.diff(np.pad(masks, ((0, 0), (1, 1))).astype(int), axis=1)
    lengths = np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]
    for length, known in {1: 0.32, 2: 0.22, 3: 0.15}.items():
        assert np.mean(lengths == length) == pytest.approx(known, abs=0.01)


def test_rolling_makes_every_position_noise_as_often():
    rng = np.random.default_rng(0)
    share = np.mean([spans.noise_mask(50, 0.15, 3.0, rng, roll=True) for _ in range(20_000)], axis=0)
    assert share == pytest.approx(np.full(50, 8 / 50), abs=4 * np.sqrt(0.16 * 0.84 / 20_000))


def test_every_way_to_cut_is_as_probable():
    rng = np.random.default_rng(0)
    ways, counts = np.unique([spans.partition(5, 3, rng) for _ in range(6000)], axis=0, return_counts=True)
    assert ways.sum(1).tolist() == [5] * 6
    assert counts == pytest.approx(np.full(6, 1000), abs=100)


@pytest.mark.parametrize(("length", "noise"), [(1, 0), (2, 1), (3, 2), (7, 4)])
def test_short_rows_keep_a_token(length, noise):
    mask = spans.noise_mask(length, 0.5, 3.0, np.random.default_rng(0))
    assert len(mask) == length
    assert not mask[0]
    assert mask.sum() == noise


def test_what_is_read_and_what_is_written():
    ids = np.array([10, 11, 12, 13, 14, 15, 16, 17])
    mask = np.array([0, 1, 1, 0, 0, 1, 0, 1], bool)
    assert spans.without(ids, mask, SENTINELS).tolist() == [10, 999, 13, 14, 998, 16, 997]
    assert spans.only(ids, mask, SENTINELS).tolist() == [999, 11, 12, 998, 15, 997, 17]  # nothing closes it
    assert spans.without(ids, ~mask, SENTINELS).tolist() == spans.only(ids, mask, SENTINELS).tolist()


def test_more_spans_than_sentinels_are_refused():
    mask = np.array([1, 0, 1, 0, 1], bool)
    with pytest.raises(ValueError, match="3 spans, but only 2 sentinels"):
        spans.without(np.arange(5), mask, SENTINELS[:2])


def test_kept_and_written_are_the_original():
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 800, 200)
    for _ in range(50):
        mask = spans.noise_mask(200, 0.3, 2.0, rng)
        read, written = spans.without(ids, mask, SENTINELS), spans.only(ids, mask, SENTINELS)
        pieces = {int(part[0]): part[1:] for part in np.split(written, np.flatnonzero(written >= 900)) if len(part)}
        back = np.concatenate([pieces[int(i)] if i >= 900 else [i] for i in read])
        assert back.tolist() == ids.tolist()


def test_one_by_one():
    rng = np.random.default_rng(0)
    masks = np.array([spans.iid_mask(400, 0.15, 100, rng) for _ in range(2000)])
    assert masks.mean() == pytest.approx(0.15, abs=3 * np.sqrt(0.15 * 0.85 / masks.size))
    assert max(len(spans.span_starts(spans.iid_mask(40, 0.5, 7, rng))) for _ in range(300)) == 7
    assert min(spans.iid_mask(3, 0.01, 3, rng).sum() for _ in range(20)) == 1
