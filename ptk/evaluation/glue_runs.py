"""The runs of ``ptk eval --glue``: what is there already, about how long the rest will take, and training it."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ptk import checkpoint, device, files, measuring, recipe_file, resuming
from ptk import run as runs
from ptk.checkpoint import State
from ptk.data import rows
from ptk.data.rows import RowSource
from ptk.errors import Interrupted, RecipeError
from ptk.finetuning import Finetuning, finetune
from ptk.models import load
from ptk.progress import Talk, duration
from ptk.recipe import Recipe
from ptk.run import Run
from ptk.session import with_steps

SPEED = ("micro_batch_size", "micro_batch_tokens", "auto_batch", "workers", "compile", "gradient_checkpointing")
CARE = ("log_every", "save_every", "keep", "timeout", "max_bad_steps")
NO_MATTER = {"track", *(f"train.{key}" for key in (*SPEED, *CARE))}
"""Settings that another call may have otherwise: a finished run would have come out the same."""
MEASURED_SECONDS = 3.0
FORWARD = 1 / 3  # of what a training step takes
VALIDATIONS = 10  # of a run, unless train.eval_every says otherwise


@dataclass(frozen=True)
class Planned:
    """A task's run before it begins."""

    recipe: Recipe
    folder: Path
    state: Literal["new", "begun", "finished"]
    seconds: float
    """About how long it will take; nan where that cannot be told."""


def planned(recipe: Recipe, folder: Path) -> Planned:
    """What is to do for a task. Raises what reading it raises, and RecipeError where another run is in ``folder``."""
    quiet = Talk(quiet=True)
    precision = device.precision(recipe.train.precision, device.kind())
    given = recipe
    made = Finetuning.prepared(replace(recipe, train=replace(recipe.train, precision=precision)), quiet)
    recipe, objective, data = made
    plan = Finetuning.plan_of(recipe, objective, data)
    if recipe.train.epochs is not None:
        recipe = replace(recipe, train=replace(recipe.train, steps=plan.steps, epochs=None))
    state = state_of(folder, recipe, data.fingerprint)
    if state == "finished":
        return Planned(given, folder, state, 0.0)
    run, accelerator = Run(folder, writes=False), device.accelerator(precision, recipe.train.timeout)
    return Planned(given, folder, state, seconds(Finetuning(recipe, run, data, objective, plan, accelerator, quiet)))


def state_of(folder: Path, recipe: Recipe, store: str) -> Literal["new", "begun", "finished"]:
    """How far the run in a folder is. Raises RecipeError when it is another one: of other settings, text or weights."""
    run = Run(folder)
    if not runs.used(folder):
        return "new"
    if not run.recipe.exists():
        return "begun"
    environment = folder / "environment.json"
    before = files.read_json(environment).get("store", store) if environment.exists() else store
    reasons = differences(recipe, recipe_file.load(str(run.recipe)).recipe)
    reasons += ["the task's files or the tokenizer have changed since"] if before != store else []
    reasons += [f"{recipe.init} is newer than it"] if newer(recipe.init or "", run.recipe) else []
    if reasons:
        raise RecipeError(f"{folder}: holds another run: {'; '.join(reasons)}; choose a new folder with --out")
    done = run.read_status().get("status") == "finished" and (folder / "results.json").exists() and run.model.is_dir()
    return "finished" if done else "begun"


def differences(now: Recipe, before: Recipe) -> list[str]:
    """What a run's recipe has otherwise, where that matters."""
    if now.train.minutes is not None:  # they were turned into steps
        now = replace(now, train=replace(now.train, minutes=None, steps=before.train.steps))
    mine, theirs = resuming.flat(now), resuming.flat(before)
    keys = [key for key in sorted(mine | theirs) if mine.get(key) != theirs.get(key) and key not in NO_MATTER]
    return [f"{key} {theirs.get(key)!r}, not {mine.get(key)!r}" for key in keys]


def newer(model: str, than: Path) -> bool:
    """Were the weights of a model on this machine written after a file?"""
    folder = Path(load.folder_of(model))
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return any(os.stat(file).st_mtime > os.stat(than).st_mtime for file in weights)


def seconds(session: Finetuning) -> float:
    """About how long the rest of a run will take, from the speed of a few steps; nan where these do not go through."""
    plan, train = session.plan, session.recipe.train
    try:
        each = seconds_a_token(session)
    except RuntimeError as error:
        if not measuring.is_out_of_memory(error):
            raise
        return float("nan")  # the run will say what to do, or with train.auto_batch do it
    trained_on = sum(plan.epochs(number) * sum(map(tokens, stage.members)) for number, stage in enumerate(plan.stages))
    training = each * trained_on if train.minutes is None else train.minutes * 60
    saved = checkpoint.newest_first(session.run.checkpoints)
    left = 1 - int(saved[0].name.removeprefix("step-")) / plan.steps if saved and train.minutes is None else 1.0
    held_out = {name: tokens(session.split(name).rows) for name in session.data.stores if name != "train"}
    validations = plan.steps // train.eval_every if train.eval_every else min(plan.steps, VALIDATIONS)
    scored = left * validations * held_out["validation"] + sum(held_out.values())
    return left * training + each * FORWARD * scored


def tokens(source: RowSource) -> int:
    return int(rows.rows(source, 0).lengths().sum())


def seconds_a_token(session: Finetuning) -> float:
    """Of training, over the steps of MEASURED_SECONDS on a model that is thrown away, at least one."""
    training = replace(session.training(session.fresh_model()), lr=lambda _step: 0.0)
    batches = replace(session, plan=with_steps(session.plan, measuring.ENDLESS)).batches()
    state, warm = State(), State()
    began = time.monotonic()
    while state.step < 2 or time.monotonic() - began < MEASURED_SECONDS:
        training.step(batches[state.step], state, (0, 0))
        if state.step == 1:  # it only warmed caches up
            warm, began = replace(state), time.monotonic()
    session.accelerator.free_memory()
    return (time.monotonic() - began) / (state.tokens - warm.tokens)


def about(plans: Mapping[str, Planned]) -> str:
    """How long all will take, in a line."""
    left = {task: plan.seconds for task, plan in plans.items() if plan.state != "finished"}
    if not left:
        return "all runs are finished already"
    each = ", ".join(f"{task} {duration(time) if time == time else 'not known'}" for task, time in left.items())
    total = sum(time for time in left.values() if time == time)
    return f"about {duration(total)} for {len(left)} runs, measured: {each}"


def trained(plan: Planned, talk: Talk) -> dict[str, Any]:
    """The results of a task's run, which is begun, continued, or finished already."""
    if plan.state == "finished":
        return files.read_json(plan.folder / "results.json")
    try:
        return finetune(plan.recipe, plan.folder, resume=True, talk=talk)
    except Interrupted as error:
        said = str(error).replace("go on with --resume", "the same command goes on")
        raise Interrupted(f"{plan.recipe.name}: {said}", error.exit_code - 128) from error
