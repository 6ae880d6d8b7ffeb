"""One process's part in a run: what a recipe and its data make, put together once.

Everything here follows from (recipe, data, accelerator); nothing is trained and nothing is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ptk import checkpoint, recipe_file
from ptk.data import batches, plan, rows
from ptk.data.plan import Plan
from ptk.data.prepare import Data
from ptk.data.rows import RowSource
from ptk.data.split import Part
from ptk.data.store import Store
from ptk.data.tokenizer import Tokenizer
from ptk.errors import DataError, RecipeError
from ptk.objectives.objective import Batch, Objective
from ptk.processes import parallel
from ptk.progress import Talk
from ptk.recipe import EvaluateSpec, Phase, Recipe
from ptk.run import Run
from ptk.step import Training, prepare

if TYPE_CHECKING:
    from accelerate import Accelerator

VALIDATION_ROWS, VALIDATION_TOKENS = 64, 8192  # at a time on a device, at most


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


def row_sources(
    objective: Objective, store: Store, evaluate: EvaluateSpec, length: int, seed: int, part: Part, sources: int = 1
) -> list[RowSource]:
    """The rows of every objective of a mixture, from the whole corpus or from each of several ``sources``."""
    own = range(sources) if sources > 1 else [None]
    members = [member for _, member in objective.weighted().values()]
    numbers = range(len(members)) if len(members) > 1 else [None]
    return [
        RowSource(store, member, evaluate, length, seed, part, source, number)
        for number, member in zip(numbers, members, strict=True)
        for source in own
    ]


def held_out_rows(
    objective: Objective, store: Store, evaluate: EvaluateSpec, length: int, part: Part = "validation"
) -> list[RowSource]:
    scored = objective.for_validation(evaluate.mask_rate)
    return row_sources(scored, store, evaluate, length, evaluate.seed, part)


def make_plan(recipe: Recipe, objective: Objective, data: Data) -> Plan:
    """The plan of all phases. ``train.epochs`` becomes steps here."""
    stages = []
    weights = [source.weight for source in recipe.corpus]
    weights = weights if len(set(weights)) > 1 else [1.0]
    shares = [share for share, _ in objective.weighted().values()]
    for phase in phases(recipe):
        sources = row_sources(objective, data.store, recipe.evaluate, phase.length, recipe.seed, "train", len(weights))
        for source in sources:
            source.objective.check(source.documents, data.tokenizer, phase.length, held_out=False)
        batch = (phase.batch_size, phase.batch_tokens)
        stages.append(plan.stage(sources, weights, phase.steps, *batch, shares, recipe.train.batch_ramp))
    made = Plan(tuple(stages), recipe.seed)
    if recipe.train.epochs is None:
        return made
    return with_steps(made, made.steps_of(recipe.train.epochs))


def with_steps(made: Plan, steps: int) -> Plan:
    """A plan of one stage with another number of steps."""
    return Plan((replace(made.stages[0], steps=max(1, steps)),), made.seed)


def division(recipe: Recipe, accelerator: "Accelerator") -> batches.Division:
    """How this process divides global batches."""
    train, index = recipe.train, accelerator.process_index
    return batches.Division(index, accelerator.num_processes, train.micro_batch_size, train.micro_batch_tokens)


def check_division(recipe: Recipe, processes: int) -> None:
    """Raises RecipeError when the processes do not divide every global batch evenly (R6), or cannot share a model."""
    parallel.check(recipe.train, processes)
    if recipe.train.auto_batch and recipe.train.parallel != "ddp" and processes > 1:
        raise RecipeError(
            f"train.auto_batch: each process tries alone, which {recipe.train.parallel} has not; set micro_batch_size"
        )
    sizes = [("batch_size", phase.batch_size) for phase in phases(recipe) if phase.batch_size]
    if ramp := recipe.train.batch_ramp:  # every batch is a multiple of its first
        sizes = [("batch_ramp.start", ramp.start)]
    for key, size in sizes:
        if size % processes:
            allowed = [n for n in range(1, size + 1) if size % n == 0][:12]
            raise RecipeError(
                f"train.{key}: {size} rows cannot be divided over {processes} processes evenly; "
                f"numbers of processes that can: {', '.join(map(str, allowed))}"
            )


def held_out_batches(
    objective: Objective, sources: Sequence[RowSource], tokenizer: Tokenizer, examples: int, accelerator: "Accelerator"
) -> list[Batch]:
    """This process's batches of at most ``examples`` rows, always the same ones (ENG-4).

    ``sources`` has one for each member of the objective, which gives its share of the rows, as in training.
    """
    found: list[Batch] = []
    for (share, _), source in zip(objective.weighted().values(), sources, strict=True):
        source.objective.check(source.documents, tokenizer, source.length, held_out=True)
        table = rows.rows(source, 0)
        if not len(table):
            raise DataError(
                f"no held-out rows of {source.length} tokens; raise evaluate.share (now {source.evaluate.share})"
            )
        most = min(VALIDATION_ROWS, max(1, VALIDATION_TOKENS // source.length))
        mine = batches.Division(accelerator.process_index, accelerator.num_processes, most)
        found += batches.held_out(table, max(1, round(examples * share)), tokenizer, mine, source.seed)
    return found


def of_its_own(recipe: Recipe, model: nn.Module) -> list[str]:
    """The ``model:`` settings that weights to start from (``init``) have otherwise, and keep."""
    wanted = recipe_file.model_settings(recipe) if recipe.init else {}
    config = model.config.to_dict()  # type: ignore[operator,union-attr]
    return [f"{k} {config[k]} (not {v})" for k, v in wanted.items() if k in config and config[k] != v]


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

    def loaded(self, folder: Path) -> nn.Module:
        """A model of its own, whole, with the weights of a checkpoint."""
        model = self.fresh_model()
        checkpoint.load_weights(folder, model)
        return model

    def agreed(self, choose: Callable[[], Any]) -> Any:
        """What the first process chooses, in all of them: another might see another disk."""
        if self.accelerator.num_processes == 1:
            return choose()
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([choose() if self.run.writes else None])[0]

    def training(self, model: nn.Module) -> Training:
        recipe = self.recipe
        return prepare(
            self.objective,
            model,
            self.plan.steps,
            recipe.train,
            recipe.seed,
            recipe.fidelity,
            self.accelerator,
        )

    def held_out(self) -> list[RowSource]:
        return held_out_rows(self.objective, self.data.store, self.recipe.evaluate, self.plan.stages[-1].length)

    def held_out_batches(self) -> list[Batch]:
        examples = self.recipe.evaluate.examples
        return held_out_batches(self.objective, self.held_out(), self.data.tokenizer, examples, self.accelerator)
