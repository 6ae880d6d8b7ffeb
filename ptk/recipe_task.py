"""The recipe of ``ptk finetune``: a file, or the bundled one that has a task's settings, under what the options say."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptk import recipe_file, tasks
from ptk.errors import DataError
from ptk.models import load
from ptk.progress import Talk
from ptk.recipe import Recipe

OWN = "finetune/own"  # the bundled recipe for files of the user's own
# Widest models of a size, and the learning rate that small BERTs were fine-tuned with (arXiv 1908.08962, 2003.10555).
SMALL = ((256, "3e-4"), (512, "1e-4"))


def recipe_for(
    recipe: str | None, settings: Sequence[str], task: str | None, model: str | None, data: str | None
) -> Recipe:
    """Raises RecipeError for an unknown task, and what ``recipe_file.load`` raises."""
    known = tasks.find(task) if task else None
    options = {"task.name": task, "task.data": data, "init": model}
    given = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items() if value is not None]
    beneath: dict[str, object] = {}
    if known is not None:
        beneath["name"] = known.name.replace("/", "-")
    where = recipe or (known.recipe if known else OWN)
    if recipe is None or recipe_file.load(where, [*given, *settings], beneath).recipe.init is None:
        beneath["init"] = start(model, settings)
    if recipe is None:
        length = recipe_file.load(where, given, beneath).recipe.train.length
        given += small_model(str(beneath["init"]), settings, length)
    return recipe_file.load(where, [*given, *settings], beneath).recipe


def start(model: str | None, settings: Sequence[str]) -> str:
    """The model to start from: what is named, else the newest run, said aloud, else BERT of the hub."""
    named = next((word.partition("=")[2] for word in settings if word.startswith("init=")), model)
    if named is None:
        named = load.newest() or load.DEFAULT
        Talk().say(f"model: {named}")
    return named


def small_model(name: str, settings: Sequence[str], length: int) -> list[str]:
    """Settings in place of a bundled recipe's, of rows of ``length``, for a model that is smaller than those it is for;
    said aloud."""
    config = configuration(name)
    chosen = {"train.lr": usual_rate(config), "train.length": few_positions(config, length)}
    given = {word.partition("=")[0] for word in settings}
    found = [f"{key}={value}" for key, (value, _) in chosen.items() if value and key not in given]
    for key, (value, reason) in chosen.items():
        if value and key not in given:
            Talk().say(f"{key}={value}: {reason}")
    return found


def configuration(name: str) -> Mapping[str, Any]:
    """config.json of a model, here or of the hub; empty where it is not to be had, which is said by who loads it."""
    local = Path(load.folder_of(name)) / "config.json"
    try:
        return json.loads(local.read_text(encoding="utf-8")) if local.exists() else load.config(name).to_dict()
    except (ValueError, DataError):
        return {}


def usual_rate(config: Mapping[str, Any]) -> tuple[str, str]:
    width = config.get("hidden_size") or config.get("n_embd") or config.get("d_model") or 0
    rate = next((rate for most, rate in SMALL if 0 < width <= most), "")
    return rate, f"usual for a model {width} wide; the recipe's own is for BERT-base"


def few_positions(config: Mapping[str, Any], length: int) -> tuple[str, str]:
    positions = config.get("max_position_embeddings") or config.get("n_positions") or length
    if "roberta" in config.get("model_type", ""):  # the first ones are left to padding
        positions -= (config.get("pad_token_id") or 1) + 1
    return str(positions) if positions < length else "", "the model has no more positions"
