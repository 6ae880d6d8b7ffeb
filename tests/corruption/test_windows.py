"""BERT's windows, against a loop over the rules: SQ-3 where they are, SQ-4 what is whole in them, SQ-7 most context."""

import numpy as np
import pytest

from ptk.corruption.windows import placed, windows


def by_the_rules(length, width, stride):
    """(first, stop) of each window of a text, and the number of the window where each token has most context."""
    bounds, first = [], 0
    while not bounds or bounds[-1][1] < length:
        bounds.append((first, min(first + width, length)))
        first += min(width, stride)
    best = []
    for token in range(length):
        scores = [
            100 * min(token - first, stop - 1 - token) + (stop - first) if first <= token < stop else -1
            for first, stop in bounds
        ]
        best.append(scores.index(max(scores)))  # of equals the first
    return bounds, best


def found_of(lengths, widths, stride):
    """The same of each text, by ``windows``."""
    found = windows(np.array(lengths), np.array(widths), stride)
    for text in range(len(lengths)):
        mine = found.text == text
        numbers = np.repeat(np.arange(mine.sum()), (found.until - found.scored)[mine])
        yield list(zip(found.first[mine].tolist(), found.stop[mine].tolist(), strict=True)), numbers.tolist()


def test_random_texts():
    rng = np.random.default_rng(0)
    for _ in range(60):
        lengths, widths = rng.integers(1, 150, 8).tolist(), rng.integers(1, 70, 8).tolist()
        stride = int(rng.integers(1, 80))
        wanted = [by_the_rules(*sizes, stride) for sizes in zip(lengths, widths, strict=True)]
        assert list(found_of(lengths, widths, stride)) == wanted


@pytest.mark.parametrize(("width", "stride"), [(150, 128), (128, 101), (150, 50), (260, 202)])
def test_every_length_of_the_last_window(width, stride):
    """A last window that lacks a hundred tokens needs one token more of context than that before it."""
    lengths = list(range(width, width + stride + 2))
    assert list(found_of(lengths, [width] * len(lengths), stride)) == [by_the_rules(n, width, stride) for n in lengths]


def test_a_text_that_is_shorter_than_a_window_exactly_one_and_a_token_longer():
    found = windows(np.array([9, 10, 11]), np.array([10, 10, 10]), 4)
    assert found.text.tolist() == [0, 1, 2, 2]
    assert found.first.tolist() == [0, 0, 0, 4]
    assert found.stop.tolist() == [9, 10, 10, 11]
    # Of the last text token 6 has 3 on its right in the first window and 2 on its left in the second, token 7 2 and 3.
    assert found.scored.tolist() == [0, 0, 0, 7]
    assert found.until.tolist() == [9, 10, 7, 11]


def test_a_step_is_no_wider_than_a_window():
    found = windows(np.array([10]), np.array([4]), 128)
    assert list(zip(found.first.tolist(), found.stop.tolist(), strict=True)) == [(0, 4), (4, 8), (8, 10)]
    assert list(zip(found.scored.tolist(), found.until.tolist(), strict=True)) == [(0, 4), (4, 8), (8, 10)]


def test_an_answer_is_placed_where_it_is_whole():
    found = windows(np.array([10, 3, 3, 3]), np.array([6, 6, 6, 6]), 2)
    assert found.first.tolist() == [0, 2, 4, 0, 0, 0]
    answers = np.array([[4, 6], [0, 2], [-1, -1], [-100, -100]])
    assert placed(found, answers).tolist() == [[-1, -1], [2, 4], [0, 2], [0, 2], [-1, -1], [-100, -100]]


def test_no_texts():
    assert [len(array) for array in windows(np.zeros(0, int), np.zeros(0, int), 128)] == [0] * 5
