"""One update: the forward and backward passes of a global batch, however it is divided, and the optimizer's step.

A step takes the micro-batches of its global batch first, sums the label counts over processes, and divides each
summed loss by its own global count: the gradient is that of the exact mean, however the batch is divided (R1).
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ptk import faults, optim, quick, schedules
from ptk.checkpoint import State
from ptk.metrics import Mean, merge
from ptk.models import checks, depth
from ptk.objectives.objective import Batch, Objective
from ptk.processes import parallel
from ptk.processes.heartbeat import WAITING
from ptk.quick import activations, unpadded
from ptk.recipe import TrainSpec

if TYPE_CHECKING:
    from accelerate import Accelerator

Losses = dict[str, Mean]
Pieces = contextlib.AbstractContextManager[Any]  # quicker ones, within which a model runs
NO_PIECES: Pieces = contextlib.nullcontext()
Beat = Callable[[int, str], None]  # told of every step and what it does: a sign of life (R16)


class Wrapped(nn.Module):
    """The one module that DDP, FSDP and compile wrap: in training calling it is ``objective.loss(model, batch)``,
    else ``objective.evaluate(model, batch)``."""

    def __init__(self, objective: Objective, model: nn.Module, pieces: Pieces = NO_PIECES) -> None:
        super().__init__()
        self.objective = objective
        self.model = model
        self.pieces = pieces
        if pieces is not NO_PIECES:
            activations.fuse(model)
            unpadded.hook(model)

    def forward(self, batch: Batch) -> Any:
        scored = self.objective.loss if self.training else self.objective.evaluate
        with self.pieces:
            return scored(self.model, batch)


@dataclass
class Training:
    """What one step needs, put together once."""

    objective: Objective
    strategy: parallel.Ddp  # the Wrapped and its optimizer, as processes share them
    lr: Callable[[int], float]  # step -> learning rate
    accelerator: "Accelerator"
    spec: TrainSpec
    seed: int
    beat: Beat = lambda step, doing: None

    def step(self, batches: Sequence[Batch], state: State, flags: Sequence[int]) -> tuple[Losses, float, list[int]]:
        """One update. Returns the summed losses of this process, the gradient norm, and the flags of all processes."""
        faults.at("begin", state.step + 1)
        names = list(self.objective.weights)
        local = [sum(self.objective.counts(batch)[name] for batch in batches) for name in names]
        tokens = sum(self.objective.tokens(batch) for batch in batches)
        self.beat(state.step + 1, WAITING)
        counts, (most, *flags) = self.over_processes([*local, tokens], [len(batches), *flags])
        rounds = most if self.strategy.lockstep else len(batches)
        for group in self.strategy.optimizer.param_groups:
            begun = state.step >= group.get("from_step", 0)  # gradual unfreezing
            group["lr"] = self.lr(state.step) * group.get("lr_scale", 1.0) * begun
        parts = [self.backward(batches, number, rounds, names, counts, state.step) for number in range(rounds)]
        norm = self.strategy.step(self.spec.clip or math.inf)
        state.tokens += int(counts[-1])
        state.bad_steps = 0 if math.isfinite(norm) else state.bad_steps + 1
        state.step += 1
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
        with self.strategy.accumulate(last):
            parts = self.strategy.module(on(self.accelerator.device, batches[min(number, len(batches) - 1)]))
            scaled = [
                self.objective.weights[name] * parts[name].total * (counted / max(1, count))
                for name, count in zip(names, counts, strict=False)
            ]
            loss: Any = sum(scaled[1:], scaled[0])
            self.strategy.backward(loss * math.nan if faults.at("loss", step + 1) == "nan" else loss, last)
        return {name: Mean(part.total.detach(), part.count) for name, part in parts.items()}


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
    """The wrapped module, in training, its optimizer and schedule."""
    module = Wrapped(objective, model, pieces_for(spec, accelerator))
    module.train()  # a model from a folder is in evaluation
    if spec.gradient_checkpointing:
        again: dict[str, Any] = {"use_reentrant": False}
        if module.pieces is not NO_PIECES:  # compiled, torch takes no other contexts than its own
            # What is computed again must be computed by the same pieces: torch leaves them when it goes backward.
            again["context_fn"] = lambda: (contextlib.nullcontext(), module.pieces)
        checks.checkpoint_activations(model, again)
    if spec.compile:
        module.compile()

    if spec.freeze is not None:
        depth.freeze(model, spec.freeze)

    def make() -> torch.optim.Optimizer:
        own = spec.head_lr or spec.unfreeze_every or spec.layer_decay < 1
        rates = depth.rates(model, spec, fidelity) if own else None
        return optim.of_model(spec.optimizer, model, spec.weight_decay, spec.lr, spec.betas, spec.eps, rates)

    warmup = schedules.warmup_steps(spec.warmup, steps)
    factor = schedules.schedule(spec.schedule, steps, warmup, spec.final_lr, spec.decay, fidelity)
    strategy = parallel.strategy(module, make, spec, accelerator)
    return Training(objective, strategy, lambda step: spec.lr * factor(step), accelerator, spec, seed)


def pieces_for(spec: TrainSpec, accelerator: "Accelerator") -> Pieces:
    """Quicker pieces where they help; a compiled model has its own."""
    if not spec.fast or spec.compile:
        return NO_PIECES
    return quick.pieces(accelerator.device, gathers=accelerator.num_processes > 1)
