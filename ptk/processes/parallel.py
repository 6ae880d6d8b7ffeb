"""``train.parallel``: how much of a model each process holds.

    ddp        all of it; gradients are averaged (torch's DistributedDataParallel, through Accelerate)
    fsdp       a share of each weight, gradient and moment (torch's ``fully_shard``, arXiv 2304.11277)
    deepspeed  a share of each gradient and moment (ZeRO stage 2): see deepspeed.py

Checkpoints hold whole tensors, so a run may go on with any number of processes and another ``parallel``.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ptk import checkpoint
from ptk.errors import RecipeError
from ptk.processes import sharding
from ptk.recipe import TrainSpec

if TYPE_CHECKING:
    from accelerate import Accelerator

# Optimizers that shares of a tensor are not enough for, and what to use instead: transformers' Adafactor mixes whole
# tensors with shared ones, Muon's steps are made of whole matrices.
WITHOUT = {"adafactor": "adamw_rms, which scales its steps as it does", "muon": "adamw"}


def check(train: TrainSpec, processes: int) -> None:
    """Raises RecipeError for settings that several processes cannot share a model under, before any data is read.

    ``train.precision`` is settled. One process shares nothing.
    """
    if processes == 1 or train.parallel == "ddp":
        return
    if train.parallel == "deepspeed":
        from ptk.processes import deepspeed

        deepspeed.config(train, train.precision)
    elif train.precision == "fp16":
        raise RecipeError("train.precision: fp16 does not work with train.parallel fsdp; use bf16, or ddp")
    elif train.optimizer in WITHOUT:
        raise RecipeError(
            f"train.optimizer: {train.optimizer} does not work with train.parallel fsdp; "
            f"use {WITHOUT[train.optimizer]}, or train.parallel=ddp"
        )


# Strategies ------------------------------------------------------------------------------------------------------


class Ddp:
    """Each process has all of the model; their gradients are averaged."""

    lockstep = False  # must all processes make as many forward passes?

    def __init__(self, module: Any, make: Callable[[], Any], accelerator: "Accelerator") -> None:
        """``make``: the optimizer of the module's parameters, which are other ones once they are shared out."""
        self.accelerator = accelerator
        self.module = self.spread(module)
        self.optimizer = accelerator.prepare(make())

    def spread(self, module: nn.Module) -> Any:
        return self.accelerator.prepare(module.to(self.accelerator.device))

    @property
    def wrapped(self) -> Any:
        """The module as it was: what needs no other process, unless in ``lockstep``."""
        return self.accelerator.unwrap_model(self.module)

    def accumulate(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Around forward and backward of a micro-batch; the ``last`` one's gradients are exchanged, with all others."""
        return contextlib.nullcontext() if last else sharding.no_sync(self.module, self.accelerator)

    def backward(self, loss: Tensor, last: bool) -> None:
        self.accelerator.backward(loss)

    def step(self, most: float) -> float:
        """Clip the gradients to a norm of ``most``, update unless they are not finite (R20), forget them.

        Returns their norm before.
        """
        scaler = self.accelerator.scaler
        if scaler is not None:
            self.accelerator.unscale_gradients(self.optimizer)
        norm = sharding.clip(self.module.parameters(), most)
        if math.isfinite(norm) or scaler is not None:  # the scaler of fp16 skips by itself
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def states(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the weights, by name; of tensors that may be shared out."""
        found = {"optimizer": self.optimizer.state_dict()}
        return found if self.accelerator.scaler is None else {**found, "scaler": self.accelerator.scaler.state_dict()}

    def weights(self) -> dict[str, Tensor]:
        """Every weight and saved buffer once, as a checkpoint keeps them; they may be shared out."""
        return checkpoint.weights(self.wrapped.model)

    def load(self, states: Mapping[str, Any]) -> None:
        """The moments of a checkpoint, under the settings of the recipe, which may have changed."""
        settings = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.load_moments(states["optimizer"])
        for group, now in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(now)
        if "scaler" in states and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(states["scaler"])

    def load_moments(self, state_dict: Mapping[str, Any]) -> None:
        sharding.load_state_dict(self.optimizer, state_dict)


def strategy(module: nn.Module, make: Callable[[], Any], train: TrainSpec, accelerator: "Accelerator") -> Ddp:
    """The one that ``train.parallel`` names; ``make`` makes the optimizer of the module's parameters."""
    if accelerator.num_processes == 1 or train.parallel == "ddp":
        return Ddp(module, make, accelerator)
    if train.parallel == "fsdp":
        return Fsdp(module, make, accelerator)
    from ptk.processes import deepspeed

    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    return deepspeed.DeepSpeed(module, make, accelerator, deepspeed.config(train, precision))


class Fsdp(Ddp):
    """Each process has a share of each weight, gradient and moment."""

    lockstep = True

    def spread(self, module: nn.Module) -> Any:
        # Layer by layer it goes to the device, so that no device ever holds all of it.
        return sharding.shard(module, self.accelerator)

    @property
    def wrapped(self) -> Any:
        return self.module
