"""The only loops: ``Loop.train`` and ``evaluate``. They know no objective and no task; step.py is one update."""

import math
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ptk import checkpoint
from ptk.checkpoint import State
from ptk.errors import DivergedError, Interrupted, RecipeError
from ptk.metrics import Mean, merge
from ptk.objectives.objective import Batch, Objective
from ptk.processes.heartbeat import WAITING
from ptk.recipe import TrainSpec
from ptk.run import Run
from ptk.saving import Saver
from ptk.signals import Signals
from ptk.step import Losses, Training, on

if TYPE_CHECKING:
    from accelerate import Accelerator

Score = Callable[[Mapping[str, np.ndarray]], Mapping[str, Mean]]


def reduced(losses: Losses, accelerator: "Accelerator") -> Losses:
    """Summed over processes, as numbers."""
    if not losses:
        mine: Losses = {}
    else:
        sums = torch.stack([torch.as_tensor(value).to("cpu").double() for mean in losses.values() for value in mean])
        mine = {name: Mean(*pair) for name, pair in zip(losses, sums.view(-1, 2).tolist(), strict=True)}
    if accelerator.num_processes == 1:
        return mine
    from accelerate.utils import gather_object

    return merge(gather_object([mine]))  # a process without a batch has no names to add


def report(objective: Objective, losses: Losses) -> dict[str, float]:
    """``loss``, what is trained on, and each part by its name."""
    loss = sum(weight * losses[name].value for name, weight in objective.weights.items() if losses[name].count)
    # A member of a mixture may have no row in a window.
    return {"loss": loss, **{name: float(mean.value) for name, mean in losses.items() if mean.count}}


def evaluate(
    module: nn.Module,
    batches: Sequence[Batch],
    accelerator: "Accelerator",
    score: Score,
    beat: Callable[[str], None] = lambda doing: None,
    lockstep: bool = False,
) -> Losses:
    """Every loss over all batches of all processes, and what ``score`` says of the objective's answers to all of them.

    ``module``, ``lockstep``: as ``passes`` has them.
    """
    losses, found = passes(module, batches, accelerator, beat, lockstep)
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        found = gather_object(found)
    return {**reduced(losses, accelerator), **score(end_to_end(found))}


@torch.no_grad()
def passes(
    module: nn.Module,
    batches: Sequence[Batch],
    accelerator: "Accelerator",
    beat: Callable[[str], None] = lambda doing: None,
    lockstep: bool = False,
) -> tuple[Losses, list[dict[str, np.ndarray]]]:
    """The losses over this process's batches, and what the objective says of each of them: arrays by name.

    ``module``: a Wrapped. Its forward passes are made together in ``lockstep``: who has no more batches repeats one.
    """
    was_training = module.training
    module.eval()
    total: Losses = {}
    found: list[dict[str, np.ndarray]] = []
    with accelerator.autocast():
        for number in range(rounds_of_all(len(batches), accelerator) if lockstep else len(batches)):
            beat("validating")
            losses, predictions = module(on(accelerator.device, batches[min(number, len(batches) - 1)]))
            if number < len(batches):
                total = merge([total, losses])
                found += [{name: part.cpu().numpy() for name, part in predictions.items()}] if predictions else []
    module.train(was_training)
    beat(WAITING)
    return total, found


def rounds_of_all(number: int, accelerator: "Accelerator") -> int:
    """The largest of all processes' numbers of batches. Raises RecipeError when a process has none."""
    if accelerator.num_processes == 1:
        return number
    from accelerate.utils import gather_object

    numbers = gather_object([number])
    if not min(numbers):
        raise RecipeError(
            f"evaluate.examples: fewer held-out rows than the {len(numbers)} processes; raise it or evaluate.share"
        )
    return max(numbers)


def end_to_end(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of all batches, by name."""
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}


@dataclass
class Loop:
    """Training from ``state.step`` to ``steps``, which moves ``state``: updates, and the log, validations and
    checkpoints between them."""

    training: Training
    state: State
    steps: int
    run: Run
    saver: Saver
    validate: Callable[[], Losses]
    show: Callable[[dict[str, Any]], None]
    """Is given every line that is logged."""
    signals: Signals = field(default_factory=Signals)

    def __post_init__(self) -> None:
        self.every = self.training.spec.eval_every or max(1, self.steps // 10)
        self.save_every = self.training.spec.save_every or self.every
        saved = self.state.window if self.training.accelerator.is_main_process else {}  # the sums of all processes
        # Counts as whole numbers: as a float of 32 bits one of more than 16 million would be rounded.
        self.window: Losses = {name: Mean(torch.tensor(total), int(count)) for name, (total, count) in saved.items()}
        self.go_on()

    def train(self, loader: Iterable[list[Batch]]) -> None:
        """Raises DivergedError after ``max_bad_steps`` steps in a row without finite gradients, and Interrupted, with a
        checkpoint written, on SIGTERM or SIGINT."""
        with self.signals:
            if self.state.due:  # the run was stopped before it
                self.state.due, _ = False, self.score()
                self.go_on()
            for batches in () if gives_up(self.state, self.training.spec, self.every) else loader:
                if self.step(batches):
                    break
            self.all_saved()

    def step(self, batches: Sequence[Batch]) -> bool:
        """One update, and what is due after it. Is it the last one, since others would be no better?"""
        state, signals = self.state, self.signals
        losses, norm, flags = self.training.step(batches, state, (signals.stop, signals.save))
        self.note(losses, norm)
        last = state.step == self.steps
        stop, _ = self.asked(flags)
        validates = state.step % self.every == 0 or last
        state.due = validates and bool(stop) and not last  # a run that must stop leaves it for later
        validates = validates and not state.due
        best = validates and self.score()
        early = validates and gives_up(state, self.training.spec, self.every)
        stop, save_now = self.asked(flags)
        saves = state.step % self.save_every == 0 or last or stop or save_now or best or early
        if saves:
            self.save()
        if stop and not last and not early:
            self.all_saved()
            text = f"stopped by {signal.Signals(stop).name} at step {state.step}; go on with --resume"
            raise Interrupted(text, stop)
        if validates or saves:
            self.go_on()
        if not early:
            self.saver.check()
            self.training.beat(state.step + 1, "reading")
        return early

    def go_on(self) -> None:
        """Let the clock go on from where the last step ended: validating and saving are not training."""
        self.clock = time.perf_counter() - self.state.seconds

    def note(self, losses: Losses, norm: float) -> None:
        """Count what a step has done, and say it once in ``log_every`` steps. Raises DivergedError."""
        state, spec = self.state, self.training.spec
        self.window = merge([self.window, losses])
        state.seconds = time.perf_counter() - self.clock
        if state.step % spec.log_every == 0 or state.step == self.steps:
            line = {"step": state.step, "split": "train", **report(self.training.objective, self.of_all())}
            line |= {"lr": self.training.lr(state.step - 1), "grad_norm": norm, **pace(state)}
            self.told(line)
            self.window, state.window_start = {}, (state.tokens, state.seconds)
        if state.bad_steps >= spec.max_bad_steps + 16 * (self.training.accelerator.scaler is not None):
            self.all_saved()
            raise DivergedError(diverged(state.step, state.bad_steps, self.run))

    def of_all(self) -> Losses:
        """The window's losses, of all processes."""
        return reduced(self.window, self.training.accelerator)

    def told(self, line: dict[str, Any]) -> None:
        self.run.log(line)
        self.show(line)

    def asked(self, flags: Sequence[int]) -> Sequence[int]:
        """The signals to stop and to save: what all processes have agreed on, of a single one those of now."""
        return flags if self.training.accelerator.num_processes > 1 else (self.signals.stop, self.signals.save)

    def score(self) -> bool:
        """Validate, and say so. Was it the best so far, and is the best to be kept?"""
        state, objective = self.state, self.training.objective
        line = {"step": state.step, "split": "validation", **report(objective, self.validate())}
        best = keeps_best(self.training.spec) and is_best(objective.rank(line), state)
        self.told(line | {"tokens": state.tokens, "seconds": round(state.seconds, 2)})
        return best

    def save(self) -> None:
        """Begin a checkpoint."""
        strategy = self.training.strategy
        self.training.beat(self.state.step, "saving")
        self.state.window = {name: tuple(mean) for name, mean in self.of_all().items()}  # type: ignore[misc]
        self.saver.save(self.state, strategy.weights(), strategy.states())
        self.signals.save = 0

    def all_saved(self) -> None:
        """Wait until the last checkpoint is there for all: a process that ends takes the others with it."""
        self.saver.wait()
        self.training.beat(self.state.step, WAITING)
        self.training.accelerator.wait_for_everyone()


def keeps_best(spec: TrainSpec) -> bool:
    """Is the best checkpoint kept beside the newest, and ``model/`` made of it?"""
    return spec.keep_best or spec.early_stopping is not None


def is_best(rank: float, state: State) -> bool:
    """Is this the lowest rank (``Objective.rank``) of a validation so far? Then it is noted."""
    if math.isnan(rank) or (state.best is not None and rank >= state.best[1]):
        return False
    state.best = (state.step, rank)
    return True


def gives_up(state: State, spec: TrainSpec, every: int) -> bool:
    """Has ``train.early_stopping`` seen enough validations, one ``every`` steps, without a better one?"""
    if spec.early_stopping is None or state.best is None:
        return False
    return state.step - state.best[0] >= spec.early_stopping * every


def pace(state: State) -> dict[str, Any]:
    """Tokens so far, seconds of training so far, and tokens a second since the last line."""
    tokens, seconds = state.window_start
    speed = (state.tokens - tokens) / max(1e-9, state.seconds - seconds)
    return {"tokens": state.tokens, "tokens_per_second": round(speed), "seconds": round(state.seconds, 2)}


def diverged(step: int, bad: int, run: Run) -> str:
    good = checkpoint.newest_first(run.checkpoints)
    where = f"the last good checkpoint is {good[0]}" if good else "there is no checkpoint yet"
    return (
        f"step {step}: gradients were not finite {bad} steps in a row (no update was made); {where}; "
        "go on from it with --resume and a smaller train.lr, or train.precision=fp32"
    )
