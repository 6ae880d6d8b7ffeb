"""What a resumed run may change and what it may not (R7)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from ptk import recipe_file
from ptk.errors import RecipeError
from ptk.progress import Talk
from ptk.recipe import Recipe
from ptk.recipe_sections import completed

# What a resumed run may not change: the trajectory would be another one (R7).
FIXED = (
    "seed",
    "fidelity",
    "corpus",
    "tokenizer",
    "objective",
    "model",
    "task",
    "init",
    "from_scratch",
    "evaluate.share",
    "evaluate.tail",
)
BY_CONTENT = ("task.data", "task.train", "task.validation", "task.test")  # their fingerprint decides, not their path
# Of an objective: what a task's files and its entry say where the recipe does not.
SETTLED = ("labels", "metrics", "positive", "no_answer")
FIXED_TRAIN = ("length", "batch_size", "batch_tokens", "batch_ramp", "length_window", "phases", "optimizer")
FIXED_TRAIN += ("precision", "head_lr", "layer_decay", "freeze", "unfreeze_every")


def resumed(new: Recipe, old: Recipe, talk: Talk) -> Recipe:
    """The recipe to go on with. Raises RecipeError naming what differs and cannot; says what changes."""
    if new.train.steps is None and new.train.phases is None:
        same = {"steps": old.train.steps, "epochs": None, "minutes": None}  # they were turned into steps
        new = replace(new, train=replace(new.train, **same))
    if new.train.precision == "auto":
        new = replace(new, train=replace(new.train, precision=old.train.precision))
    if new.train.auto_batch:  # found already; another division would be another dropout
        found = {"micro_batch_size": old.train.micro_batch_size, "micro_batch_tokens": old.train.micro_batch_tokens}
        new = replace(new, train=replace(new.train, auto_batch=False, **found))
    if new.task is not None:  # what was found in its files, and followed from its kind
        found = {key: old.objective[key] for key in SETTLED if not new.objective.get(key) and key in old.objective}
        follows = {key: old.objective[key] for key in ("name", "problem", "framing") if key in old.objective}
        path = new.tokenizer.path or old.tokenizer.path
        objective = {**new.objective, **found, **follows}
        if not (new.train.micro_batch_size or new.train.micro_batch_tokens):
            new = replace(new, train=replace(new.train, micro_batch_tokens=old.train.micro_batch_tokens))
        new = replace(new, objective=objective, tokenizer=replace(new.tokenizer, path=path))
        new = replace(new, objective=completed(new))
    before, now = flat(old), flat(new)
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    fixed = (*FIXED, *(f"train.{name}" for name in FIXED_TRAIN))
    refused = [key for key in changed if key not in BY_CONTENT and is_of(key, fixed)]
    if refused:
        lines = [f"{key}: the run has {before.get(key)!r}, the recipe {now.get(key)!r}" for key in refused]
        raise RecipeError("--resume: " + "\n".join(lines) + "\nkeep them, or use another --run for a new run")
    for key in changed:
        talk.say(f"changed: {key}: {before.get(key)!r} -> {now.get(key)!r}")
    return new


def is_of(key: str, sections: Sequence[str]) -> bool:
    """Is a dotted key one of the settings or sections, or within one?"""
    return any(key == section or key.startswith((section + ".", section + "[")) for section in sections)


def flat(recipe: Recipe) -> dict[str, Any]:
    """Dotted key -> value."""
    found: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, part in value.items():
                walk(f"{prefix}.{name}" if prefix else name, part)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, part in enumerate(value):
                walk(f"{prefix}[{number}]", part)
        else:
            found[prefix] = value

    walk("", yaml.safe_load(recipe_file.dump(recipe)))
    return found
