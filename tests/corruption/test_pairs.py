"""Rows of two segments, against hand-written documents and the statistics of NSP-5 and NSP-7."""

import numpy as np
import pytest

from ptk.corruption import pairs


def document(start: int, *lengths: int) -> list[int]:
    return np.cumsum([start, *lengths]).tolist()


def corpus(documents: int, sentences: int, tokens: int) -> list[tuple[int, list[int]]]:
    size = sentences * tokens
    return [(d, document(d * size, *[tokens] * sentences)) for d in range(documents)]


def other_document(found: list[tuple[int, list[int]]]):
    def draw(piece: int, rng: np.random.Generator) -> list[int]:
        other = pairs.below(rng, len(found) - 1)
        return found[other + (other >= piece)][1]

    return draw


@pytest.mark.parametrize(
    ("a", "b", "budget", "expected"),
    [
        (5, 5, 10, (0, 0)),
        (9, 3, 10, (2, 0)),
        (3, 9, 10, (0, 2)),
        (6, 6, 11, (0, 1)),
        (6, 6, 10, (1, 1)),
        (9, 6, 10, (4, 1)),
    ],
)
def test_truncation_takes_from_the_longer_and_on_a_tie_from_b(a, b, budget, expected):
    assert pairs.truncated(a, b, budget) == expected


def test_truncation_equals_the_original_loop():
    for a in range(1, 14):
        for b in range(1, 14):
            left, right = a, b
            while left + right > 9:
                if left > right:
                    left -= 1
                else:
                    right -= 1
            assert pairs.truncated(a, b, 9) == (a - left, b - right)


def test_trim_takes_from_both_ends():
    rng = np.random.default_rng(0)
    spans = {pairs.trim(0, 20, 3, rng) for _ in range(200)}
    assert spans == {(0, 17), (1, 18), (2, 19), (3, 20)}


def test_a_true_pair_is_the_chunk_itself_and_nothing_is_lost():
    text = [(0, document(0, 4, 4, 4, 4)), (1, document(100, 4, 4, 4, 4))]
    whole = 0
    for seed in range(50):
        rows, left_out = pairs.next_sentence_pairs(
            text, other_document(text), 16, np.random.default_rng(seed), short=0.0
        )
        whole += left_out == 0
        for row in rows:
            home = row.a // 100
            if row.label == 0:
                assert row.a_stop == row.b
            else:
                assert row.b // 100 != home
        # Sentences that a random pair did not use come again (NSP-8): every token is in some A or true B.
        seen = {t for r in rows for t in [*range(r.a, r.a_stop), *(range(r.b, r.b_stop) if r.label == 0 else ())]}
        assert left_out or seen == {*range(16), *range(100, 116)}
    assert whole > 20


def test_the_tail_of_a_document_is_a_row_however_short():
    text = [(0, document(0, 10, 10, 2)), (1, document(100, 10, 10, 2))]
    rows, _ = pairs.next_sentence_pairs(text, other_document(text), 20, np.random.default_rng(1), "paper", short=0.0)
    for tail in (20, 120):
        assert any(row.a == tail or (row.label == 0 and row.b <= tail < row.b_stop) for row in rows)


@pytest.mark.parametrize("tokens", [25, 60, 120])
def test_fixed_labels_are_balanced_whatever_the_sentence_length(tokens):
    text = corpus(2000, 12, tokens)
    rows, left_out = pairs.next_sentence_pairs(text, other_document(text), 125, np.random.default_rng(3))
    labels = np.array([row.label for row in rows])
    assert len(labels) > 3000
    assert abs(labels.mean() - 0.5) < 3 * 0.5 / len(labels) ** 0.5
    assert left_out < 30


@pytest.mark.parametrize(("tokens", "share"), [(25, 0.53), (60, 0.60), (120, 0.71)])
def test_paper_labels_are_as_uneven_as_the_original(tokens, share):
    rng = np.random.default_rng(4)
    text, start = [], 0
    for number in range(1500):  # sentences of random length around the mean: a long one fills a chunk alone
        lengths = np.maximum(1, rng.gamma(2.0, tokens / 2.0, size=40)).astype(int)
        text.append((number, document(start, *lengths)))
        start = text[-1][1][-1]
    rows, _ = pairs.next_sentence_pairs(text, other_document(text), 125, rng, "paper")
    labels = np.array([row.label for row in rows])
    assert abs(labels.mean() - share) < 0.03


def test_pairs_fit_and_a_share_of_them_does_not_fill_the_row():
    text = corpus(500, 40, 25)
    rows, _ = pairs.next_sentence_pairs(text, other_document(text), 125, np.random.default_rng(5), "paper")
    lengths = np.array([row.a_stop - row.a + row.b_stop - row.b for row in rows])
    assert lengths.max() <= 125
    assert all(row.a < row.a_stop and row.b < row.b_stop for row in rows)
    assert 0.15 < (lengths < 125).mean() < 0.45  # NSP-7


def test_the_short_length_is_drawn_once_a_document():
    rng = np.random.default_rng(6)
    drawn = [pairs.target_length(125, rng) for _ in range(20_000)]
    short = [length for length in drawn if length < 125]
    assert abs(len(short) / len(drawn) - 0.1) < 3 * 0.3 / len(drawn) ** 0.5 + 0.001
    assert min(short) == 2
    assert max(drawn) == 125


def test_one_sentence_documents_cannot_be_balanced_and_are_counted():
    text = [(d, document(100 * d, 30)) for d in range(10)]
    rows, left_out = pairs.next_sentence_pairs(text, other_document(text), 61, np.random.default_rng(7))
    assert rows == []
    assert left_out == 10


def test_sentence_order_swaps_half_of_the_chunks():
    text = corpus(1000, 12, 20)
    rows, left_out = pairs.sentence_order_pairs(text, other_document(text), 125, np.random.default_rng(8))
    labels = np.array([row.label for row in rows])
    assert abs(labels.mean() - 0.5) < 3 * 0.5 / len(labels) ** 0.5
    assert all((row.b >= row.a_stop) == (row.label == 0) for row in rows)
    assert {row.a // 240 == row.b // 240 for row in rows} == {True}  # never another document (ALB-1)
    assert left_out < len(text)
