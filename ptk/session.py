"""One process's part in a run: what a recipe and its data make, put together once.

Everything here follows from (recipe, data, accelerator); nothing is trained and nothing is written. ``pretraining.py``
and ``finetuning.py`` have the two kinds of sessions, which differ in where rows come from and in what is left.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from ptk import checkpoint, recipe_file
from ptk.checkpoint import State
from ptk.data import batches
from ptk.data.plan import Plan
from ptk.data.tokenizer import Tokenizer
from ptk.errors import RecipeError
from ptk.metrics import Mean
from ptk.objectives.objective import Batch, Objective
from ptk.processes import parallel
from ptk.progress import Talk
from ptk.recipe import Phase, Recipe
from ptk.run import Run
from ptk.step import Losses, Training, prepare

if TYPE_CHECKING:
    from accelerate import Accelerator


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


def of_its_own(recipe: Recipe, model: nn.Module) -> list[str]:
    """The ``model:`` settings that weights to start from (``init``) have otherwise, and keep."""
    wanted = recipe_file.model_settings(recipe) if recipe.init else {}
    config = model.config.to_dict()  # type: ignore[operator,union-attr]
    return [f"{k} {config[k]} (not {v})" for k, v in wanted.items() if k in config and config[k] != v]


def parameter_count(model: nn.Module) -> int:
    """Shared parameters counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


class Data(Protocol):
    """What a session is about, before any objective."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def fingerprint(self) -> str:
        """Of text and tokenizer: another one is another run (R7, D14)."""
        ...

    @property
    def origin(self) -> str:
        """The files, for people."""
        ...

    @property
    def folders(self) -> list[Path]:
        """Where its stores are."""
        ...

    def fingerprints(self) -> dict[str, str]:
        """Name -> fingerprint, for environment.json."""
        ...


@dataclass(frozen=True)
class Session(ABC):
    recipe: Recipe
    run: Run
    data: Any  # a Data
    objective: Any  # an Objective
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
        own = {name: getattr(self.recipe, name) for name in ("init", "from_scratch")}
        own["type"] = self.recipe.model.get("type")
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

    def score(self, found: Mapping[str, np.ndarray]) -> Mapping[str, Mean]:
        """Metrics of a validation that are no sum over its batches, of the objective's answers to all of them."""
        return self.objective.score(found)

    @classmethod
    @abstractmethod
    def prepared(cls, recipe: Recipe, talk: Talk) -> tuple[Recipe, Any, Data]:
        """The recipe with what only its data know, its objective, and the data; built now, or found in the cache."""

    @staticmethod
    @abstractmethod
    def plan_of(recipe: Recipe, objective: Any, data: Any) -> Plan:
        """The plan of all phases. ``train.epochs`` becomes steps here."""

    @abstractmethod
    def about(self, model: nn.Module) -> Iterator[str]:
        """What is trained on, from what, and what is held out, in lines."""

    @abstractmethod
    def held_out_batches(self) -> list[Batch]:
        """This process's batches of what is validated on, always the same ones (ENG-4)."""

    @abstractmethod
    def results(self, model: nn.Module, state: State, losses: Losses, fixed: Sequence[Batch]) -> dict[str, Any]:
        """results.json. ``losses`` are those of the last validation, ``fixed`` its batches."""

    @abstractmethod
    def card(self, model: nn.Module, results: Mapping[str, Any]) -> str:
        """The model card."""
