"""``ptk eval --task``: a fine-tuned model on a task's examples, or somebody's prediction file, by the task's rules."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptk import device, files
from ptk.data import tokenizer as tokenizers
from ptk.data.batches import Division
from ptk.errors import RecipeError
from ptk.evaluation import labelled
from ptk.evaluation.pretrained import default_out
from ptk.finetuning import all_batches, source
from ptk.models import checks, load
from ptk.prediction import head
from ptk.progress import Talk
from ptk.recipe import TaskSpec
from ptk.tasks import predictions, prepare, scores, store
from ptk.tasks.task import Task


def subject(name: str, task: Task, trust_remote_code: bool = False) -> tuple[Any, int]:
    """The head of a fine-tuned model, with its labels, and the length it was trained for."""
    config = load.config(name, trust_remote_code)
    has = head.head_of(config)
    if has is None:
        command = f"ptk finetune --task {task.name} --model {name}"
        raise RecipeError(f"--model {name}: has no head for {task.name}; fine-tune it first: {command}")
    if has != task.head:
        raise RecipeError(f"--model {name}: its head is for {has}, and {task.name} wants {task.head}")
    objective, length = head.objective_of(name, config)
    return replace(objective, metrics=task.metrics), length


def evaluate(
    spec: TaskSpec, name: str, split: str, out: Path | None = None, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Score a fine-tuned model on a split of a task; ``results.json`` and the prediction file are left in ``out``."""
    talk = Talk()
    task = prepare.task_of(spec, talk.say)
    objective, length = subject(name, task, trust_remote_code)
    labels: Any = getattr(objective, "labels", ())
    task, examples = prepare.read_split(replace(spec, labels=labels), split, talk.say)
    tokenizer = tokenizers.load(load.folder_of(name))
    run = head.recipe_of(name)
    wanted = run.train.precision if run is not None and run.train.precision != "fp16" else "auto"
    precision = device.precision(wanted, device.kind())
    accelerator = device.accelerator(precision)
    talk.say(f"{name}: {device.describe(precision)}")
    model = load.load(name, trust_remote_code)
    length = min(length, checks.positions_of(model) or length)
    rows = source(objective, store.tokenized(examples, tokenizer), length, seed=0)
    losses, answers = labelled.answers(objective, model, all_batches(rows, tokenizer, Division()), accelerator)
    found = labelled.results(objective, split, losses, answers, examples)
    where = out or default_out(f"{task.name}-{name}", name)
    file = predictions.write(
        task, split, examples, answers["predicted"], where / "predictions", answers.get("probability")
    )
    results = {"task": task.name, **found, "model": name, "predictions": str(file)}
    files.write_json(where / "results.json", results)
    return results


def score(spec: TaskSpec, file: Path, split: str, out: Path | None = None) -> dict[str, Any]:
    """Score somebody's prediction file by the task's rules."""
    task, examples = prepare.read_split(spec, split, Talk().say)
    predicted = predictions.read(task, file, examples)
    if not examples.labelled:
        raise RecipeError(f"--data: {examples.path} has no labels to score {file} by; name a file that has")
    has = examples.has_label
    words = [len(texts) for texts in examples.texts]
    sentences = np.repeat(np.arange(len(examples)), words)[has] if examples.tagging else None
    values = scores.scored(task.metrics, predicted[has], examples.labels[has], examples.names, sentences)
    about = {"task": task.name, "split": split, "examples": len(examples), "metrics": values}
    results = {**about, "score": scores.mean_score(values), "predictions": str(file)}
    files.write_json((out or default_out(f"{task.name}-{file.stem}", "")) / "results.json", results)
    return results
