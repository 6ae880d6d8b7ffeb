"""One run of ``tests/bench/learning.py``: by ptk, and by transformers' Trainer on ptk's batches."""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from by_trainer import arguments
from learning_cases import Case
from torch import nn

from ptk import device

if TYPE_CHECKING:
    from ptk.pretraining import Pretraining
    from ptk.recipe import Recipe

PROBED, WARM = 60, 10  # steps that tell how many fit into the Trainer's minutes; the first ones are not counted


def ptk(case: Case, words: Sequence[str], seed: int) -> dict[str, Any]:
    """``ptk pretrain`` with ``words`` over the recipe: what it reached, and in how many steps."""
    from ptk import recipe_file
    from ptk.pretraining import pretrain
    from ptk.progress import Talk

    recipe = recipe_file.load(str(case.recipe), [*words, f"seed={seed}", "train.eval_every=1000000"]).recipe
    with tempfile.TemporaryDirectory() as out:
        results = pretrain(recipe, Path(out) / "run", talk=Talk(quiet=True))
    return {
        "loss": results["metrics"][case.measure],
        **{name: results[name] for name in ("steps", "tokens", "seconds")},
    }


def opened(recipe: "Recipe") -> "Pretraining":
    """What ``ptk pretrain`` would train with, without a run directory."""
    from ptk import device
    from ptk.pretraining import Pretraining
    from ptk.progress import Talk
    from ptk.run import Run

    recipe, objective, data = Pretraining.prepared(recipe, Talk(quiet=True))
    plan = Pretraining.plan_of(recipe, objective, data)
    accelerator = device.accelerator(device.precision("auto", device.kind()))
    return Pretraining(recipe, Run(Path()), data, objective, plan, accelerator, Talk(quiet=True))


def pace(case: Case, words: Sequence[str], minutes: float) -> dict[str, Any]:
    """How many steps ``train.minutes`` comes to."""
    from ptk import measuring, recipe_file

    session = opened(recipe_file.load(str(case.recipe), [*words, f"train.minutes={minutes}"]).recipe)
    return {"steps": measuring.measured_steps(session, session.fresh_model())}


def pace_of_trainer(case: Case, words: Sequence[str], minutes: float) -> dict[str, Any]:
    """How many steps of transformers' Trainer ``minutes`` come to."""
    from ptk import recipe_file

    session = opened(recipe_file.load(str(case.recipe), [*words, f"train.steps={PROBED}"]).recipe)
    paces = by_trainer(session, session.fresh_model())[WARM:]
    return {"steps": max(1, int(60 * minutes / statistics.median(paces)))}


def trainer(case: Case, words: Sequence[str], seed: int) -> dict[str, Any]:
    """transformers' Trainer with ``words`` over the recipe, on ptk's batches; its loss by ptk."""
    from ptk import engine, recipe_file
    from ptk.step import Wrapped

    session = opened(recipe_file.load(str(case.recipe), [*words, f"seed={seed}"]).recipe)
    model = session.fresh_model()
    seconds = by_trainer(session, model)
    whole = Wrapped(session.objective, model)
    losses = engine.evaluate(whole, session.held_out_batches(), session.accelerator, session.score)
    batches, steps = session.batches(), session.plan.steps
    tokens = sum(session.objective.tokens(batches[step][0]) for step in range(steps))
    return {"loss": losses[case.measure].value, "steps": steps, "tokens": tokens, "seconds": sum(seconds)}


def by_trainer(session: Any, model: nn.Module) -> list[float]:
    """Train ``model`` on all of the session's batches; the seconds of every step.

    Optimizer and schedule are ptk's, which has more of them: the mathematics of a step is the same for both.
    """
    import tempfile

    from speed_cases import for_transformers, without_last_label
    from torch.optim.lr_scheduler import LambdaLR
    from torch.utils.data import IterableDataset
    from transformers import Trainer, TrainerCallback

    made, settings, steps = session.training(model), session.recipe.train, session.plan.steps
    batches, ends = session.batches(), [time.monotonic()]

    class Steps(IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            for step in range(steps):
                yield for_transformers(without_last_label(batches[step][0]), session.objective)

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.monotonic())

    schedule = LambdaLR(made.strategy.optimizer.optimizer, lambda step: made.lr(step) / settings.lr)
    with tempfile.TemporaryDirectory() as out:
        asked = arguments(
            out,
            max_steps=steps,
            per_device_train_batch_size=1,  # of whole batches
            max_grad_norm=settings.clip,
            bf16=device.precision("auto", device.kind()) == "bf16",
            remove_unused_columns=False,
        )
        optimizers: Any = (made.strategy.optimizer.optimizer, schedule)
        Trainer(model, asked, lambda one: one[0], Steps(), callbacks=[Clock()], optimizers=optimizers).train()
    return [end - start for start, end in pairwise(ends)]
