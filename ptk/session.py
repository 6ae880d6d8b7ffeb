"""One process's part in a run: what a recipe and its data make, put together once.

Everything here follows from (recipe, data, accelerator); nothing is trained and nothing is written.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from ptk import engine, recipe_file
from ptk.data import batches, plan, rows
from ptk.data.plan import Plan
from ptk.data.prepare import Data
from ptk.data.rows import RowSource
from ptk.data.split import Part
from ptk.errors import DataError, RecipeError
from ptk.objectives.objective import Objective
from ptk.progress import Talk
from ptk.recipe import Phase, Recipe
from ptk.run import Run

if TYPE_CHECKING:
    from accelerate import Accelerator

VALIDATION_ROWS = 64  # at a time on a device


def objective_of(recipe: Recipe) -> Objective:
    """The recipe's objective; its fidelity is the recipe's unless it names its own."""
    objective = recipe_file.build_objective(recipe)
    return objective if objective.fidelity else replace(objective, fidelity=recipe.fidelity)


def phases(recipe: Recipe) -> list[Phase]:
    """The stretches of training, each with its batch; epochs and minutes are one step until they are known."""
    train = recipe.train
    size = train.batch_size or (None if train.batch_tokens else 32)
    if train.phases is None:
        return [Phase(length=train.length, steps=train.steps or 1, batch_size=size, batch_tokens=train.batch_tokens)]
    own = [bool(phase.batch_size or phase.batch_tokens) for phase in train.phases]
    default = {"batch_size": size, "batch_tokens": train.batch_tokens}
    return [p if has else replace(p, **default) for p, has in zip(train.phases, own, strict=True)]


def training_rows(recipe: Recipe, objective: Objective, data: Data, length: int) -> list[RowSource]:
    """The whole corpus, or each of its sources where they are weighted."""
    weighted = len({source.weight for source in recipe.corpus}) > 1
    sources = range(len(recipe.corpus)) if weighted else [None]
    return [RowSource(data.store, objective, recipe.evaluate, length, recipe.seed, "train", s) for s in sources]


def held_out_rows(
    recipe: Recipe, objective: Objective, data: Data, length: int, part: Part = "validation"
) -> RowSource:
    scored = objective.for_validation(recipe.evaluate.mask_rate)
    return RowSource(data.store, scored, recipe.evaluate, length, recipe.evaluate.seed, part)


def make_plan(recipe: Recipe, objective: Objective, data: Data) -> Plan:
    """The plan of all phases. ``train.epochs`` becomes steps here."""
    stages = []
    for phase in phases(recipe):
        sources = training_rows(recipe, objective, data, phase.length)
        for source in sources:
            objective.check(source.documents, held_out=False)
        weights = [source.weight for source in recipe.corpus] if len(sources) > 1 else [1.0]
        stages.append(plan.stage(sources, weights, phase.steps, phase.batch_size, phase.batch_tokens))
    made = Plan(tuple(stages), recipe.seed)
    if recipe.train.epochs is None:
        return made
    return with_steps(made, round(recipe.train.epochs * made.steps_per_epoch(0)))


def with_steps(made: Plan, steps: int) -> Plan:
    """A plan of one stage with another number of steps."""
    return Plan((replace(made.stages[0], steps=max(1, steps)),), made.seed)


def division(recipe: Recipe, accelerator: "Accelerator") -> batches.Division:
    """How this process divides global batches."""
    train, index = recipe.train, accelerator.process_index
    return batches.Division(index, accelerator.num_processes, train.micro_batch_size, train.micro_batch_tokens)


def check_division(recipe: Recipe, processes: int) -> None:
    """Raises RecipeError when the processes do not divide every global batch evenly (R6)."""
    for size in {phase.batch_size for phase in phases(recipe) if phase.batch_size}:
        if size % processes:
            allowed = [n for n in range(1, size + 1) if size % n == 0][:12]
            raise RecipeError(
                f"train.batch_size: {size} rows cannot be divided over {processes} processes evenly; "
                f"numbers of processes that can: {', '.join(map(str, allowed))}"
            )


def validator(
    source: RowSource, data: Data, examples: int, model: nn.Module, accelerator: "Accelerator"
) -> Callable[[], engine.Losses]:
    """A function that scores ``model`` on the same rows with the same masks every time it is called (ENG-4)."""
    source.objective.check(source.documents, held_out=True)
    table = rows.rows(source, 0)
    if not len(table):
        raise DataError(
            f"no held-out rows of {source.length} tokens; raise evaluate.share (now {source.evaluate.share})"
        )
    mine = batches.Division(accelerator.process_index, accelerator.num_processes, VALIDATION_ROWS)
    found = list(batches.held_out(table, examples, data.tokenizer, mine, source.seed))
    return lambda: engine.evaluate(source.objective, model, found, accelerator)


def parameter_count(model: nn.Module) -> int:
    """Shared parameters counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


@dataclass(frozen=True)
class Session:
    recipe: Recipe
    run: Run
    data: Data
    objective: Objective
    plan: Plan
    accelerator: "Accelerator"
    talk: Talk

    @property
    def length(self) -> int:
        return max(stage.length for stage in self.plan.stages)

    def batches(self) -> batches.Batches:
        return batches.Batches(self.plan, self.data.tokenizer, division(self.recipe, self.accelerator))

    def fresh_model(self) -> nn.Module:
        """The same weights for the same seed, whatever was drawn before."""
        torch.manual_seed(self.recipe.seed)
        own = {"type": self.recipe.model.get("type"), "init": self.recipe.init}
        settings = {**own, **recipe_file.model_settings(self.recipe)}
        return self.objective.model(settings, self.data.tokenizer, self.length)

    def training(self, model: nn.Module) -> engine.Training:
        recipe = self.recipe
        return engine.prepare(
            self.objective,
            model,
            self.plan.steps,
            recipe.train,
            recipe.seed,
            recipe.fidelity,
            self.accelerator,
        )

    def held_out(self) -> RowSource:
        return held_out_rows(self.recipe, self.objective, self.data, self.plan.stages[-1].length)

    def validator(self, model: nn.Module) -> Callable[[], engine.Losses]:
        return validator(self.held_out(), self.data, self.recipe.evaluate.examples, model, self.accelerator)
