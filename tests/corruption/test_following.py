"""Rows of what follows in a text: nothing is lost, nothing is too long, and segments begin where sentences do."""

from itertools import pairwise

import numpy as np
import pytest

from ptk.corruption import following


def document(start: int, *sentences: int) -> np.ndarray:
    return start + np.concatenate([[0], np.cumsum(sentences)])


def texts(seed: int, count: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    made, start = [], 0
    for _ in range(count):
        made.append(document(start, *rng.integers(1, 40, size=rng.integers(1, 30))))
        start = int(made[-1][-1])
    return made


def test_single_segments_cover_the_document_once():
    text = [(0, document(0, 5, 5, 40, 3))]
    rows, _ = following.single_segments(text, 12, np.random.default_rng(9), short=0.0)
    assert [(row.a, row.a_stop) for row in rows] == [(0, 10), (10, 22), (22, 34), (34, 46), (46, 53)]


def test_full_sentences_fill_a_row_across_documents():
    text = [document(0, 4, 3, 2), document(9, 2, 7), document(18, 30)]
    rows = following.full_sentences(text, 12, np.random.default_rng(0), short=0.0)
    # 9 tokens and their separator leave room for 2; 7 begin a row; of 30 nothing fits behind it, so it is cut.
    assert rows == [[(0, 9), (9, 11)], [(11, 18)], [(18, 30)], [(30, 42)], [(42, 48)]]


@pytest.mark.parametrize("short", [0.0, 0.5])
def test_full_sentences_lose_nothing_and_cut_only_what_is_too_long(short):
    text = texts(1)
    rows = following.full_sentences(text, 60, np.random.default_rng(2), short)
    spans = np.array([span for row in rows for span in row])
    assert spans[0, 0] == 0
    assert (spans[1:, 0] == spans[:-1, 1]).all()
    assert spans[-1, 1] == text[-1][-1]
    assert max(sum(b - a for a, b in row) + len(row) - 1 for row in rows) <= 60
    if not short:  # 40 tokens at most: every span begins and ends with a sentence
        assert set(spans.ravel().tolist()) <= set(np.concatenate(text).tolist())
        # A row ends only where the next sentence does not fit.
        sizes = [sum(b - a for a, b in row) + len(row) - 1 for row in rows]
        after = [row[-1][1] for row in rows[:-1]]
        following_ = {int(a): int(b - a) for d in text for a, b in pairwise(d)}
        ends = {int(d[-1]) for d in text}
        assert all(size + following_[stop] + (stop in ends) > 60 for size, stop in zip(sizes[:-1], after, strict=True))


def test_sentences_join_the_first_segment_below_half_of_the_row():
    class Fixed:
        def __init__(self, *values):
            self.values = list(values)

        def random(self):
            return self.values.pop(0)

    # 21 tokens leave 9 for the first segment. The first number is that of single segments.
    assert following.joins_first([4, 4, 9, 1], 21, Fixed(0.5, 0.9), 0.1, "fixed") == [True, True, False, False]
    assert following.joins_first([4, 4, 9, 1], 21, Fixed(0.5, 0.4), 0.1, "fixed") == [True, True, True, False]
    assert following.joins_first([4, 9, 1], 21, Fixed(0.5, 0.9), 0.1, "paper") == [True, False, True]  # it skips one
    assert following.joins_first([4, 9, 1], 21, Fixed(0.5, 0.9), 0.1, "fixed") == [True, False, False]
    assert following.joins_first([30, 9], 21, Fixed(0.5), 0.1, "fixed") == [True, False]
    assert following.joins_first([30, 9], 21, Fixed(0.05), 0.1, "fixed") == [True, True]
    assert following.joins_first([5, 4, 1], 21, Fixed(0.5, 0.9), 0.1, "fixed") == [True, False, False]  # strictly below


def test_electras_rows_lose_nothing_and_go_on_where_they_ended():
    text = texts(3)
    rows, cut_off = following.following_segments(text, 64, np.random.default_rng(4))
    spans = [span for row in rows for span in row]
    assert cut_off == 0
    assert spans[0][0] == 0
    assert all(b[0] == a[1] for a, b in pairwise(spans))
    assert spans[-1][1] == text[-1][-1]
    starts = set(np.concatenate(text).tolist())
    for row in rows:
        assert [segment for *_, segment in row] in ([0], [0, 1])
        assert sum(b - a for a, b, _ in row) + 1 + len(row) <= 64
        assert all(start in starts for start, _, segment in row if segment)
    single = np.mean([len(row) == 1 for row in rows])
    assert 0.1 < single < 0.5  # short documents, and a tenth of the others


def test_electras_rows_as_published_throw_the_end_of_a_sentence_away():
    text = [document(0, 30, 30, 30, 30)]
    for seed in range(30):
        rows, cut_off = following.following_segments(text, 64, np.random.default_rng(seed), "paper", short=0.0)
        assert cut_off == 1  # 90 tokens reach 64; of them 61, or 62 in one segment, are kept
        assert [row[0][0] for row in rows] == [0, 90]
        assert sum(b - a for a, b, _ in rows[0]) == 64 - 1 - len({segment for *_, segment in rows[0]})


def test_rows_of_a_short_target_are_short():
    text = [document(0, *[10] * 3000)]
    rows, _ = following.following_segments(text, 128, np.random.default_rng(5), short=0.05)
    lengths = np.array([sum(b - a for a, b, _ in row) + 3 for row in rows])
    short = (lengths < 120).mean()
    assert abs(short - 0.05) < 3 * np.sqrt(0.05 / len(rows))
