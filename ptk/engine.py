"""The only loops: ``train`` and ``evaluate``. They know no objective and no task.

A step takes the micro-batches of its global batch first, sums the label counts over processes, and divides each
summed loss by its own global count: the gradient is that of the exact mean, however the batch is divided (R1).
"""

import math
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ptk import checkpoint, faults, optim, schedules
from ptk.checkpoint import State
from ptk.errors import DivergedError, Interrupted, RecipeError
from ptk.metrics import Mean, merge
from ptk.models import checks
from ptk.objectives.objective import Batch, Objective
from ptk.processes import heartbeat, parallel
from ptk.recipe import TrainSpec
from ptk.run import Run
from ptk.saving import Saver
from ptk.signals import Signals

if TYPE_CHECKING:
    from accelerate import Accelerator

Losses = dict[str, Mean]
WAITING = heartbeat.WAITING
Beat = Callable[[int, str], None]  # told of every step and what it does: a sign of life (R16)


class Wrapped(nn.Module):
    """The one module that DDP, FSDP and compile wrap: in training calling it is ``objective.loss(model, batch)``,
    else ``objective.evaluate(model, batch)``."""

    def __init__(self, objective: Objective, model: nn.Module) -> None:
        super().__init__()
        self.objective = objective
        self.model = model

    def forward(self, batch: Batch) -> Any:
        scored = self.objective.loss if self.training else self.objective.evaluate
        return scored(self.model, batch)


@dataclass
class Training:
    """What one step needs, put together once."""

    objective: Objective
    way: parallel.Ddp  # the Wrapped and its optimizer, as processes share them
    lr: Callable[[int], float]  # step -> learning rate
    accelerator: "Accelerator"
    spec: TrainSpec
    seed: int
    beat: Beat = lambda step, doing: None

    @property
    def model(self) -> nn.Module:
        return self.way.wrapped.model

    def step(self, batches: Sequence[Batch], state: State, flags: Sequence[int]) -> tuple[Losses, float, list[int]]:
        """One update. Returns the summed losses of this process, the gradient norm, and the flags of all processes."""
        faults.at("begin", state.step + 1)
        names = list(self.objective.weights)
        local = [sum(self.objective.counts(batch)[name] for batch in batches) for name in names]
        tokens = sum(self.objective.tokens(batch) for batch in batches)
        self.beat(state.step + 1, WAITING)
        counts, (most, *flags) = self.over_processes([*local, tokens], [len(batches), *flags])
        rounds = most if self.way.together else len(batches)
        for group in self.way.optimizer.param_groups:
            group["lr"] = self.lr(state.step)
        parts = [self.backward(batches, number, rounds, names, counts, state.step) for number in range(rounds)]
        norm = self.way.clip(self.spec.clip or math.inf)
        state.tokens += int(counts[-1])
        self.update(norm, state)
        return merge(parts[: len(batches)]), norm, flags

    def over_processes(self, counts: list[int], flags: Sequence[int]) -> tuple[list[int], list[int]]:
        """Counts summed over processes, and the largest of each flag: all processes agree on one step."""
        if self.accelerator.num_processes == 1:
            return counts, list(flags)
        device = self.accelerator.device
        mine = torch.tensor([*counts, *flags], dtype=torch.int64, device=device)
        every = self.accelerator.gather(mine).view(self.accelerator.num_processes, -1)  # type: ignore[union-attr]
        return every[:, : len(counts)].sum(0).tolist(), every[:, len(counts) :].amax(0).tolist()

    def backward(
        self, batches: Sequence[Batch], number: int, rounds: int, names: list[str], counts: list[int], step: int
    ) -> Losses:
        """Forward and backward of one micro-batch; gradients are exchanged with the last one only.

        A process that has fewer of them than ``rounds`` goes through one of them again, for nothing.
        """
        counted = self.accelerator.num_processes * (number < len(batches))
        last = number == rounds - 1
        # Dropout depends on the division, never on what came before, so that a resumed run needs no saved generator.
        torch.manual_seed(mixed(self.seed, step, self.accelerator.process_index, number))
        self.beat(step + 1, "computing")
        with self.way.exchange(last):
            parts = self.way.module(on(self.accelerator.device, batches[min(number, len(batches) - 1)]))
            scaled = [
                self.objective.weights[name] * parts[name].total * (counted / max(1, count))
                for name, count in zip(names, counts, strict=False)
            ]
            loss: Any = sum(scaled[1:], scaled[0])
            self.way.backward(loss * math.nan if faults.at("loss", step + 1) == "nan" else loss, last)
        return {name: Mean(part.total.detach(), part.count) for name, part in parts.items()}

    def update(self, norm: float, state: State) -> None:
        """Step the optimizer, unless the gradients are not finite: then nothing moves (R20)."""
        finite = math.isfinite(norm)
        state.bad_steps = 0 if finite else state.bad_steps + 1
        self.way.update(finite)
        state.step += 1


def mixed(*numbers: int) -> int:
    """One seed from several numbers."""
    result = 0
    for number in numbers:
        result = (result ^ number) * 0x9E3779B97F4A7C15 % (1 << 64)
        result ^= result >> 29
    return result


def on(device: torch.device, batch: Batch) -> Batch:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def prepare(
    objective: Objective,
    model: nn.Module,
    steps: int,
    spec: TrainSpec,
    seed: int,
    fidelity: str,
    accelerator: "Accelerator",
) -> Training:
    """The wrapped module, its optimizer and schedule."""
    module = Wrapped(objective, model)
    if spec.gradient_checkpointing:
        checks.checkpoint_activations(model)
    module.to(accelerator.device)
    if spec.compile:
        module.compile()

    def make() -> torch.optim.Optimizer:
        groups = optim.parameter_groups(model, spec.weight_decay)
        return optim.build(spec.optimizer, groups, spec.lr, spec.betas, spec.eps)

    warmup = schedules.warmup_steps(spec.warmup, steps)
    factor = schedules.schedule(spec.schedule, steps, warmup, spec.final_lr, spec.decay, fidelity)
    way = parallel.way(module, make, spec, accelerator)
    return Training(objective, way, lambda step: spec.lr * factor(step), accelerator, spec, seed)


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


@torch.no_grad()
def evaluate(
    module: nn.Module,
    batches: Sequence[Batch],
    accelerator: "Accelerator",
    beat: Callable[[str], None] = lambda doing: None,
) -> Losses:
    """Every loss and metric over all batches of all processes. ``module``: a Wrapped, sharded or not."""
    was_training = module.training
    module.eval()
    total: Losses = {}
    predicted: list[dict[str, np.ndarray]] = []
    with accelerator.autocast():
        for number in range(most(len(batches), accelerator)):
            beat("validating")
            # Forward passes of a sharded model are made together: who has no more batches repeats one.
            losses, predictions = module(on(accelerator.device, batches[min(number, len(batches) - 1)]))
            if number < len(batches):
                total = merge([total, losses])
                predicted += [{name: part.cpu().numpy() for name, part in predictions.items()}] if predictions else []
    module.train(was_training)
    beat(WAITING)
    return reduced(total, accelerator) | module.objective.score(joined(predicted, accelerator))  # type: ignore[operator,union-attr]


def most(number: int, accelerator: "Accelerator") -> int:
    """The largest of all processes' numbers. Raises RecipeError when a process has nothing to do."""
    if accelerator.num_processes == 1:
        return number
    from accelerate.utils import gather_object

    numbers = gather_object([number])
    if not min(numbers):
        raise RecipeError(
            f"evaluate.examples: fewer held-out rows than the {len(numbers)} processes; raise it or evaluate.share"
        )
    return max(numbers)


def joined(predicted: list[dict[str, np.ndarray]], accelerator: "Accelerator") -> dict[str, np.ndarray]:
    """The arrays of all batches of all processes, end to end."""
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        predicted = gather_object(predicted)
    return {name: np.concatenate([part[name] for part in predicted]) for name in (predicted[0] if predicted else ())}


def train(
    training: Training,
    loader: Iterable[list[Batch]],
    state: State,
    steps: int,
    run: Run,
    saver: Saver,
    validate: Callable[[], Losses],
    show: Callable[[dict[str, Any]], None],
) -> None:
    """Train from ``state.step`` to ``steps``, which moves ``state``; log, validate and save on the way.

    Raises DivergedError after ``max_bad_steps`` steps in a row without finite gradients, and Interrupted, with a
    checkpoint written, on SIGTERM or SIGINT.
    """
    spec, objective, accelerator, beat = training.spec, training.objective, training.accelerator, training.beat
    saved = state.window if accelerator.is_main_process else {}  # it holds the sums of all processes
    window: Losses = {name: Mean(*map(torch.tensor, pair)) for name, pair in saved.items()}
    every = spec.eval_every or max(1, steps // 10)
    save_every = spec.save_every or every
    clock = time.perf_counter() - state.seconds
    training.way.module.train()

    with Signals() as signals:
        for batches in loader:
            losses, norm, (stop, save_now) = training.step(batches, state, (signals.stop, signals.save))
            window = merge([window, losses])
            state.seconds = time.perf_counter() - clock
            step = state.step
            if step % spec.log_every == 0 or step == steps:
                line = {"step": step, "split": "train", **report(objective, reduced(window, accelerator))}
                line |= {"lr": training.lr(step - 1), "grad_norm": norm, **pace(state)}
                run.log(line)
                show(line)
                window, state.window_start = {}, (state.tokens, state.seconds)
            if state.bad_steps >= spec.max_bad_steps + 16 * (accelerator.scaler is not None):
                saver.wait()
                beat(step, WAITING)
                accelerator.wait_for_everyone()
                raise DivergedError(diverged(step, state.bad_steps, run))
            best = False
            if step % every == 0 or step == steps:
                line = {"step": step, "split": "validation", **report(objective, validate())}
                best = spec.keep_best and is_best(line["loss"], state)
                line |= {"tokens": state.tokens, "seconds": round(state.seconds, 2)}
                run.log(line)
                show(line)
            if accelerator.num_processes == 1:
                stop, save_now = signals.stop, signals.save
            if step % save_every == 0 or step == steps or stop or save_now or best:
                beat(step, "saving")
                state.window = {name: tuple(mean) for name, mean in reduced(window, accelerator).items()}  # type: ignore[misc]
                saver.save(state, training.way.weights(), training.way.states())
                signals.save = 0
            if stop and step < steps:
                saver.wait()
                beat(step, WAITING)
                accelerator.wait_for_everyone()  # a process that ends takes the others with it
                raise Interrupted(f"stopped by {signal.Signals(stop).name} at step {step}; go on with --resume", stop)
            if step % every == 0 or step % save_every == 0:
                clock = time.perf_counter() - state.seconds  # validating and saving are not training
            saver.check()
            beat(step + 1, "reading")
    saver.wait()
    beat(state.step, WAITING)
    accelerator.wait_for_everyone()  # the last checkpoint is there for all


def is_best(loss: float, state: State) -> bool:
    """Is this the lowest loss of a validation so far? Then it is noted."""
    if math.isnan(loss) or (state.best is not None and loss >= state.best[1]):
        return False
    state.best = (state.step, loss)
    return True


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
