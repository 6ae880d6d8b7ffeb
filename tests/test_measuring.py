"""What is measured before the first step: rows that fit into memory, steps that fit into minutes."""

from dataclasses import replace

import pytest
import torch
from conftest import EVERY_OBJECTIVE, sections_of
from running import QUIET, equal, session

from ptk import measuring, recipe_file
from ptk.data.batches import Batches
from ptk.errors import OutOfMemoryError
from ptk.pretraining import pretrain
from ptk.run import Run
from ptk.step import Wrapped


def hold(monkeypatch, most: int) -> list[int]:
    """Memory for so many rows, in training; returns how many were tried at a time."""
    forward, tried = Wrapped.forward, []

    def limited(self, batch):
        if self.training:
            tried.append(len(batch["input_ids"]))
        if self.training and tried[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    monkeypatch.setattr(Wrapped, "forward", limited)
    return tried


@pytest.mark.parametrize("name", ["mlm-next", "rtd", "span_corruption", "mixture"])
def test_auto_batch_halves_until_it_fits_and_keeps_the_global_batch(tiny, tmp_path, monkeypatch, name):
    assert name in EVERY_OBJECTIVE
    path = tiny(**sections_of(name, dropout=0.1))
    tried = hold(monkeypatch, most=5)
    pretrain(recipe_file.load(str(path), ["train.auto_batch=true"]).recipe, tmp_path / "found", talk=QUIET)
    assert tried[:3] == [16, 8, 4]
    assert set(tried[3:]) == {4}
    written = recipe_file.load(str(tmp_path / "found" / "recipe.yaml")).recipe.train
    assert (written.batch_size, written.micro_batch_size, written.auto_batch) == (16, 4, False)
    monkeypatch.undo()
    monkeypatch.setenv("PTK_CACHE", str(tmp_path / "cache"))
    pretrain(recipe_file.load(str(path), ["train.micro_batch_size=4"]).recipe, tmp_path / "said", talk=QUIET)
    assert equal(tmp_path / "found", tmp_path / "said")
    again = recipe_file.load(str(path), ["train.auto_batch=true"]).recipe
    pretrain(again, tmp_path / "found", resume=True, talk=QUIET)  # what was found stays: nothing is tried again
    assert recipe_file.load(str(tmp_path / "found" / "recipe.yaml")).recipe.train.micro_batch_size == 4


PHASES = "{phases: [{length: 16, steps: 3, batch_size: 32}, {length: 32, steps: 2, batch_size: 12}], precision: fp32}"


def test_the_largest_batch_of_every_stage_is_tried(tiny):
    shapes = [batch["input_ids"].shape for batch in measuring.largest_of_stages(session(tiny(train=PHASES)))]
    assert shapes == [(32, 16), (12, 32)]


def test_several_batches_are_tried_where_minutes_are_no_steps_yet(tiny, monkeypatch):
    made, tried = session(tiny(), "train.minutes=1"), []
    getitem = Batches.__getitem__
    monkeypatch.setattr(Batches, "__getitem__", lambda self, step: tried.append(step) or getitem(self, step))
    assert len(measuring.largest_of_stages(made)) == 1
    assert tried == list(range(measuring.TRIED_STEPS))


def test_the_rows_that_are_found_fit_in_every_phase(tiny, tmp_path, monkeypatch):
    """A short phase first, whose batch is the larger one: what fits there is too much for the long rows."""
    forward = Wrapped.forward

    def limited(self, batch):
        if self.training and batch["input_ids"].numel() > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    monkeypatch.setattr(Wrapped, "forward", limited)
    recipe = recipe_file.load(str(tiny(train=PHASES)), ["train.auto_batch=true"]).recipe
    pretrain(recipe, tmp_path / "run", talk=QUIET)
    assert recipe_file.load(str(tmp_path / "run" / "recipe.yaml")).recipe.train.micro_batch_size == 6


@pytest.mark.parametrize("setting", ["train.auto_batch=true", "train.minutes=0.01"])
def test_what_is_measured_is_a_model_in_training(tiny, tmp_path, monkeypatch, setting):
    """A model from a folder comes in evaluation: without dropout it takes less memory and less time."""
    monkeypatch.setattr(measuring, "MEASURED_SECONDS", 0.1)
    pretrain(recipe_file.load(str(tiny()), ["train.steps=1"]).recipe, tmp_path / "first", talk=QUIET)
    forward, modes = Wrapped.forward, []

    def seen(self, batch):
        modes.append(self.model.training)
        return forward(self, batch)

    monkeypatch.setattr(Wrapped, "forward", seen)
    made = session(tiny(), f"init={tmp_path / 'first'}", setting)
    measuring.measured(made, made.fresh_model())
    assert modes
    assert all(modes)


def test_memory_that_ends_while_minutes_are_measured_has_remedies(tiny, tmp_path, monkeypatch):
    hold(monkeypatch, most=0)
    with pytest.raises(OutOfMemoryError, match="micro_batch_size=8"):
        pretrain(recipe_file.load(str(tiny()), ["train.minutes=0.01"]).recipe, tmp_path / "run", talk=QUIET)
    assert Run(tmp_path / "run").read_status()["exit_code"] == 7


def test_remedies_of_phases_name_their_rows_and_not_what_is_set_already(tiny, tmp_path, monkeypatch):
    hold(monkeypatch, most=0)
    recipe = recipe_file.load(str(tiny(train=PHASES)), ["train.gradient_checkpointing=true"]).recipe
    said = (
        r"with 32 rows of up to 32 tokens .*micro_batch_size=16 \(.*\), the length of the longest of train.phases=16$"
    )
    with pytest.raises(OutOfMemoryError, match=said):
        pretrain(recipe, tmp_path / "run", talk=QUIET)


def test_memory_that_holds_not_one_row_is_an_error(tiny, tmp_path, monkeypatch):
    hold(monkeypatch, most=0)
    recipe = recipe_file.load(str(tiny()), ["train.auto_batch=true"]).recipe
    said = r"not one row of 32 tokens fits into memory, 2\d,\d{3} parameters; .*gradient_checkpointing=true.*length=16"
    with pytest.raises(OutOfMemoryError, match=said):
        pretrain(recipe, tmp_path / "run", talk=QUIET)
    assert Run(tmp_path / "run").read_status()["exit_code"] == 7


def test_minutes_become_steps_before_the_first_counted_one(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "MEASURED_SECONDS", 0.2)
    recipe = recipe_file.load(str(tiny()), ["train.minutes=0.02", "train.log_every=1000"]).recipe
    assert recipe.train.steps is None
    pretrain(recipe, tmp_path / "run", talk=QUIET)
    written = recipe_file.load(str(tmp_path / "run" / "recipe.yaml")).recipe
    assert written.train.minutes is None
    assert written.train.steps == Run(tmp_path / "run").metrics()[-1]["step"]
    again = replace(written, name="again")
    pretrain(again, tmp_path / "again", talk=QUIET)
    assert equal(tmp_path / "run", tmp_path / "again")
