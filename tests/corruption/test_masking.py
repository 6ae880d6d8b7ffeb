"""Masking, against the counts and rates of MLM-1 to MLM-4."""

import numpy as np
import pytest

from ptk.corruption import masking


@pytest.mark.parametrize(
    ("length", "cap", "count"),
    [(128, None, 19), (512, None, 77), (512, 20, 20), (128, 80, 19), (3, None, 1), (30, None, 4)],
)
def test_the_count_includes_specials_and_rounds_half_to_even(length, cap, count):
    assert masking.mask_count(length, 0.15, cap) == count


def test_tokens_are_distinct_candidates_in_order():
    candidates = np.array([1, 2, 3, 5, 6, 9])
    chosen = masking.choose_tokens(candidates, 4, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 4
    assert set(chosen.tolist()) <= set(candidates.tolist())
    assert (np.diff(chosen) > 0).all()


def test_every_candidate_is_equally_likely():
    rng = np.random.default_rng(1)
    counts = np.zeros(20)
    for _ in range(4000):
        counts[masking.choose_tokens(np.arange(20), 3, rng)] += 1
    rate = counts / 4000
    assert abs(rate - 0.15).max() < 4 * (0.15 * 0.85 / 4000) ** 0.5


def test_whole_words_are_chosen_whole_and_never_overshoot():
    candidates = np.array([1, 2, 3, 4, 6, 7, 8])
    starts = np.array([True, False, False, True, True, False, True])  # words 1-3, 4, 6-7, 8
    words = [{1, 2, 3}, {4}, {6, 7}, {8}]
    sizes = set()
    for seed in range(100):
        chosen = set(masking.choose_words(candidates, starts, 3, np.random.default_rng(seed)).tolist())
        assert all(word <= chosen or not word & chosen for word in words)
        assert len(chosen) <= 3
        sizes.add(len(chosen))
    assert sizes <= {2, 3}


def test_a_row_that_begins_inside_a_word_has_a_first_word():
    chosen = masking.choose_words(np.array([1, 2]), np.array([False, False]), 2, np.random.default_rng(0))
    assert chosen.tolist() == [1, 2]


def test_80_10_10_within_three_standard_errors():
    n, vocab = 60_000, 1000
    ids = np.full(n, 7)
    corrupted = masking.corrupt(ids, np.arange(n), 4, vocab, np.random.default_rng(2))
    masked, kept = (corrupted == 4).mean(), (corrupted == 7).mean()
    error = (0.25 / n) ** 0.5
    assert abs(masked - (0.8 + 0.1 / vocab)) < 3 * error
    assert abs(kept - (0.1 + 0.1 / vocab)) < 3 * error
    drawn = corrupted[(corrupted != 4) & (corrupted != 7)]
    assert drawn.min() == 0  # any entry, specials too
    assert drawn.max() == vocab - 1


def test_nothing_else_changes_and_the_input_is_left_alone():
    ids = np.arange(10, 30)
    corrupted = masking.corrupt(ids, np.array([3, 8]), 4, 50, np.random.default_rng(3))
    assert ids.tolist() == list(range(10, 30))
    untouched = np.delete(np.arange(20), [3, 8])
    assert (corrupted[untouched] == ids[untouched]).all()


def test_rounding_at_random_is_right_on_average():
    rng = np.random.default_rng(0)
    counts = [masking.mask_count(30, 0.15, rounding=rng.random()) for _ in range(4000)]
    assert set(counts) == {4, 5}
    assert np.mean(counts) == pytest.approx(4.5, abs=3 * 0.5 / 4000**0.5)


@pytest.mark.parametrize(("weights", "mean"), [(masking.NGRAMS, 18 / 11), (masking.SPANS, 3.797)])
def test_runs_of_words_have_their_lengths(weights, mean):
    """One run a row, and room for the longest: 6/11, 3/11, 2/11 of ALB-2; 3.8 words of SpanBERT."""
    assert weights @ np.arange(1, len(weights) + 1) / weights.sum() == pytest.approx(mean, abs=0.001)
    rng = np.random.default_rng(0)
    starts = np.ones(4000, bool)
    lengths = []
    for _ in range(60):
        chosen = masking.choose_runs(np.arange(4000), starts, 300, rng, weights)
        breaks = np.flatnonzero(np.diff(chosen) > 1)
        lengths += np.diff(np.concatenate([[-1], breaks, [len(chosen) - 1]])).tolist()
    # In a row of 7.5 % neighbours join now and then, and the last run is cut to what is left.
    assert 0.97 * mean < np.mean(lengths) < 1.15 * mean
    if len(weights) == 3:
        shares = [np.mean(np.array(lengths) == n) for n in (1, 2, 3)]
        assert shares == pytest.approx([6 / 11, 3 / 11, 2 / 11], abs=0.04)


def test_runs_are_of_whole_words_and_fill_the_count():
    candidates = np.array([1, 2, 3, 4, 6, 7, 8, 9])
    starts = np.array([True, False, False, True, True, False, True, True])  # words 1-3, 4, 6-7, 8, 9
    words = [{1, 2, 3}, {4}, {6, 7}, {8}, {9}]
    for seed in range(200):
        rng = np.random.default_rng(seed)
        chosen = set(masking.choose_runs(candidates, starts, 4, rng, masking.NGRAMS).tolist())
        assert all(word <= chosen or not word & chosen for word in words)
        assert 3 <= len(chosen) <= 4  # 4, 8 and 9, and no word of one token is left
    none = masking.choose_runs(np.array([1, 2]), np.array([True, False]), 1, np.random.default_rng(0), masking.NGRAMS)
    assert len(none) == 0  # a word that does not fit stays whole
