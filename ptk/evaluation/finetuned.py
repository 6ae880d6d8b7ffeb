"""``ptk eval --task``: a fine-tuned model on a task's examples, or somebody's prediction file, by the task's rules."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from ptk import device, files, recipe_file, tasks
from ptk.data import sources
from ptk.data import tokenizer as tokenizers
from ptk.data.tokenizer import Tokenizer
from ptk.errors import DataError, PtkError, RecipeError
from ptk.evaluation import labelled, questions
from ptk.evaluation.labelled import Split, source
from ptk.evaluation.pretrained import default_out
from ptk.finetuning import PROBLEMS
from ptk.models import checks, heads, load
from ptk.prediction import head
from ptk.progress import Talk
from ptk.recipe import Recipe, TaskSpec
from ptk.tasks import prediction_reading, prepare, scores, store
from ptk.tasks.examples import Examples, Questions
from ptk.tasks.task import Task

ANSWERS = {"single_label": "one of its labels", "multi_label": "any number of labels", "regression": "a score"}
UNNAMED = re.compile(r"LABEL_\d+")  # what transformers calls labels that nobody named


@dataclass(frozen=True)
class Subject:
    """A fine-tuned model and the task that it is scored on; the model is loaded when it first answers."""

    name: str
    spec: TaskSpec
    task: Task
    objective: Any
    """Its head, with its labels under the task's names."""
    length: int
    run: Recipe | None
    """That of the run which the model is of."""
    talk: Talk
    out: Path
    trust_remote_code: bool = False

    @cached_property
    def accelerator(self) -> Accelerator:
        wanted = self.run.train.precision if self.run is not None and self.run.train.precision != "fp16" else "auto"
        wanted = "fp32" if self.model.config.model_type in checks.ONLY_FP32 else wanted
        precision = device.precision(wanted, device.kind())
        self.talk.say(f"{self.name}: {device.describe(precision)}")
        return device.accelerator(precision)

    @cached_property
    def model(self) -> Any:
        return heads.in_full_precision(load.load(self.name, self.trust_remote_code).float())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return tokenizers.load(load.folder_of(self.name))

    def on(self, split: str) -> dict[str, Any]:
        """What results.json says of a split; its prediction file is left in ``out``."""
        spec = replace(self.spec, labels=self.objective.labels)
        trained = self.run.task if self.run is not None else None
        task, examples = prepare.read_split(spec, split, self.talk.say, trained)
        task = self.ruled(task)
        accelerator, objective = self.accelerator, self.named(examples.names)
        length = min(self.length, checks.positions_of(self.model) or self.length)
        rows = source(objective, store.tokenized(examples, self.tokenizer), length, seed=0)
        threshold = getattr(self.model.config, "ptk_threshold", None)
        if threshold is None and task.rule == "squad2":
            self.talk.warn(
                f"{self.name}: no threshold of no answer was fitted for it: 0 is taken; best_f1 has the best"
            )
        asked = Split(task, split, examples, rows, self.tokenizer)
        found = labelled.judged(asked, self.model, accelerator, self.out / "predictions", threshold or 0.0)
        found["data"] = examples.path
        return {"task": task.name, **found, "model": self.name, "seed": self.run.seed if self.run is not None else None}

    def ruled(self, task: Task) -> Task:
        """Own files are scored by the rules that the model was trained for, whatever else these files hold."""
        rule = getattr(self.model.config, "ptk_questions", {}).get("rule", task.rule)
        if task.kind != "answering" or self.spec.name is not None or rule == task.rule:
            return task
        self.talk.say(f"scored by the rules of {rule}, which the model was fine-tuned for")
        return replace(task, rule=rule)

    def named(self, names: tuple[str, ...]) -> Any:
        """The objective with the labels of the files, where neither the model nor the task says them."""
        if self.objective.labels or not names or self.task.head == "multiple_choice":
            return self.objective
        if len(names) != (has := self.model.config.num_labels):
            raise RecipeError(f"--model {self.name}: it has {has} labels, the files have {len(names)}; name its own")
        return replace(self.objective, labels=names)


def subject(spec: TaskSpec, name: str, out: Path | None = None, trust_remote_code: bool = False) -> Subject:
    """The model to be scored. Raises RecipeError, before data are read, for one whose head is not for the task."""
    talk = Talk()
    task = prepare.task_of(spec, talk.say)
    config = load.config(name, trust_remote_code)
    has = head.head_of(config)
    if has is None:
        command = f"ptk finetune --task {task.name} --model {name}"
        raise RecipeError(f"--model {name}: has no head for {task.name}; fine-tune it first: {command}")
    if has != task.head:
        raise RecipeError(f"--model {name}: its head is for {has}, and {task.name} wants {task.head}")
    objective, length = head.objective_of(name, config)
    if task.kind != "answering":
        check_problem(name, objective, task)
        labels = labels_of(name, objective.labels, task, spec, talk)
        positive = task.positive if task.positive in labels else objective.positive
        objective = replace(objective, labels=labels, metrics=task.metrics, positive=positive)
    elif objective.no_answer is None and task.rule == "squad2":
        objective = replace(objective, no_answer="null_span")  # what every such head can say
    where = out or default_out(f"{task.name}-{name}", name)
    return Subject(name, spec, task, objective, length, head.recipe_of(name), talk, where, trust_remote_code)


def check_problem(name: str, objective: Any, task: Task) -> None:
    """Raises RecipeError for a model that answers something else than the task asks."""
    wanted = PROBLEMS.get(task.kind)
    if wanted is not None and objective.problem != wanted:
        raise RecipeError(
            f"--model {name}: it answers with {ANSWERS[objective.problem]}, and {task.name} wants {ANSWERS[wanted]}; "
            f"name a model that was fine-tuned on {task.name}"
        )


def labels_of(name: str, labels: Sequence[str], task: Task, spec: TaskSpec, talk: Talk) -> tuple[str, ...]:
    """A model's labels by id, called as the task calls them; () where only the files say how.

    Raises RecipeError for other labels than the task's.
    """
    own = () if spec.label is not None else spec.labels or task.names
    if labels and all(map(UNNAMED.fullmatch, labels)):
        if own and len(own) == len(labels):
            talk.say(f"{name}: its labels have no names, taken for {', '.join(own)} in this order")
            return own
        if not own:
            talk.say(f"{name}: its labels have no names, taken for those of the files in their order")
            return ()
    found = tuple(task.label(label) or label for label in labels)
    if task.kind == "classification" and own == task.names and own and {*found} != {*own}:
        raise RecipeError(
            f"--model {name}: its labels are {', '.join(labels)}, those of {task.name} are {', '.join(own)}; name a "
            "model of these"
        )
    return found


def evaluate(
    spec: TaskSpec, name: str, split: str, out: Path | None = None, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Score a fine-tuned model on a split of a task; ``results.json`` and the prediction file are left in ``out``."""
    scored = subject(spec, name, out, trust_remote_code)
    if out is None and split != "validation":
        scored = replace(scored, out=scored.out.with_name(f"{scored.out.name}-{split}"))
    results = scored.on(split)
    files.write_json(scored.out / "results.json", results)
    return results


def newest(task: str, runs: Path = Path("runs")) -> str | None:
    """The newest finished run under ``runs/`` that was fine-tuned on a task; of AX, on MNLI."""
    wanted = "mnli" if (own := tasks.find(task).name) == "ax" else own
    every = sorted(runs.glob("*/status.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((str(path.parent) for path in every if is_finished(path, wanted)), None)


def is_finished(status: Path, task: str) -> bool:
    """Is this the status of a finished run of that task?"""
    try:
        if json.loads(status.read_text(encoding="utf-8"))["status"] != "finished":
            return False
        run = head.recipe_of(str(status.parent))
        name = run.task.name if run is not None and run.task is not None else None
        return name is not None and tasks.find(name).name == task
    except (OSError, ValueError, KeyError, TypeError, PtkError):  # a folder that is no run's
        return False


def score(spec: TaskSpec, file: Path, split: str, out: Path | None = None) -> dict[str, Any]:
    """Score somebody's prediction file by the task's rules. Raises DataError for one that is not there."""
    if not file.is_file():
        raise DataError(f"--predictions: {sources.not_found(str(file))}; give a prediction file")
    task, examples = prepare.read_split(spec, split, Talk().say, learned(file))
    if isinstance(examples, Questions):
        values = questions.of_file(task, file, examples)
        mean = values["f1"]
    else:
        values = metrics_of_file(task, file, examples)
        mean = scores.mean_score(values)
    about = {"task": task.name, "split": split, "examples": len(examples), "metrics": values}
    results = {**about, "score": mean, "seed": None, "predictions": str(file)}
    files.write_json((out or default_out(f"{task.name}-{file.stem}", "")) / "results.json", results)
    return results


def learned(file: Path) -> TaskSpec | None:
    """The task of the run in whose ``predictions/`` a file lies: of a file that it divided it answers a part."""
    run = next((folder.parent for folder in file.absolute().parents if folder.name == "predictions"), None)
    if run is None or not (path := run / "recipe.yaml").exists():
        return None
    try:
        return recipe_file.load(str(path)).recipe.task
    except PtkError as error:
        Talk().warn(f"{path}: not read, so {file.name} is scored on all of the split: {str(error).splitlines()[0]}")
        return None


def metrics_of_file(task: Task, file: Path, examples: Examples) -> dict[str, float]:
    """The task's metrics of somebody's labels. Raises RecipeError for a split without labels to score them by."""
    predicted = prediction_reading.read(task, file, examples)
    if not examples.labelled:
        raise RecipeError(f"--data: {examples.path} has no labels to score {file} by; name a file that has")
    has = examples.has_label
    words = [len(texts) for texts in examples.texts]
    sentences = np.repeat(np.arange(len(examples)), words)[has] if examples.tagging else None
    return scores.scored(task.metrics, predicted[has], examples.labels[has], examples.names, sentences, task.positive)
