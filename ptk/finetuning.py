"""``ptk finetune``: rows of a task's labelled examples, scored by its metrics, its test split predicted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ptk import device, export, files, training
from ptk.checkpoint import State
from ptk.data import plan
from ptk.data import tokenizer as tokenizers
from ptk.data.batches import Division
from ptk.data.plan import Plan
from ptk.data.store import Store
from ptk.data.tokenizer import Tokenizer
from ptk.errors import RecipeError
from ptk.evaluation import labelled, questions
from ptk.evaluation.labelled import Split, source
from ptk.metrics import Mean
from ptk.models import load
from ptk.objectives.labelled_rows import LabelledRows
from ptk.objectives.objective import Batch
from ptk.processes import launch
from ptk.progress import Talk
from ptk.quick import unpadded
from ptk.recipe import Recipe, TrainSpec
from ptk.recipe_sections import completed
from ptk.session import Session, objective_of, phases, with_steps
from ptk.step import Losses
from ptk.tasks import prepare, scores
from ptk.tasks.examples import Questions
from ptk.tasks.prepare import TaskData

# Of a part of a batch, on a CPU: tokens at least; at least as many of the longest rows; and tokens x the model's width
# squared, below which beginning a part costs more than the padding that it saves (4,096 tokens of width 128), or where
# there is none to save (quick/unpadded.py), than the memory (3,640 of width 384, 910 of 768).
PART, LONGEST, WORK, UNPADDED = 512, 4, 1 << 26, 1 << 29
MANY = 0.05  # unknown pieces, for a text in the language of the model
PROBLEMS = {"classification": "single_label", "multi_label": "multi_label", "regression": "regression"}


def finetune(
    recipe: Recipe, folder: Path, resume: bool = False, overwrite: bool = False, talk: Talk | None = None
) -> dict[str, Any]:
    """Fine-tune on a recipe's task: the run directory is left behind, its results are returned.

    Raises a PtkError of the documented exit code; ``status.json`` then says why.
    """
    return training.carry_out(Finetuning, recipe, folder, resume, overwrite, talk)


@dataclass(frozen=True)
class Labelled:
    """A task's examples, tokenized."""

    task: TaskData
    tokenizer: Tokenizer
    stores: Mapping[str, Store]  # by split

    @cached_property
    def fingerprint(self) -> str:
        return files.fingerprint("task", {name: store.fingerprint for name, store in self.stores.items()})

    @property
    def origin(self) -> str:
        return ", ".join(dict.fromkeys(examples.path for examples in self.task.splits.values()))

    @property
    def folders(self) -> list[Path]:
        return [store.folder for store in self.stores.values()]

    def fingerprints(self) -> dict[str, str]:
        return {"task": self.task.fingerprint, "tokenizer": self.tokenizer.fingerprint, "store": self.fingerprint}


def settled(recipe: Recipe, task: TaskData, tokenizer: Tokenizer) -> Recipe:
    """The recipe with its head, labels and metrics, the tokenizer of the model it starts from, and its batches."""
    made = replace(recipe.tokenizer, path=recipe.tokenizer.path or load.folder_of(recipe.init or ""))
    recipe = replace(recipe, objective=head(recipe, task, tokenizer), tokenizer=made)
    recipe = replace(recipe, train=divided(recipe.train, load.config(recipe.init or "")))
    return replace(recipe, objective=completed(recipe))


def head(recipe: Recipe, task: TaskData, tokenizer: Tokenizer) -> dict[str, Any]:
    """The ``objective:`` section of a task's head. Raises RecipeError for metrics that are not of the task."""
    wanted = (recipe.task.no_answer if recipe.task else None) or recipe.objective.get("no_answer")
    if wanted not in (None, "never") and task.task.rule != "squad2":
        said = "every question of it has an answer" if task.task.rule else "it asks no questions"
        raise RecipeError(f"task.no_answer: {wanted} says nothing of {task.task.name}, {said}; leave it out")
    if task.task.kind == "answering":
        usual = "null_span" if task.task.rule == "squad2" else "never"
        own = {"no_answer": wanted or usual, "framing": tokenizer.pair.size}
        return {**recipe.objective, **own, "name": task.task.head}
    metrics = tuple(recipe.objective.get("metrics") or task.task.metrics)
    scores.check(metrics, task.task.kind, task.names)
    found: dict[str, Any] = {"labels": task.names, "metrics": metrics}
    if positive := recipe.objective.get("positive") or task.task.positive:
        found["positive"] = positive
    if task.task.kind in PROBLEMS:
        found["problem"] = PROBLEMS[task.task.kind]
    return {**recipe.objective, **found, "name": task.task.head}


def divided(train: TrainSpec, config: Any) -> TrainSpec:
    """On a CPU a batch goes in parts of like length, which need little padding: rows of a task differ a lot.

    Batches of like length (``length_window``) would be faster still, and learn less: they differ in what they hold.
    """
    if train.micro_batch_size or train.micro_batch_tokens or train.auto_batch or device.kind() != "cpu":
        return train
    width = getattr(config, "hidden_size", None)
    worth = (UNPADDED if unpadded.can(config) else WORK) // width**2 if width else 0
    return replace(train, micro_batch_tokens=max(PART, LONGEST * train.length, worth))


def no_more_than(examples: int, size: int | None) -> int | None:
    """Rows of a batch: as many as the recipe says, or as there are. Several processes divide what the recipe says."""
    return size if size is None or launch.processes() > 1 else min(size, examples)


def tell(model: Any, session: Session) -> None:
    """What ``ptk predict`` and ``ptk eval`` have to know of the texts, into the model's configuration."""
    task, objective = session.data.task, session.objective
    examples = task.splits["validation"]
    model.config.ptk_length = session.length
    if task.task.kind == "answering":
        model.config.ptk_questions = {**objective.settings, "rule": task.task.rule}
    if examples.characters:
        model.config.ptk_unit = "characters"
    if task.task.starts:
        model.config.ptk_starts = dict(task.task.starts)
    if task.task.head == "sequence_classification":
        model.config.ptk_texts = len(examples.texts[0])
        if objective.scale == "unit":
            model.config.ptk_score_range = list(objective.score_range)


class Finetuning(Session):
    @classmethod
    def prepared(cls, recipe: Recipe, talk: Talk) -> tuple[Recipe, Any, Labelled]:
        assert recipe.task is not None
        if recipe.init is None:
            raise RecipeError("init: missing; name the model to fine-tune: init=RUN, FOLDER or HUB ID, or --model")
        names = recipe.task.labels or tuple(recipe.objective.get("labels", ()))
        task = prepare.read(replace(recipe.task, labels=names), recipe.seed, talk.say)
        tokenizer = tokenizers.load(recipe.tokenizer.path or load.folder_of(recipe.init))
        recipe = settled(recipe, task, tokenizer)
        return recipe, objective_of(recipe), Labelled(task, tokenizer, prepare.stores(task, tokenizer))

    @staticmethod
    def plan_of(recipe: Recipe, objective: LabelledRows, data: Labelled) -> Plan:
        stages = []
        for phase in phases(recipe):
            member = source(objective, data.stores["train"], phase.length, recipe.seed)
            objective.check(member.documents, data.tokenizer, phase.length, held_out=False)
            size = no_more_than(len(data.task.splits["train"]), phase.batch_size)
            batch = (phase.batch_size if recipe.train.batch_ramp else size, phase.batch_tokens)
            train = recipe.train
            stages.append(
                plan.stage([member], [1.0], phase.steps, *batch, (1.0,), train.batch_ramp, train.length_window)
            )
        made = Plan(tuple(stages), recipe.seed)
        if recipe.train.epochs is None:
            return made
        share = objective.epoch(len(data.task.splits["train"]), made.per_epoch(0))
        return with_steps(made, made.steps_of(recipe.train.epochs * share))

    def about(self, model: nn.Module) -> Iterator[str]:
        yield from self.objective.kept(model)
        unknown = self.data.tokenizer.unk_id
        for name in self.data.stores:
            documents = self.split(name).rows.documents
            share = np.mean(documents.store.tokens == unknown) if unknown is not None else 0.0
            if share > MANY:
                yield f"warning: {name}: {share:.0%} of the pieces are unknown: is {self.recipe.init} of this language?"
            cut = self.objective.cut(documents, self.data.tokenizer, self.length)
            said = f"{name}: {documents.lengths().mean():.0f} tokens an example"
            more = f"; {cut:,} of {len(documents):,} {self.objective.too_long(self.length)} and are cut"
            yield said + (more if cut else "")

    def split(self, name: str) -> Split:
        task, rows = self.data.task, source(self.objective, self.data.stores[name], self.length, self.recipe.seed)
        return Split(task.task, name, task.splits[name], rows, self.data.tokenizer)

    def held_out_batches(self) -> list[Batch]:
        return self.split("validation").batches(
            Division(self.accelerator.process_index, self.accelerator.num_processes)
        )

    def score(self, found: Mapping[str, np.ndarray]) -> Mapping[str, Mean]:
        split = self.split("validation")
        return questions.score(split, found) if isinstance(split.examples, Questions) else super().score(found)

    def results(self, model: nn.Module, state: State, losses: Losses, fixed: Sequence[Batch]) -> dict[str, Any]:
        """Every split but train is predicted, by the first process, and scored where it has labels."""
        if not self.run.writes:
            return {}
        tell(model, self)
        first, *others = found = list(self.judged(model))
        for about in found:
            if "collapsed" in about:
                self.talk.warn(f"{about['split']}: collapsed: {about['collapsed']}")
        return {
            "task": self.data.task.task.name,
            **first,
            "others": others,
            "model": str(self.run.model),
            "init": self.recipe.init,
            "seed": self.recipe.seed,
        }

    def judged(self, model: Any) -> Iterator[dict[str, Any]]:
        """Every split but train, validation first: there the threshold of no answer is fitted, for all others."""
        folder, threshold = self.run.folder / "predictions", None
        for name in sorted(self.data.stores.keys() - {"train"}, key=lambda name: (name != "validation", name)):
            found = labelled.judged(self.split(name), model, self.accelerator, folder, threshold)
            threshold = found.get("threshold", threshold)
            del found["predictions"]  # they lie where every run has them
            yield found
        if threshold is not None:
            model.config.ptk_threshold = threshold

    def card(self, model: nn.Module, results: Mapping[str, Any]) -> str:
        rules = [*self.objective.notes(self.recipe.fidelity, model.config.model_type)]  # type: ignore[union-attr]
        return export.card(model, self.data.tokenizer, self.recipe, results, rules, self.objective.remarks())
