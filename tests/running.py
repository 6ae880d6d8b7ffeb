"""What tests of runs share: a session of a tiny recipe, what its steps do, the weights that a run leaves."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ptk import device, recipe_file
from ptk.checkpoint import State
from ptk.progress import Talk
from ptk.recipe import Recipe
from ptk.run import Run
from ptk.session import Session
from ptk.training import carry_out, kind_of

QUIET = Talk(quiet=True)


def session(path: Path, *overrides: str) -> Session:
    recipe = recipe_file.load(str(path), overrides).recipe
    kind = kind_of(recipe)
    recipe, objective, data = kind.prepared(recipe, QUIET)
    plan = kind.plan_of(recipe, objective, data)
    precision = device.precision(recipe.train.precision, device.kind())
    return kind(recipe, Run(path.parent / "run"), data, objective, plan, device.accelerator(precision), QUIET)


def carried_out(recipe: Recipe, folder: Path, **options: bool) -> dict[str, Any]:
    """Pretrained or fine-tuned, as the recipe says."""
    return carry_out(kind_of(recipe), recipe, folder, talk=QUIET, **options)


def trajectory(made: Session, steps: int = 8) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Losses and gradient norm of every step, and the gradients of the first."""
    model = made.fresh_model()
    training, batches, state = made.training(model), made.batches(), State()
    model.train()
    lines, gradients = [], {}
    original = training.strategy.step

    def keep(most: float) -> float:
        if state.step == 0:
            gradients.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        return original(most)

    training.strategy.step = keep  # type: ignore[method-assign]
    for step in range(steps):
        losses, norm, _ = training.step(batches[step], state, (0, 0))
        values = {name: float(mean.total) / float(mean.count) for name, mean in losses.items()}
        lines.append({**values, "norm": norm})
    return lines, gradients


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_checkpoint(one: Path, other: Path, step: int) -> bool:
    """Weights, optimizer and counters, all but the clock."""
    folders = [run / "checkpoints" / f"step-{step:08d}" for run in (one, other)]
    a, b = (load_file(folder / "model.safetensors") for folder in folders)
    m, n = (torch.load(folder / "optimizer.pt", weights_only=True) for folder in folders)
    s, t = (json.loads((folder / "state.json").read_text()) for folder in folders)
    same_state = all(s[key] == t[key] for key in s.keys() - {"seconds", "window_start"})
    return same(a, b) and same(m, n) and same_state and s["window_start"][0] == t["window_start"][0]


def same(one: Any, other: Any) -> bool:
    """Equal bit for bit, in a nest of mappings and lists."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def logged(folder: Path) -> list[dict[str, object]]:
    """metrics.jsonl without what a clock says."""
    timed = ("tokens_per_second", "seconds")
    return [{k: v for k, v in line.items() if k not in timed} for line in Run(folder).metrics()]
