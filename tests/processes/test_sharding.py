"""Sharing a model out: the same steps as one process, half of the numbers, one exchange a global batch, one format."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sharded
import torch
import yaml
from conftest import TINY, sections_of
from torch import nn

from ptk.errors import RecipeError
from ptk.processes import deepspeed, parallel, sharding
from ptk.recipe import TrainSpec

NAMES = ("mlm-next", "mlm-albert", "rtd", "span_corruption")
OPTIMIZERS = ("adamw", "bert_adamw", "lamb", "adamw_rms")
installed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")


def two_processes(kind: str, folder: Path, cache: Path) -> dict[str, Any]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    here = Path(__file__).parent
    own = {"PTK_CACHE": str(cache), "PYTHONPATH": f"{here}:{here.parent}", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **own, "HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu"}
    subprocess.run([*torchrun, sharded.__file__, kind, str(folder)], env=environment, check=True, timeout=120)
    return torch.load(folder / f"{kind}.pt")


@pytest.fixture(scope="module")
def folder(tiny_text, tmp_path_factory) -> Path:
    """Recipes of several objectives, without dropout."""
    folder = tmp_path_factory.mktemp("recipes")
    for name in NAMES:
        recipe = yaml.safe_load(TINY.replace("PATH", str(tiny_text)))
        recipe |= {key: yaml.safe_load(text) for key, text in sections_of(name, dropout=0.0).items()}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def plain(folder, _session_cache) -> dict[str, Any]:
    """One process: eight steps of each objective; with each optimizer four, which others go on with, and four."""
    found: dict[str, Any] = {}
    before: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTK_CACHE", str(_session_cache))
        for name in NAMES:
            way = sharded.Way(folder / f"{name}.yaml", "plain")
            found[name] = {"lines": way.run(0, 8), "state": way.state()}
        for optimizer in OPTIMIZERS:
            way = sharded.Way(folder / sharded.BERT, "plain", optimizer, clip=1.0)
            way.run(0, 4)
            before[optimizer] = way.state()
            found[optimizer] = {"before": before[optimizer], "lines": way.run(4, 8), "state": way.state()}
    torch.save(before, folder / "before.pt")
    return found


@pytest.fixture(scope="module")
def fsdp(folder, plain, _session_cache) -> dict[str, Any]:
    return two_processes("fsdp", folder, _session_cache)


def same_steps(one: list[dict[str, float]], other: list[dict[str, float]]) -> None:
    for a, b in zip(one, other, strict=True):
        assert b == pytest.approx(a, rel=1e-5)


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-5, atol=1e-5)


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, tensors whole and plain."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return type(other) is torch.Tensor and torch.equal(one, other)
    return one == other


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_with_a_share_each_take_the_steps_of_one(plain, fsdp, name):
    same_steps(plain[name]["lines"], fsdp[name]["lines"])
    close(plain[name]["state"]["weights"], fsdp[name]["state"]["weights"])


@pytest.mark.parametrize("name", NAMES)
def test_a_process_has_half_of_every_tensor(fsdp, name):
    for own, every, row in fsdp[name]["shares"]:
        assert own <= every / 2 + row


@pytest.mark.parametrize("name", NAMES)
def test_tied_weights_are_one_tensor_of_a_checkpoint(plain, fsdp, name):
    names = [list(found[name]["state"]["weights"]) for found in (plain, fsdp)]
    assert names[0] == names[1]
    assert fsdp[name]["names"] > len(names[0])


@pytest.mark.parametrize(("name", "groups"), list(zip(NAMES, (3, 1, 5, 5), strict=True)))
def test_gradients_are_exchanged_once_a_global_batch(fsdp, name, groups):
    """Layers one by one and the rest at once, but ALBERT, whose one layer takes turns; three micro-batches."""
    assert fsdp[name]["groups"] == groups
    assert fsdp[name]["exchanges"] == groups


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_of_one_process_goes_on_in_two_and_back(plain, fsdp, optimizer):
    found = fsdp["resumed"][optimizer]
    assert same(plain[optimizer]["before"], found["loaded"])
    same_steps(plain[optimizer]["lines"], found["lines"])
    close(plain[optimizer]["state"]["weights"], found["state"]["weights"])
    assert plain[optimizer]["state"]["optimizer"]["state"].keys() == found["state"]["optimizer"]["state"].keys()


def test_gradients_are_clipped(fsdp):
    norm, after = fsdp["clipped"]
    assert after == pytest.approx(norm / 100, rel=1e-5)


def test_an_evaluation_leaves_weights_shared_out(fsdp):
    loss, still_shared = fsdp["evaluated"]
    assert loss > 0
    assert still_shared


def test_a_process_that_writes_nothing_keeps_nothing(plain, fsdp):
    assert fsdp["dropped"] == dict.fromkeys(plain["mlm-next"]["state"]["weights"])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.list = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
        self.head = nn.Linear(2, 2)
        self.head.weight = self.list[1].get_parameter("weight")


def test_a_layer_with_tied_weights_is_left_to_the_rest():
    model = Tied()
    assert sharding.layers(model) == [model.list[0], model.list[2]]
    model.list[2] = model.list[0]
    assert sharding.layers(model) == []


def test_ddp_exchanges_gradients_once_a_global_batch(fsdp):
    assert fsdp["ddp_exchanges"] == 1


def test_what_cannot_be_shared_out_is_refused():
    with pytest.raises(RecipeError, match=r"train\.optimizer: adafactor .* use adamw_rms"):
        parallel.check(TrainSpec(optimizer="adafactor", parallel="fsdp"), processes=2)
    with pytest.raises(RecipeError, match=r"train\.optimizer: muon .* use adamw, or"):
        parallel.check(TrainSpec(optimizer="muon", parallel="fsdp"), processes=2)
    with pytest.raises(RecipeError, match=r"train\.precision: fp16"):
        parallel.check(TrainSpec(precision="fp16", parallel="fsdp"), processes=2)
    parallel.check(TrainSpec(optimizer="adafactor", parallel="fsdp"), processes=1)  # nothing to share out
    parallel.check(TrainSpec(optimizer="adafactor"), processes=2)


# DeepSpeed -------------------------------------------------------------------------------------------------


def test_its_configuration(monkeypatch):
    monkeypatch.setattr(deepspeed, "checked", lambda made: made)
    monkeypatch.setattr(deepspeed.importlib.util, "find_spec", lambda name: name)
    made = deepspeed.config(TrainSpec(clip=0.5, micro_batch_size=8), "bf16")
    expected = {"train_micro_batch_size_per_gpu": 8, "gradient_accumulation_steps": 1, "gradient_clipping": 0.5}
    assert made.items() >= {**expected, "bf16": {"enabled": True, "check_grad_overflow": True}}.items()
    assert made["zero_optimization"]["stage"] == 2
    with pytest.raises(ValueError, match="stag"):
        deepspeed.Config.model_validate(made | {"zero_optimization": {"stag": 2}})


@pytest.mark.parametrize(
    ("train", "precision", "said"),
    [
        (TrainSpec(optimizer="lamb"), "bf16", r"train\.optimizer: lamb .* use adamw or bert_adamw"),
        (TrainSpec(), "fp16", r"train\.precision: fp16 .* use bf16"),
        (TrainSpec(), "fp32", r"train\.parallel: deepspeed is not installed; pip install deepspeed, or use fsdp"),
    ],
)
def test_what_deepspeed_cannot_do_is_refused(monkeypatch, train, precision, said):
    monkeypatch.setattr(deepspeed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=said):
        deepspeed.config(train, precision)


@installed
def test_settings_that_deepspeed_does_not_know_are_refused():
    with pytest.raises(RecipeError, match=r"train\.parallel: this version of DeepSpeed"):
        deepspeed.checked({"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stag": 2}})


@pytest.fixture(scope="module")
def zero(folder, plain, _session_cache) -> dict[str, Any]:
    return two_processes("deepspeed", folder, _session_cache)


@installed
def test_deepspeed_takes_the_steps_of_one_process(plain, zero):
    same_steps(plain["mlm-next"]["lines"], zero["lines"])
    for optimizer, after in zero["resumed"].items():
        assert same(plain[optimizer]["before"], after["loaded"])
        same_steps(plain[optimizer]["lines"], after["lines"])
        close(plain[optimizer]["state"]["weights"], after["state"]["weights"])
    assert zero["resumed"].keys() == set(deepspeed.OPTIMIZERS)
