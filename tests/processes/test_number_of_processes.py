"""A run goes on with another number of processes: the same global batches, the same losses (R6, R20)."""

import signal
import subprocess
import sys
import time

import pytest
from conftest import sections_of
from running import carried_out
from tiny_tasks import EVERY_HEAD, write_recipe

from ptk import checkpoint, recipe_file
from ptk.errors import Interrupted
from ptk.run import Run
from ptk.step import Training

STEPS = "{steps: 9, length: 32, batch_size: 16, micro_batch_size: 3, lr: 1e-3, log_every: 1, precision: fp32}"
TIMED = {"split", "seconds", "tokens_per_second"}


@pytest.mark.parametrize(("name", "parallel"), [("tagging", "ddp"), ("rtd", "fsdp")])
def test_one_process_then_two_then_one(tiny, tmp_path, environment, monkeypatch, name, parallel):
    """Two of them are stopped by a NaN in one process: no update anywhere, exit 6, and its checkpoint is named."""
    head = name in EVERY_HEAD
    path = write_recipe(name, tmp_path, 0.0) if head else tiny(**sections_of(name, dropout=0.0), train=STEPS)
    words = ["train.save_every=1", "train.keep=9", "train.eval_every=3", f"train.parallel={parallel}"]
    words += ["train.steps=9", "train.micro_batch_size=3"] if head else []
    recipe = recipe_file.load(str(path), words).recipe
    carried_out(recipe, tmp_path / "one")
    step = Training.step

    def stopping(self, batches, state, flags):
        if state.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return step(self, batches, state, flags)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", stopping)
        with pytest.raises(Interrupted):
            carried_out(recipe, tmp_path / "changed")
    command = [
        sys.executable,
        "-m",
        "ptk",
        "finetune" if head else "pretrain",
        str(path),
        *words,
        "train.max_bad_steps=1",
    ]
    command += ["--processes", "2", "--run", str(tmp_path / "changed"), "--resume"]
    faulty = {**environment, "PTK_FAULT": "loss@step7@process1:nan"}
    ended = subprocess.run(command, env=faulty, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 6, (ended.returncode, ended.stderr)
    (error,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert "step 7: gradients were not finite" in error
    assert f"the last good checkpoint is {tmp_path}/changed/checkpoints/step-00000006" in error
    assert [p.name[-1] for p in checkpoint.newest_first(tmp_path / "changed" / "checkpoints")] == list("654321")
    carried_out(recipe, tmp_path / "changed", resume=True)
    lines = [Run(tmp_path / run).metrics() for run in ("one", "changed")]
    for a, b in zip(*lines, strict=True):
        assert {key: b[key] for key in b.keys() - TIMED} == pytest.approx(
            {key: a[key] for key in a.keys() - TIMED}, rel=1e-5, abs=1e-6
        )


def test_processes_that_do_not_divide_the_batch_are_refused_at_once(tiny, tmp_path, environment):
    command = [sys.executable, "-m", "ptk", "pretrain", str(tiny()), "--run", str(tmp_path / "run")]
    alone = {**environment, "RANK": "0", "WORLD_SIZE": "3"}  # before any other is waited for
    ended = subprocess.run(command, env=alone, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "numbers of processes that can: 1, 2, 4, 8, 16" in ended.stderr
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_full_disk_of_the_one_that_writes_ends_all(tiny, tmp_path, environment):
    """R17: the others wait for nobody, one message is said, and the code is that of the cause."""
    command = [sys.executable, "-m", "ptk", "pretrain", str(tiny(train=STEPS)), "train.save_every=2"]
    faulty = {**environment, "PTK_FAULT": "before-file:optimizer@step4:enospc"}
    began = time.monotonic()
    command += ["--processes", "2", "--run", str(tmp_path / "run")]
    ended = subprocess.run(command, env=faulty, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 4, ended.stderr
    (error,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert "no space left" in error
    assert "Traceback" not in ended.stderr
    assert time.monotonic() - began < 40
    assert [p.name[-1] for p in checkpoint.newest_first(tmp_path / "run" / "checkpoints")] == ["2"]
    assert Run(tmp_path / "run").read_status()["exit_code"] == 4
