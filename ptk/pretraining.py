"""``ptk pretrain``: rows of a corpus, scored on held-out text."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ptk import export, training
from ptk.checkpoint import State
from ptk.data import batches, plan, prepare, rows
from ptk.data.plan import Plan
from ptk.data.prepare import Data
from ptk.data.rows import RowSource
from ptk.data.split import Part, split
from ptk.data.store import Store
from ptk.data.tokenizer import Tokenizer
from ptk.errors import DataError
from ptk.evaluation import held_out
from ptk.objectives.objective import Batch, Objective
from ptk.progress import Talk
from ptk.recipe import EvaluateSpec, Recipe
from ptk.session import Session, objective_of, of_its_own, phases, with_steps
from ptk.step import Losses

if TYPE_CHECKING:
    from accelerate import Accelerator

VALIDATION_ROWS, VALIDATION_TOKENS = 64, 8192  # at a time on a device, at most


def pretrain(
    recipe: Recipe, folder: Path, resume: bool = False, overwrite: bool = False, talk: Talk | None = None
) -> dict[str, Any]:
    """Run a recipe: the run directory is left behind, its results are returned.

    Raises a PtkError of the documented exit code; ``status.json`` then says why.
    """
    return training.carry_out(Pretraining, recipe, folder, resume, overwrite, talk)


class Pretraining(Session):
    @classmethod
    def prepared(cls, recipe: Recipe, talk: Talk) -> tuple[Recipe, Objective, Data]:
        return recipe, objective_of(recipe), prepare.prepare(recipe.corpus, recipe.tokenizer, talk)

    @staticmethod
    def plan_of(recipe: Recipe, objective: Objective, data: Data) -> Plan:
        return make_plan(recipe, objective, data)

    def about(self, model: nn.Module) -> Iterator[str]:
        recipe, store = self.recipe, self.data.store
        if kept := of_its_own(recipe, model) + (self.objective.kept(model) if recipe.init else []):
            self.talk.warn(f"init: {recipe.init} brings its own {', '.join(kept)}")
        held = split(store, self.recipe.evaluate)[1]
        yield f"held out: {held.rule} ({held.lengths().sum():,} of {store.manifest['tokens']:,} tokens)"

    def held_out(self) -> list[RowSource]:
        return held_out_rows(self.objective, self.data.store, self.recipe.evaluate, self.plan.stages[-1].length)

    def held_out_batches(self) -> list[Batch]:
        examples = self.recipe.evaluate.examples
        return held_out_batches(self.objective, self.held_out(), self.data.tokenizer, examples, self.accelerator)

    def results(self, model: nn.Module, state: State, losses: Losses, fixed: Sequence[Batch]) -> dict[str, Any]:
        sources = self.held_out()
        return {
            "task": self.recipe.objective["name"],
            "split": "validation",
            **held_out.scores(self.objective, losses, sources[0].documents),
            "baselines": held_out.baselines(self.objective, sources, fixed, self.accelerator),
            "model": str(self.run.model),
            "seed": self.recipe.seed,
        }

    def card(self, model: nn.Module, results: Mapping[str, Any]) -> str:
        recipe, objective = self.recipe, self.objective
        rules = objective.notes(recipe.fidelity, model.config.model_type)  # type: ignore[union-attr]
        rules = [*rules, *training.schedule_notes(recipe)]
        return export.card(model, self.data.tokenizer, recipe, results, rules, objective.remarks())


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
        more = {"ramp": recipe.train.batch_ramp, "window": recipe.train.length_window}
        stages.append(plan.stage(sources, weights, phase.steps, *batch, shares, **more))
    made = Plan(tuple(stages), recipe.seed)
    if recipe.train.epochs is None:
        return made
    return with_steps(made, made.steps_of(recipe.train.epochs))


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
