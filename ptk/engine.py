"""The only loops: ``train`` and ``evaluate``. They know no objective and no task.

A step takes the micro-batches of its global batch first, sums the label counts over processes, and divides each
summed loss by its own global count: the gradient is that of the exact mean, however the batch is divided (R1).
"""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ptk import checkpoint, optim, schedules
from ptk.checkpoint import State
from ptk.errors import DivergedError, Interrupted
from ptk.metrics import Mean, merge
from ptk.models import checks
from ptk.objectives.objective import Batch, Objective
from ptk.recipe import TrainSpec
from ptk.run import Run

if TYPE_CHECKING:
    from accelerate import Accelerator

Losses = dict[str, Mean]
SAME_SIGNAL = 1.0  # seconds: a launcher and a terminal may both pass one on


class Wrapped(nn.Module):
    """The one module that DDP and compile wrap: calling it is ``objective.loss(model, batch)``."""

    def __init__(self, objective: Objective, model: nn.Module) -> None:
        super().__init__()
        self.objective = objective
        self.model = model

    def forward(self, batch: Batch) -> Losses:
        return self.objective.loss(self.model, batch)


@dataclass
class Signals:
    """One stop flag, set by a signal; the second signal stops at once (R14)."""

    stop: int = 0
    save: int = 0
    since: float = 0.0
    before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> "Signals":
        for number in (signal.SIGTERM, signal.SIGINT):
            self.before[number] = signal.signal(number, self.on_stop)
        self.before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self.on_save)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self.before.items():
            signal.signal(number, before)

    def on_stop(self, number: int, _frame: object) -> None:
        if self.stop and time.monotonic() - self.since > SAME_SIGNAL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.since = self.since if self.stop else time.monotonic()
        self.stop = self.stop or number

    def on_save(self, _number: int, _frame: object) -> None:
        self.save = 1


@dataclass
class Training:
    """What one step needs, put together once."""

    objective: Objective
    module: nn.Module  # Wrapped, then wrapped again by Accelerate
    optimizer: Any
    lr: Callable[[int], float]  # step -> learning rate
    accelerator: "Accelerator"
    spec: TrainSpec
    seed: int

    def step(self, batches: Sequence[Batch], state: State, flags: Sequence[int]) -> tuple[Losses, float, list[int]]:
        """One update. Returns the summed losses of this process, the gradient norm, and the flags of all processes."""
        names = list(self.objective.weights)
        local = [sum(self.objective.counts(batch)[name] for batch in batches) for name in names]
        tokens = sum(self.objective.tokens(batch) for batch in batches)
        counts, flags = self.over_processes([*local, tokens], flags)
        parts = [self.backward(batches, number, names, counts, state.step) for number in range(len(batches))]
        norm = float(self.accelerator.clip_grad_norm_(self.module.parameters(), self.spec.clip or math.inf))  # type: ignore[arg-type]
        state.tokens += int(counts[-1])
        self.update(norm, state)
        return merge(parts), norm, flags

    def over_processes(self, counts: list[int], flags: Sequence[int]) -> tuple[list[int], list[int]]:
        """Counts summed over processes, and the largest of each flag: all processes agree on one step."""
        if self.accelerator.num_processes == 1:
            return counts, list(flags)
        device = self.accelerator.device
        mine = torch.tensor([*counts, *flags], dtype=torch.int64, device=device)
        every = self.accelerator.gather(mine).view(self.accelerator.num_processes, -1)  # type: ignore[union-attr]
        return every[:, : len(counts)].sum(0).tolist(), every[:, len(counts) :].amax(0).tolist()

    def backward(self, batches: Sequence[Batch], number: int, names: list[str], counts: list[int], step: int) -> Losses:
        """Forward and backward of one micro-batch; gradients are exchanged with the last one only."""
        processes = self.accelerator.num_processes
        last = number == len(batches) - 1
        # Dropout depends on the division, never on what came before, so that a resumed run needs no saved generator.
        torch.manual_seed(mixed(self.seed, step, self.accelerator.process_index, number))
        with contextlib.nullcontext() if last else self.accelerator.no_sync(self.module):
            parts = self.module(on(self.accelerator.device, batches[number]))
            scaled = [
                self.objective.weights[name] * parts[name].total * (processes / max(1, count))
                for name, count in zip(names, counts, strict=False)
            ]
            self.accelerator.backward(sum(scaled[1:], scaled[0]))
        return {name: Mean(part.total.detach(), part.count) for name, part in parts.items()}

    def update(self, norm: float, state: State) -> None:
        """Step the optimizer, unless the gradients are not finite: then nothing moves (R20)."""
        finite = math.isfinite(norm)
        state.bad_steps = 0 if finite else state.bad_steps + 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr(state.step)
        if finite or self.accelerator.scaler is not None:  # the scaler of fp16 skips by itself
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
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
    """Optimizer, schedule and the wrapped module."""
    groups = optim.parameter_groups(model, spec.weight_decay)
    module = Wrapped(objective, model)
    if spec.gradient_checkpointing:
        checks.checkpoint_activations(model)
    module.to(accelerator.device)
    optimizer = optim.build(spec.optimizer, groups, spec.lr, spec.betas, spec.eps)
    warmup = schedules.warmup_steps(spec.warmup, steps)
    factor = schedules.schedule(spec.schedule, steps, warmup, spec.final_lr, spec.decay, fidelity)
    if spec.compile:
        module = torch.compile(module)  # type: ignore[assignment]
    module, optimizer = accelerator.prepare(module, optimizer)
    return Training(objective, module, optimizer, lambda step: spec.lr * factor(step), accelerator, spec, seed)


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
def evaluate(objective: Objective, model: nn.Module, batches: Iterable[Batch], accelerator: "Accelerator") -> Losses:
    """Every loss and metric over all batches of all processes."""
    was_training = model.training
    model.eval()
    total: Losses = {}
    predicted: list[dict[str, np.ndarray]] = []
    with accelerator.autocast():
        for batch in batches:
            losses, predictions = objective.evaluate(model, on(accelerator.device, batch))
            total = merge([total, losses])
            predicted += [{name: tensor.cpu().numpy() for name, tensor in predictions.items()}] if predictions else []
    model.train(was_training)
    return reduced(total, accelerator) | objective.score(joined(predicted, accelerator))


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
    validate: Callable[[], Losses],
    show: Callable[[dict[str, Any]], None],
    about: dict[str, Any],
) -> None:
    """Train from ``state.step`` to ``steps``, which moves ``state``; log, validate and save on the way.

    Raises DivergedError after ``max_bad_steps`` steps in a row without finite gradients, and Interrupted, with a
    checkpoint written, on SIGTERM or SIGINT.
    """
    spec, objective, accelerator = training.spec, training.objective, training.accelerator
    model: nn.Module = accelerator.unwrap_model(training.module, keep_torch_compile=False).model  # type: ignore[union-attr]
    saved = state.window if accelerator.is_main_process else {}  # it holds the sums of all processes
    window: Losses = {name: Mean(*map(torch.tensor, pair)) for name, pair in saved.items()}
    every = spec.eval_every or max(1, steps // 10)
    save_every = spec.save_every or every
    clock = time.perf_counter() - state.seconds
    model.train()

    def save() -> None:
        local = reduced(window, accelerator)
        state.window = {name: tuple(mean) for name, mean in local.items()}  # type: ignore[misc]
        if run.writes:
            extra = {"optimizer": training.optimizer.state_dict()}
            if accelerator.scaler is not None:
                extra["scaler"] = accelerator.scaler.state_dict()
            checkpoint.save(run.checkpoints, state, model, extra, about, spec.keep)
        accelerator.wait_for_everyone()

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
                raise DivergedError(diverged(step, state.bad_steps, run))
            if accelerator.num_processes == 1:
                stop, save_now = signals.stop, signals.save
            if step % every == 0 or step == steps:
                line = {"step": step, "split": "validation", **report(objective, validate())}
                line |= {"tokens": state.tokens, "seconds": round(state.seconds, 2)}
                run.log(line)
                show(line)
            if step % save_every == 0 or step == steps or stop or save_now:
                save()
                signals.save = 0
            if stop and step < steps:
                raise Interrupted(f"stopped by {signal.Signals(stop).name} at step {step}; go on with --resume", stop)
            if step % every == 0 or step % save_every == 0:
                clock = time.perf_counter() - state.seconds  # validating and saving are not training


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
