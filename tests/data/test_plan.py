"""The plan is a function of its step, and every row comes once an epoch."""

import pickle
from collections import Counter

import numpy as np
import pytest

from ptk import recipe_file
from ptk.data import batches, prepare
from ptk.data import plan as plans
from ptk.data.permutation import keys, permute
from ptk.data.plan import ramp_rows, share, token_bounds
from ptk.data.rows import Ahead
from ptk.errors import DataError, RecipeError
from ptk.pretraining import make_plan
from ptk.progress import Talk
from ptk.recipe import BatchRamp
from ptk.session import check_division, objective_of


def plan(tiny, *overrides: str, **sections: str):
    recipe = recipe_file.load(str(tiny(**sections)), overrides).recipe
    data = prepare.prepare(recipe.corpus, recipe.tokenizer, Talk(quiet=True))
    return make_plan(recipe, objective_of(recipe), data), data


@pytest.mark.parametrize("n", [1, 2, 3, 10, 257, 4096])
def test_a_permutation_is_a_bijection(n):
    assert sorted(permute(np.arange(n), n, keys(1, 2)).tolist()) == list(range(n))


def test_orders_differ_by_seed_and_look_random():
    n = 50_000
    one, other = (permute(np.arange(n), n, keys(seed, 0)) for seed in (1, 2))
    assert (one == other).mean() < 1e-3
    assert abs(np.corrcoef(one, np.arange(n))[0, 1]) < 0.02
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.02
    halves = np.histogram(one[: n // 2], bins=20, range=(0, n))[0]
    assert abs(halves - n / 40).max() < 5 * (n / 40) ** 0.5


def test_any_position_is_found_alone():
    whole = permute(np.arange(1000), 1000, keys(5))
    assert permute(np.array([17, 900]), 1000, keys(5)).tolist() == whole[[17, 900]].tolist()


def test_an_epoch_has_every_row_at_most_once_and_leaves_out_less_than_a_batch(tiny):
    made, _ = plan(tiny)
    steps = made.steps_per_epoch(0)
    seen = Counter(place.row for step in range(steps) for place in made.batch(step))
    assert max(seen.values()) == 1
    assert len(made.rows(0, 0, 0)) - len(seen) < 16
    assert {place.epoch for place in made.batch(steps)} == {1}


@pytest.mark.parametrize("at_once", [1, 7, 16, 1000])
@pytest.mark.parametrize("ramp", ["", "batch_ramp: {start: 8, steps: 7}, "])
def test_how_many_rows_are_worked_out_at_once_changes_nothing(tiny, monkeypatch, at_once, ramp):
    made, _ = plan(tiny, train=f"{{steps: 60, length: 32, batch_size: 16, {ramp}precision: fp32}}")
    where, size = made.stages[0], made.per_epoch(0)
    monkeypatch.setattr(plans, "AHEAD", at_once)
    assert where.begin(60) > 2 * size
    for step in (*range(60), 3, 59, 0):
        positions = range(where.begin(step), where.begin(step + 1))
        each = [made.places(0, position // size, np.array([position % size])) for position in positions]
        assert made.batch(step) == [place for (place,) in each]


def test_two_plans_agree_at_any_step_also_after_pickling(tiny):
    made, _ = plan(tiny)
    again = pickle.loads(pickle.dumps(made))
    for step in (100, 3, 41):
        assert again.batch(step) == made.batch(step)


def test_processes_divide_a_batch_in_order(tiny):
    made, _ = plan(tiny)
    whole = made.batch(5)
    for processes in (1, 2, 3, 4):
        assert [p for n in range(processes) for p in share(whole, n, processes)] == whole


def test_phases_follow_each_other_with_their_own_lengths(tiny):
    train = "{phases: [{length: 24, steps: 3, batch_size: 8}, {length: 48, steps: 2}], batch_size: 4, precision: fp32}"
    made, data = plan(tiny, train=train)
    assert made.steps == 5
    assert [made.position(step).stage for step in range(5)] == [0, 0, 0, 1, 1]
    assert [len(made.batch(step)) for step in range(5)] == [8, 8, 8, 4, 4]
    found = batches.Batches(made, data.tokenizer, batches.Division())
    longest = [found[step][0]["input_ids"].shape[1] for step in range(5)]
    assert max(longest[:3]) <= 24 < max(longest[3:]) <= 48


def test_batches_by_tokens_stay_below_their_budget(tiny):
    made, _ = plan(tiny, train="{steps: 4, length: 32, batch_tokens: 200, precision: fp32}")
    lengths = made.rows(0, 0, 0).lengths()
    sizes = [sum(lengths[place.row] for place in made.batch(step)) for step in range(made.steps_per_epoch(0))]
    assert max(sizes) <= 200
    assert min(sizes) > 140


def test_token_bounds_by_hand():
    assert token_bounds(np.cumsum([50, 60, 90, 10, 300, 5, 5]), 110).tolist() == [0, 2, 4, 5]


def test_weights_decide_how_many_rows_of_each_source_come(tiny, tiny_text, tmp_path):
    lines = tiny_text.read_text().split("\n\n")
    (tmp_path / "a.txt").write_text("\n\n".join(lines[:60]))
    (tmp_path / "b.txt").write_text("\n\n".join(lines[60:]))
    corpus = (
        "["
        + ", ".join(
            f'{{path: "{tmp_path}/{name}.txt", split_documents: blank_line, weight: {weight}}}'
            for name, weight in (("a", 3), ("b", 1))
        )
        + "]"
    )
    made, _ = plan(tiny, corpus=corpus)
    stage = made.stages[0]
    assert sum(stage.quota) == pytest.approx(sum(stage.rows), abs=2)
    weighted = stage.rows[0] * 3 / (stage.rows[0] * 3 + stage.rows[1])
    assert stage.quota[0] / sum(stage.quota) == pytest.approx(weighted, abs=0.01)
    places = [p for step in range(3 * made.steps_per_epoch(0)) for p in made.batch(step)]
    of_a = [p for p in places if p.member == 0]
    assert len(of_a) / len(places) == pytest.approx(weighted, abs=0.03)
    assert {p.epoch for p in of_a} >= {0, 1, 2}  # the small source repeats, each time under a new epoch
    assert max(Counter((p.epoch, p.row) for p in of_a).values()) <= 2


def test_fewer_rows_than_a_batch_is_an_error_at_once(tiny):
    with pytest.raises(DataError, match="give more text or a smaller batch"):
        plan(tiny, "train.batch_size=5000")


# A batch ramp ----------------------------------------------------------------------------------------------

RAMP = "length: 32, batch_size: 24, batch_ramp: {start: 8, steps: 7}, precision: fp32"
RAMPED = [8, 8, 8, 8, 16, 16, 16, 24, 24]  # 8 more at step 7 / 2, rounded up, and at step 7


@pytest.mark.parametrize(
    ("start", "steps", "batch_size", "sizes"),
    [
        (2, 4, 6, [2, 2, 4, 4, 6, 6]),
        (1, 5, 3, [1, 1, 1, 2, 2, 3]),
        (4, 3, 8, [4, 4, 4, 8, 8]),
        (2, 2, 8, [2, 4, 8, 8]),  # three growths in two steps
        (8, 5, 8, [8, 8, 8, 8, 8, 8]),
    ],
)
def test_sizes_of_a_ramp_by_hand(start, steps, batch_size, sizes):
    begins = [ramp_rows(BatchRamp(start=start, steps=steps), batch_size, step) for step in range(len(sizes) + 1)]
    assert begins[0] == 0
    assert np.diff(begins).tolist() == sizes


def test_a_long_ramp_is_a_line_in_whole_multiples_of_its_start():
    begins = [ramp_rows(BatchRamp(start=32, steps=1000), 3200, step) for step in range(1202)]
    sizes = np.diff(begins)
    assert (sizes % 32 == 0).all()
    line = 32 + (3200 - 32) * np.minimum(np.arange(1201), 1000) / 1000
    assert (line - sizes >= 0).all()
    assert (line - sizes < 32).all()
    assert sizes[0] == 32
    assert (sizes[1000:] == 3200).all()


def test_a_ramp_cuts_the_same_order_into_other_pieces(tiny):
    """Every row once an epoch, also where a batch lies across its end."""
    made, _ = plan(tiny, train=f"{{steps: 40, {RAMP}}}")
    plain, _ = plan(tiny, train="{steps: 40, length: 32, batch_size: 24, precision: fp32}")
    found = [made.batch(step) for step in range(40)]
    assert [len(batch) for batch in found] == RAMPED + [24] * 31
    places = [place for batch in found for place in batch]
    steps, size = made.steps_per_epoch(0), made.steps_per_epoch(0) * 24
    assert len(places) > 2 * size
    assert places[: 2 * size] == [place for step in range(2 * steps) for place in plain.batch(step)]
    for epoch in (0, 1):
        rows = [place.row for place in places if place.epoch == epoch]
        assert len(set(rows)) == len(rows) == size
    across = [batch for batch in found if len({place.epoch for place in batch}) == 2]
    assert len(across) == 2
    assert all([p.epoch for p in batch] == sorted(p.epoch for p in batch) for batch in across)


def test_any_step_of_a_ramp_is_found_alone(tiny):
    made, _ = plan(tiny, train=f"{{steps: 40, {RAMP}}}")
    found = [made.batch(step) for step in range(40)]
    for step in (39, 0, 17, 5, 18, 16):
        fresh = pickle.loads(pickle.dumps(made))
        assert fresh.batch(step) == found[step]
        assert fresh.position(step) == (0, step, found[step][0].epoch)


def test_without_a_ramp_batches_are_whole_parts_of_one_epoch(tiny):
    made, _ = plan(tiny)
    steps = made.steps_per_epoch(0)
    for step in (0, 1, steps - 1, steps, 2 * steps + 3):
        epoch, number = divmod(step, steps)
        assert made.batch(step) == made.places(0, epoch, np.arange(number * 16, (number + 1) * 16))


@pytest.mark.parametrize("epochs", [0.05, 0.2, 1, 2.5])
def test_epochs_of_a_ramp_become_the_nearest_number_of_steps(tiny, epochs):
    made, _ = plan(tiny, train=f"{{epochs: {epochs}, {RAMP}}}")
    wanted = epochs * made.steps_per_epoch(0) * 24
    missed = [abs(sum(len(made.batch(step)) for step in range(steps)) - wanted) for steps in range(made.steps + 3)]
    assert missed.index(min(missed)) == made.steps
    assert made.epochs(0) == pytest.approx(epochs, abs=12 / (made.steps_per_epoch(0) * 24))


class Asked(Ahead):
    """Builds nothing: notes what is to be built, and what is still in use."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def prepare(self, source, epoch, oldest=None):
        self.epochs.append((epoch, oldest))


@pytest.mark.parametrize("train", [f"{{steps: 32, {RAMP}}}", "{steps: 46, length: 32, batch_size: 16}"])
def test_the_next_epoch_is_prepared_while_the_stage_comes_to_it(tiny, train):
    made, _ = plan(tiny, train=train)
    last = max(place.epoch for step in range(made.steps) for place in made.batch(step))
    assert last == 1  # 32 full batches would come to epoch 2; 46 of 16 rows are two whole epochs
    for step in range(made.steps):
        ahead, epoch = Asked(), made.batch(step)[0].epoch
        made.prepare_next(step, ahead)
        assert ahead.epochs == ([(epoch + 1, epoch)] if epoch < last else [])


def test_processes_must_divide_the_start_of_a_ramp(tiny):
    recipe = recipe_file.load(str(tiny(train=f"{{steps: 4, {RAMP}}}")), []).recipe
    check_division(recipe, 8)
    with pytest.raises(RecipeError, match=r"train.batch_ramp.start: 8 rows .* 3 processes .* can: 1, 2, 4, 8$"):
        check_division(recipe, 3)  # which do divide 24
