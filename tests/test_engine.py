"""The loop: exact means however a batch is divided, resuming bit for bit, stopping before a bad update."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import sections_of
from running import QUIET, equal, logged, session, trajectory, weights
from torch import nn

from ptk import recipe_file
from ptk.checkpoint import State
from ptk.errors import DivergedError
from ptk.pretraining import pretrain
from ptk.run import Run
from ptk.session import Session
from ptk.step import Wrapped

NO_DROPOUT = (
    "{type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, "
    "max_position_embeddings: 64, hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}"
)


@pytest.mark.parametrize(
    ("objective", "micro", "parallel"),
    [
        ("mlm-next", "micro_batch_size=8", "ddp"),
        ("span_corruption", "micro_batch_tokens=50", "fsdp"),  # of which one process may have fewer than the other
        ("rtd", "micro_batch_size=3", "ddp"),
    ],
)
def test_two_processes_take_the_same_steps_as_one(tiny, tmp_path, environment, objective, micro, parallel):
    path = tiny(**sections_of(objective, dropout=0.0))
    pretrain(recipe_file.load(str(path)).recipe, tmp_path / "one", talk=QUIET)
    folder = tmp_path / "two"
    command = [sys.executable, "-m", "ptk", "pretrain", str(path), f"train.{micro}", f"train.parallel={parallel}"]
    subprocess.run([*command, "--processes", "2", "--run", str(folder)], env=environment, check=True, timeout=120)
    one, two = Run(tmp_path / "one").metrics(), Run(folder).metrics()
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        assert a["split"] == b.pop("split")
        for name in a.keys() - {"split"} - {"seconds", "tokens_per_second"}:
            assert b[name] == pytest.approx(a[name], rel=1e-5), (a["step"], name)
    for name, weight in weights(tmp_path / "one").items():  # what eight steps' gradients have made
        torch.testing.assert_close(weights(folder)[name], weight, rtol=1e-5, atol=1e-5)


def start(path: Path, folder: Path, environment, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "ptk", "pretrain", str(path), "--run", str(folder), *more]
    with open(f"{folder}.log", "w") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def wait_for_step(folder: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if any(line["step"] >= step for line in Run(folder).metrics()):
            return
        time.sleep(0.005)
    raise AssertionError(f"step {step} was not reached:\n{Path(f'{folder}.log').read_text()}")


@pytest.mark.parametrize(("workers", "precision"), [(0, "bf16"), (2, "fp32")])
def test_a_killed_run_goes_on_bit_for_bit(tiny, tmp_path, environment, workers, precision):
    """SIGKILL from outside in the middle of an epoch, dropout on, three micro-batches a step."""
    train = (
        f"{{steps: 40, length: 32, batch_size: 48, micro_batch_size: 16, lr: 1e-3, log_every: 1, save_every: 7, "
        f"precision: {precision}, workers: {workers}}}"
    )
    path = tiny(train=train)
    undisturbed = start(path, tmp_path / "whole", environment)
    killed = start(path, tmp_path / "killed", environment)
    wait_for_step(tmp_path / "killed", 17, killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert undisturbed.wait(120) == 0, Path(f"{tmp_path}/whole.log").read_text()
    assert not (tmp_path / "killed" / "model").exists()
    resumed = start(path, tmp_path / "killed", environment, "--resume")
    assert resumed.wait(120) == 0, Path(f"{tmp_path}/killed.log").read_text()
    assert equal(tmp_path / "whole", tmp_path / "killed")

    assert logged(tmp_path / "whole") == logged(tmp_path / "killed")  # no step twice, none lost
    assert not list((tmp_path / "killed" / "checkpoints").glob(".tmp*"))
    steps_an_epoch = session(path).plan.steps_per_epoch(0)
    assert 2 * steps_an_epoch < 40
    assert 17 % steps_an_epoch != 0


def test_the_same_command_twice_gives_the_same_weights(tiny, tmp_path):
    recipe = recipe_file.load(str(tiny())).recipe
    for name in ("one", "two"):
        pretrain(recipe, tmp_path / name, talk=QUIET)
    assert equal(tmp_path / "one", tmp_path / "two")


def test_the_logged_loss_is_the_mean_over_all_labels_of_the_window(tiny, tmp_path):
    path = tiny(model=NO_DROPOUT)
    each = trajectory(session(path))
    made = session(path)
    counts = [[made.objective.counts(batch)["mlm"] for batch in made.batches()[step]] for step in range(8)]
    total = sum(line["mlm"] * sum(count) for line, count in zip(each[0], counts, strict=True))
    recipe = recipe_file.load(str(path), ["train.log_every=8"]).recipe
    pretrain(recipe, tmp_path / "run", talk=QUIET)
    line = next(line for line in Run(tmp_path / "run").metrics() if line["split"] == "train")
    assert line["mlm"] == pytest.approx(total / sum(map(sum, counts)), rel=1e-5)


def test_gradients_that_are_not_finite_move_nothing_and_stop_the_run(tiny, tmp_path, monkeypatch):
    made = session(tiny())
    model = made.fresh_model()
    training, batches, state = made.training(model), made.batches(), State()
    before = {name: p.clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        model.cls.predictions.bias[5] = math.nan
    training.step(batches[0], state, (0, 0))
    assert state.bad_steps == 1
    moved = [n for n, p in model.named_parameters() if not torch.equal(p.nan_to_num(), before[n].nan_to_num())]
    assert moved == []

    recipe = recipe_file.load(str(tiny())).recipe

    fresh = Session.fresh_model

    def poisoned(self: Session) -> torch.nn.Module:
        broken = fresh(self)
        with torch.no_grad():
            broken.cls.predictions.bias[5] = math.nan
        return broken

    monkeypatch.setattr(Session, "fresh_model", poisoned)
    with pytest.raises(DivergedError, match="not finite 3 steps in a row"):
        pretrain(recipe, tmp_path / "run", talk=QUIET)
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["exit_code"] == 6
    lines = [line for line in Run(tmp_path / "run").metrics() if line["split"] == "train"]
    assert [line["loss"] for line in lines] == ["nan"] * 3


def test_sigterm_saves_and_exits_143(tiny, tmp_path, environment):
    path = tiny(train="{steps: 4000, length: 32, batch_size: 16, log_every: 1, precision: fp32}")
    process = start(path, tmp_path / "run", environment)
    wait_for_step(tmp_path / "run", 5, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    status = Run(tmp_path / "run").read_status()
    assert status["status"] == "interrupted"
    assert status["exit_code"] == 143
    last = Run(tmp_path / "run").metrics()[-1]["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{last:08d}" / "manifest.json").exists()


def test_a_signal_to_the_whole_group_lets_workers_finish(tiny, tmp_path, environment):
    path = tiny(train="{steps: 4000, length: 32, batch_size: 16, log_every: 1, precision: fp32, workers: 2}")
    command = [sys.executable, "-m", "ptk", "pretrain", str(path), "--run", str(tmp_path / "run")]
    with open(tmp_path / "run.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    wait_for_step(tmp_path / "run", 5, process)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 143, (tmp_path / "run.log").read_text()
    assert Run(tmp_path / "run").read_status()["exit_code"] == 143


def test_two_processes_stop_at_one_step_and_give_their_exit_code_back(tiny, tmp_path, environment):
    path = tiny(train="{steps: 4000, length: 32, batch_size: 16, log_every: 1, precision: fp32}")
    process = start(path, tmp_path / "run", environment, "--processes", "2", "evaluate.examples=1")
    wait_for_step(tmp_path / "run", 3, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, (tmp_path / "run.log").read_text()
    last = Run(tmp_path / "run").metrics()[-1]["step"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{last:08d}" / "manifest.json").exists()
    again = start(path, tmp_path / "run", environment, "--processes", "2")
    assert again.wait(60) == 2
    assert "--resume" in (tmp_path / "run.log").read_text()


@pytest.mark.usefixtures("every_piece")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_gradient_checkpointing_changes_memory_only(tiny, dropout, precision):
    path = tiny(model=NO_DROPOUT.replace("prob: 0.0", f"prob: {dropout}"))
    settings = [f"train.precision={precision}"]
    plain, gradients = trajectory(session(path, *settings), steps=2)
    checkpointed, others = trajectory(session(path, *settings, "train.gradient_checkpointing=true"), steps=2)
    assert checkpointed == [pytest.approx(line, rel=1e-6) for line in plain]
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which torch's compiler looks at
def test_gradient_checkpointing_goes_with_compiling(tiny, monkeypatch):
    monkeypatch.setattr(Wrapped, "compile", lambda self: nn.Module.compile(self, backend="aot_eager"))
    path = tiny(model=NO_DROPOUT)
    plain, _ = trajectory(session(path), steps=1)
    compiled, _ = trajectory(session(path, "train.compile=true", "train.gradient_checkpointing=true"), steps=1)
    assert compiled == [pytest.approx(line, rel=1e-5) for line in plain]


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "bert_adamw", "lamb"])
def test_every_optimizer_goes_on_bit_for_bit_over_phases(tiny, tmp_path, optimizer):
    train = (
        "{phases: [{length: 24, steps: 5, batch_size: 8}, {length: 32, steps: 4, batch_tokens: 200}], "
        f"optimizer: {optimizer}, lr: 1e-3, precision: fp32, save_every: 1, keep: 20, log_every: 1}}"
    )
    recipe = recipe_file.load(str(tiny(train=train)), ["fidelity=paper"]).recipe
    for name in ("whole", "stopped"):
        pretrain(recipe, tmp_path / name, talk=QUIET)
    for folder in (tmp_path / "stopped" / "checkpoints").glob("step-*"):
        if int(folder.name.removeprefix("step-")) > 6:
            shutil.rmtree(folder)
    pretrain(recipe, tmp_path / "stopped", resume=True, talk=QUIET)
    assert equal(tmp_path / "whole", tmp_path / "stopped")
