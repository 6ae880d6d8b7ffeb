"""Checkpoints: whole or not there, written in the background; nothing damaged is taken, nothing good deleted."""

import errno
import math
import os
import random
import shutil
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from running import QUIET, equal, weights
from safetensors.torch import load_file

from ptk import checkpoint, engine, faults, files, recipe_file
from ptk.checkpoint import State
from ptk.errors import CheckpointError, DiskError
from ptk.metrics import Mean
from ptk.pretraining import pretrain
from ptk.run import Run
from ptk.saving import Saver


def save(folder: Path, step: int, keep: int = 2, best: int | None = None, warn=print) -> None:
    torch.manual_seed(step)
    saver = Saver(folder, {"store": "x"}, keep, warn=warn)
    state = State(step=step, best=best and (best, 1.0))
    saver.save(
        state, checkpoint.weights(torch.nn.Linear(4, 3)), {"optimizer": {"a": torch.ones(3), "b": [torch.ones(1), 2.0]}}
    )
    saver.wait()
    saver.close()


def steps(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint.newest_first(folder)]


@pytest.fixture
def saved(tmp_path) -> Path:
    for step in (1, 2):
        save(tmp_path, step)
    return tmp_path


def test_what_is_saved_is_loaded(saved):
    model = torch.nn.Linear(4, 3)
    state, extra = checkpoint.load(saved / "step-00000002", model)
    torch.manual_seed(2)
    assert torch.equal(model.weight, torch.nn.Linear(4, 3).weight)
    assert state == State(step=2)
    assert extra["optimizer"]["b"] == [torch.ones(1), 2.0]


def test_a_tied_weight_is_written_once_under_its_first_name(tmp_path):
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    assert list(checkpoint.weights(model)) == ["0.weight"]
    checkpoint.write(tmp_path, State(step=1), checkpoint.weights(model), {}, {})
    other = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5, bias=False))
    other[1].weight = other[0].weight
    checkpoint.load(tmp_path / "step-00000001", other)
    assert torch.equal(other[1].weight, model[1].weight)


def test_the_newest_and_the_best_are_kept(saved):
    save(saved, 3, keep=2)
    assert steps(saved) == [3, 2]
    save(saved, 4, keep=1, best=2)
    assert steps(saved) == [4, 2]
    save(saved, 5, keep=1, best=5)
    assert steps(saved) == [5]


def test_a_checkpoint_that_cannot_be_deleted_is_a_warning(saved, monkeypatch):
    said = []

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "remove_folder", lambda path: refuse() if "old" in path.name else None)
    save(saved, 3, keep=1, warn=said.append)
    assert len(said) == 2
    assert "step-00000001: an old checkpoint could not be deleted (Permission denied)" in said[1]
    assert checkpoint.find(saved)[0] == saved / "step-00000003"


def test_there_is_a_whole_checkpoint_at_every_moment(tmp_path):
    """keep 1, watched from another thread while forty are written (R19)."""
    save(tmp_path, 1, keep=1)
    wrong, done = [], threading.Event()

    def watch():
        while not done.is_set():
            # Looking at a folder takes time, in which another one may come and this one go: look again.
            if not any((path / "manifest.json").exists() for _ in range(3) for path in tmp_path.glob("step-*")):
                wrong.append(os.listdir(tmp_path))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for step in range(2, 42):
        save(tmp_path, step, keep=1)
    done.set()
    watcher.join()
    assert wrong == []
    assert steps(tmp_path) == [41]


def damaged_in_every_way(whole: bytes, rng: random.Random):
    bit = rng.randrange(8 * len(whole))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    yield from (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"\n", bytes(flipped), None)


def test_every_truncated_missing_or_flipped_file_is_found_and_the_older_checkpoint_taken(saved):
    newest, rng = saved / "step-00000002", random.Random(0)
    for name in sorted(path.name for path in newest.iterdir()):
        whole = (newest / name).read_bytes()
        for damaged in damaged_in_every_way(whole, rng):
            (newest / name).unlink() if damaged is None else (newest / name).write_bytes(damaged)
            found, reasons = checkpoint.find(saved)
            assert found == saved / "step-00000001", (name, damaged)
            assert list(reasons) == [newest]
            (newest / name).write_bytes(whole)
    assert checkpoint.find(saved)[0] == newest


def test_no_usable_checkpoint_is_an_error_of_its_own(saved):
    for folder in checkpoint.newest_first(saved):
        (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"no usable checkpoint"):
        checkpoint.find(saved)


def test_a_checkpoint_of_another_model_is_an_error(saved):
    with pytest.raises(CheckpointError, match="weights of another model"):
        checkpoint.load(saved / "step-00000002", torch.nn.Linear(5, 3))


@pytest.mark.parametrize("name", ["model", "optimizer", "state", "manifest"])
@pytest.mark.parametrize("action", ["enospc", "erofs"])
def test_a_full_or_read_only_disk_leaves_no_trace(saved, monkeypatch, name, action):
    monkeypatch.setattr(faults, "PLANNED", faults.parse(f"before-file:{name}@step3:{action}"))
    said = {"enospc": r"no space left: 0.0 MB are needed, [\d.,]+ MB are free; delete", "erofs": "cannot be written"}
    with pytest.raises(DiskError, match=said[action]):
        save(saved, 3)
    assert sorted(path.name for path in saved.iterdir()) == ["step-00000001", "step-00000002"]


def test_what_torch_makes_of_a_full_disk_is_said_in_the_same_words(saved, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(RuntimeError("unexpected pos 64 vs 0")))
    with pytest.raises(RuntimeError, match="unexpected pos"):  # there is room: it is something else
        save(saved, 3)
    usage = shutil.disk_usage(saved)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(DiskError, match="no space left"):
        save(saved, 3)
    assert sorted(path.name for path in saved.iterdir()) == ["step-00000001", "step-00000002"]


def test_deleting_an_old_checkpoint_that_is_a_link_leaves_what_it_points_to(saved, tmp_path_factory):
    victim = tmp_path_factory.mktemp("victim")
    (victim / "precious").write_text("")
    shutil.rmtree(saved / "step-00000001")
    (saved / "step-00000001").symlink_to(victim)
    save(saved, 3)
    assert (victim / "precious").exists()
    assert not (saved / "step-00000001").exists()


# In the background ---------------------------------------------------------------------------------------------


def test_saving_does_not_wait_for_the_disk_and_keeps_what_the_weights_were(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "PLANNED", faults.parse("after-mkdir:slow"))
    model = torch.nn.Linear(4, 3)
    before = model.weight.detach().clone()
    saver = Saver(tmp_path, {}, keep=2)
    began = time.perf_counter()
    saver.save(State(step=1), checkpoint.weights(model), {"optimizer": {"m": model.weight.detach()}})
    assert time.perf_counter() - began < 0.2
    with torch.no_grad():
        model.weight.zero_()  # the next step
    assert checkpoint.newest_first(tmp_path) == []
    saver.wait()
    saver.close()
    _, extra = checkpoint.load(tmp_path / "step-00000001", other := torch.nn.Linear(4, 3))
    assert torch.equal(other.weight, before)
    assert torch.equal(extra["optimizer"]["m"], before)


def test_where_there_is_no_room_for_a_copy_saving_waits_for_the_disk(tmp_path, monkeypatch):
    model = torch.nn.Linear(4, 3)
    needed = 2 * model.weight.nbytes + model.bias.nbytes
    memory = psutil.virtual_memory()
    for step, room in ((1, 2 * needed), (2, 2 * needed + 1)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda room=room: memory._replace(available=room))
        saver = Saver(tmp_path, {}, keep=2)
        saver.save(State(step=step), checkpoint.weights(model), {"optimizer": {"m": model.weight.detach()}})
        assert bool(saver.copies) == (step == 2)
        assert step == 2 or checkpoint.newest_first(tmp_path) == [tmp_path / "step-00000001"]
        saver.wait()
        saver.close()
    one, two = (load_file(tmp_path / f"step-0000000{step}" / "model.safetensors") for step in (1, 2))
    assert torch.equal(one["weight"], two["weight"])
    assert checkpoint.find(tmp_path) == (tmp_path / "step-00000002", {})


def test_a_write_that_fails_stops_the_run_with_its_reason(tiny, tmp_path, monkeypatch):
    recipe = recipe_file.load(str(tiny()), ["train.save_every=2"]).recipe
    monkeypatch.setattr(faults, "PLANNED", faults.parse("before-file:optimizer@step4:enospc"))
    with pytest.raises(DiskError, match="no space left"):
        pretrain(recipe, tmp_path / "run", talk=QUIET)
    assert Run(tmp_path / "run").read_status()["exit_code"] == 4
    assert steps(tmp_path / "run" / "checkpoints") == [2]
    assert checkpoint.find(tmp_path / "run" / "checkpoints")[1] == {}
    monkeypatch.setattr(faults, "PLANNED", [])
    pretrain(recipe, tmp_path / "run", resume=True, talk=QUIET)
    pretrain(recipe, tmp_path / "whole", talk=QUIET)
    assert equal(tmp_path / "run", tmp_path / "whole")


def test_the_model_is_made_of_the_best_checkpoint(tiny, tmp_path, monkeypatch):
    """Validation is best in the middle: that checkpoint stays, and is what is exported and scored, after a stop too."""
    words = ["train.keep_best=true", "train.keep=1", "train.eval_every=2", "train.save_every=4", "train.lr=1e-4"]
    recipe = recipe_file.load(str(tiny()), words).recipe
    losses = iter([3.0, 1.0, math.nan, 2.0, 1.5] * 2)
    fake = {"mlm": lambda: Mean(next(losses), 1.0), "nsp": lambda: Mean(0.0, 1.0)}
    score = engine.evaluate
    monkeypatch.setattr(engine, "evaluate", lambda *all: score(*all) | {name: of() for name, of in fake.items()})
    results = pretrain(recipe, tmp_path / "run", talk=QUIET)
    folder = tmp_path / "run" / "checkpoints"
    assert steps(folder) == [8, 4]
    best, exported = load_file(folder / "step-00000004" / "model.safetensors"), weights(tmp_path / "run")
    assert all(torch.equal(exported[name], best[name]) for name in exported)
    assert results["metrics"]["mlm"] == 1.5  # scored again, with those weights
    assert results["steps"] == 8
