"""Schedules against numbers worked out by hand."""

import pickle

import pytest

from ptk import schedules


def factors(name, total, warmup, final=0.0, decay=0.1, fidelity="fixed"):
    """Of every update, and the two after the last, which are never made."""
    factor = schedules.schedule(name, total, warmup, final, decay, fidelity)
    return [factor(t) for t in range(total + 2)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("linear", 6, 2), [0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        (("linear", 6, 2, 0.2), [0.5, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]),
        (("linear", 4, 0), [1, 0.75, 0.5, 0.25, 0, 0]),
        (("linear", 2, 2), [0.5, 1, 0, 0]),
        (("linear", 2, 8), [0.125, 0.25, 0.375, 0.5]),
        (("linear", 5, 2, 0.0, 0.1, "paper"), [0, 0.5, 0.6, 0.4, 0.2, 0, 0]),  # OPT-2: jumps to 1 - 2 / 5
        (("linear", 5, 2, 0.5, 0.1, "paper"), [0, 0.5, 0.8, 0.7, 0.6, 0.5, 0.5]),
        (("cosine", 5, 1), [1, 1, 0.853553, 0.5, 0.146447, 0, 0]),
        (("cosine", 4, 2, 0.1), [0.5, 1, 1, 0.55, 0.1, 0.1]),
        (("wsd", 8, 2, 0.0, 0.5), [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        (("wsd", 4, 2, 0.0, 1.0), [0.5, 1, 1, 0.5, 0, 0]),  # the decay never begins before the peak
        (("wsd", 3, 0, 0.0, 0.0), [1, 1, 1, 0, 0]),
        (("product", 4, 2), [0.5, 0.75, 0.5, 0.25, 0, 0]),
        (("product", 4, 2, 0.0, 0.1, "paper"), [0, 0.375, 0.5, 0.25, 0, 0]),  # OPT-3
        (("product", 4, 0, 0.5), [1, 0.875, 0.75, 0.625, 0.5, 0.5]),
        (("inverse_sqrt", 17, 4), [1] * 5 + [(4 / t) ** 0.5 for t in range(5, 19)]),
        (("inverse_sqrt", 4, 0), [1, 1, 0.707107, 0.577350, 0.5, 0.447214]),
        (("constant", 4, 2), [0.5, 1, 1, 1, 1, 1]),
        (("constant", 2, 0), [1, 1, 1, 1]),
    ],
)
def test_factors_by_hand(settings, expected):
    assert factors(*settings) == pytest.approx(expected, abs=1e-6)


def test_bert_jumps_down_by_a_hundredth():
    factor = schedules.schedule("linear", 1_000_000, 10_000, 0.0, 0.1, "paper")
    assert factor(0) == 0
    assert factor(9_999) == 0.9999
    assert factor(10_000) == 0.99


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd", "inverse_sqrt", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 7, 100])
def test_every_update_counts_and_none_exceeds_the_peak(name, warmup):
    values = factors(name, 100, warmup)
    assert min(values[:100]) > 0
    assert max(values) == 1
    assert all(value >= 0 for value in values)
    assert values[warmup:] == sorted(values[warmup:], reverse=True)


@pytest.mark.parametrize("name", ["cosine", "wsd", "inverse_sqrt", "constant"])
def test_fidelity_changes_linear_only(name):
    assert factors(name, 20, 4, fidelity="paper") == factors(name, 20, 4, fidelity="fixed")


@pytest.mark.parametrize("name", ["linear", "cosine", "product", "wsd", "inverse_sqrt", "constant"])
@pytest.mark.parametrize("fidelity", ["fixed", "paper"])
def test_a_schedule_pickles(name, fidelity):
    factor = schedules.schedule(name, 20, 4, 0.1, 0.2, fidelity)
    again = pickle.loads(pickle.dumps(factor))
    assert [again(t) for t in range(20)] == [factor(t) for t in range(20)]


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="'noam' is unknown; use linear, cosine"):
        schedules.schedule("noam", 10, 1, 0.0, 0.1, "fixed")


def test_warmup_is_a_fraction_below_one():
    assert schedules.warmup_steps(0, 1000) == 0
    assert schedules.warmup_steps(0.01, 1_000_000) == 10_000
    assert schedules.warmup_steps(0.29, 100) == 29  # 28.999999999999996
    assert schedules.warmup_steps(1, 1000) == 1
    assert schedules.warmup_steps(2000.0, 1000) == 2000
    assert isinstance(schedules.warmup_steps(2000.0, 1000), int)
