"""What is measured before the first step: rows that fit into memory, steps that fit into minutes."""

from dataclasses import replace

import pytest
import torch
from conftest import EVERY_OBJECTIVE, sections_of
from running import QUIET, equal, session

from ptk import measuring, recipe_file
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


def test_the_largest_batch_of_every_stage_is_tried(tiny):
    made = session(tiny(train="{phases: [{length: 16, steps: 3}, {length: 32, steps: 2}], batch_size: 8}"))
    assert measuring.largest(made)["input_ids"].shape == (8, 32)


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
