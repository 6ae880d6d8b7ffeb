"""Holding out by hash, and drawing a part of the examples."""

import numpy as np
import pytest

from ptk.tasks.examples import Examples
from ptk.tasks.files.dividing import drawn, held_out, part


def examples(texts, labels=None):
    labels = np.zeros(len(texts), np.int64) if labels is None else np.array(labels, np.int64)
    names = tuple(map(str, range(labels.max() + 1)))
    return Examples([(text,) for text in texts], labels, names, "a.tsv", np.arange(len(texts)))


def test_the_share_is_held_out():
    held = held_out(examples([f"text {n}" for n in range(1000)]), 0.1)
    assert held.sum() == 100


def test_it_does_not_depend_on_the_order():
    texts = [f"text {n}" for n in range(200)]
    forwards, backwards = held_out(examples(texts), 0.2), held_out(examples(texts[::-1]), 0.2)
    assert forwards.tolist() == backwards[::-1].tolist()


def test_equal_texts_stay_together():
    texts = [f"text {n % 10}" for n in range(100)]
    held = held_out(examples(texts), 0.05)
    sides = {(text, side) for text, side in zip(texts, held.tolist(), strict=True)}
    assert len(sides) == 10
    assert 0 < held.sum() < 100


def pairs(texts):
    return Examples(texts, np.zeros(len(texts), np.int64), ("a",), "a.tsv", np.arange(len(texts)))


@pytest.mark.parametrize("choices", [1, 4])
def test_hypotheses_of_one_premise_stay_together(choices):
    data = pairs([(f"premise {n % 100}", *(f"hypothesis {n} {m}" for m in range(choices))) for n in range(300)])
    held = held_out(data, 0.1)
    assert held.sum() == 30
    assert data.divided_by[0] == "first text"
    assert not set(np.flatnonzero(held) % 100) & set(np.flatnonzero(~held) % 100)


def test_a_prompt_before_all_is_no_premise():
    data = pairs([(f"prompt {n % 3}", f"text {n}") for n in range(300)])
    assert held_out(data, 0.1).sum() == 30
    assert data.divided_by[0] == "text"


def test_words_of_a_sentence_are_no_premise():
    words = [(str(n % 20), str(n)) for n in range(50)]
    data = Examples(words, np.zeros(100, np.int64), ("a",), "a.txt", np.arange(100), tagging=True)
    assert data.divided_by[0] == "text"


@pytest.mark.parametrize("count", [2, 3, 10])
def test_neither_side_is_empty(count):
    for share in (0.001, 0.999):
        assert 0 < held_out(examples([f"text {n}" for n in range(count)]), share).sum() < count


def test_a_smaller_draw_is_part_of_a_larger_one():
    data = examples([f"text {n}" for n in range(1000)], np.arange(1000) % 7)
    one, ten, hundred = (drawn(data, share, 3) for share in (0.01, 0.1, 100))
    assert (one.sum(), ten.sum(), hundred.sum()) == (10, 100, 100)
    assert not (one & ~ten).any()
    assert (ten == hundred).all()
    assert (drawn(data, 0.1, 4) != ten).any()


def test_every_class_is_kept_where_there_is_room():
    labels = np.array([0] * 990 + [1] * 5 + [2] * 5)
    data = examples([f"text {n}" for n in range(1000)], labels)
    for seed in range(5):
        assert set(labels[drawn(data, 3, seed)]) == {0, 1, 2}


def test_no_more_than_there_are():
    assert drawn(examples(["a", "b"]), 5, 0).all()
    assert drawn(examples(["a", "b"]), 1, 0).sum() == 1
    assert drawn(examples(["a", "b"]), 0.001, 0).sum() == 1


def test_a_part_of_tagged_examples():
    data = Examples([("a", "b"), ("c",), ("d", "e")], np.arange(5), tuple("vwxyz"), "a", np.arange(1, 6), tagging=True)
    some = part(data, np.array([True, False, True]))
    assert some.texts == [("a", "b"), ("d", "e")]
    assert some.labels.tolist() == [0, 1, 3, 4]
    assert some.lines.tolist() == [1, 2, 4, 5]
    assert some.tagging
