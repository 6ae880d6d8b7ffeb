"""``train.parallel: deepspeed``: ZeRO stage 2 (arXiv 1910.02054), moments and summed gradients divided over processes.

DeepSpeed is called by itself, on the process group that is there: Accelerate's own way to it takes two processes on a
CPU for one. Its engine sums micro-batches, clips, and skips an update that is not finite; ptk sets the learning rate
and says which micro-batch is the last. With bf16 the weights are bf16, and each process has its part of them in fp32.

Its checkpoints depend on the number of processes, so ptk does not write them: ``weights`` and ``optimizer_state`` give
whole tensors in fp32, by the names and numbers that any other run has.
"""

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveInt
from torch import Tensor, distributed, nn

from ptk.errors import RecipeError
from ptk.processes import parallel
from ptk.recipe import TrainSpec

if TYPE_CHECKING:
    from accelerate import Accelerator

OPTIMIZERS = ("adamw", "bert_adamw")  # element by element: it hands them slices of all tensors end to end
BUCKET = 50_000_000  # numbers that are exchanged at once; DeepSpeed's 500 million are 2 GB
NEVER = 10**9  # steps


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Zero(Strict):
    stage: Literal[2] = 2
    reduce_bucket_size: PositiveInt = BUCKET
    allgather_bucket_size: PositiveInt = BUCKET
    round_robin_gradients: Literal[False] = False  # parameters in their order


class Bf16(Strict):
    enabled: bool
    check_grad_overflow: Literal[True] = True  # or it would update with what is not finite


class Types(Strict):
    grad_accum_dtype: Literal["fp32"] = "fp32"


class Config(Strict):
    """The keys of a DeepSpeed configuration that ptk writes."""

    train_micro_batch_size_per_gpu: PositiveInt
    """Rows; DeepSpeed only reports by it."""
    gradient_accumulation_steps: Literal[1] = 1
    """What a loss is divided by: nothing, the step divides by the counts of the global batch itself."""
    gradient_clipping: NonNegativeFloat
    """0 for none."""
    zero_optimization: Zero = Zero()
    bf16: Bf16
    data_types: Types = Types()
    zero_allow_untested_optimizer: Literal[True] = True
    zero_force_ds_cpu_optimizer: Literal[False] = False
    steps_per_print: PositiveInt = NEVER


def config(train: TrainSpec, precision: str) -> dict[str, Any]:
    """DeepSpeed's configuration for ``train``; ``precision``: fp32 or bf16.

    Raises RecipeError for what DeepSpeed cannot do as promised elsewhere, and where it is not installed.
    """
    if train.optimizer not in OPTIMIZERS:
        other = "ddp" if train.optimizer in parallel.WITHOUT else "fsdp"
        raise RecipeError(
            f"train.optimizer: {train.optimizer} needs each tensor whole, but DeepSpeed cuts them up; "
            f"use {' or '.join(OPTIMIZERS)}, or train.parallel={other}"
        )
    if precision == "fp16":
        raise RecipeError(
            "train.precision: fp16 does not resume exactly under deepspeed, which scales the loss itself; use bf16"
        )
    if importlib.util.find_spec("deepspeed") is None:
        raise RecipeError("train.parallel: deepspeed is not installed; pip install deepspeed, or use fsdp")
    made = Config(
        train_micro_batch_size_per_gpu=train.micro_batch_size or 1,
        gradient_clipping=train.clip or 0.0,
        bf16=Bf16(enabled=precision == "bf16"),
    ).model_dump()
    return checked(made)


def checked(made: dict[str, Any]) -> dict[str, Any]:
    """``made``, which DeepSpeed's own reader of configurations accepts too. Raises RecipeError when it does not."""
    own = importlib.import_module("deepspeed.runtime.config")
    try:
        own.DeepSpeedConfig(made)
    except Exception as error:  # asserts, ValueErrors and its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RecipeError(f"train.parallel: this version of DeepSpeed refuses its settings: {reason}") from error
    return made


def start(module: nn.Module, optimizer: torch.optim.Optimizer, made: Mapping[str, Any]) -> tuple[Any, Any]:
    """Its engine, which is called as ``module`` is, and its optimizer, whose ``param_groups`` have the ``lr``."""
    initialize = importlib.import_module("deepspeed").initialize
    engine, zero, _, _ = initialize(model=module, optimizer=optimizer, config=dict(made), dist_init_required=False)
    return engine, zero


def backward(engine: Any, loss: Tensor, last: bool) -> None:
    """Gradients of one micro-batch, added to those before; ``last`` of a global batch."""
    engine.set_gradient_accumulation_boundary(last)
    engine.backward(loss)


def update(engine: Any) -> float:
    """Clip, update, forget the gradients; their norm before. Infinite, and no update, where they are not finite."""
    engine.step()
    return float(engine.get_global_grad_norm())


class DeepSpeed(parallel.Ddp):
    """Each process has a share of each moment and summed gradient."""

    lockstep = True  # it exchanges the gradients of every micro-batch

    def __init__(
        self, module: nn.Module, make: Callable[[], Any], accelerator: "Accelerator", made: Mapping[str, Any]
    ) -> None:
        self.accelerator, self.inner = accelerator, module.to(accelerator.device)
        whole = {parameter: parameter.detach().float().cpu() for parameter in module.parameters()}
        self.module, self.optimizer = start(module, make(), made)
        load_weights(self.optimizer, whole)  # it has rounded them to bf16

    @property
    def wrapped(self) -> Any:
        return self.inner

    def accumulate(self, last: bool) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def backward(self, loss: Tensor, last: bool) -> None:
        backward(self.module, loss, last)

    def step(self, most: float) -> float:
        """``most`` is in its configuration."""
        return update(self.module)

    def states(self) -> dict[str, Any]:
        return {"optimizer": optimizer_state(self.optimizer, self.accelerator.is_main_process)}

    def weights(self) -> dict[str, Tensor]:
        return weights(self.inner.model, self.optimizer, self.accelerator.is_main_process)  # type: ignore[arg-type]

    def load_moments(self, state_dict: Mapping[str, Any]) -> None:
        load_state_dict(self.optimizer, state_dict)


# Tensors ---------------------------------------------------------------------------------------------------


def weights(model: nn.Module, zero: Any, keep: bool = True) -> dict[str, Any]:
    """Every weight, in fp32, and saved buffer once: a tied one under the first of its names. For all processes."""
    trained = whole(zero, zero.single_partition_of_fp32_groups, keep)
    once: dict[Any, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        once.setdefault(value, name)
    return {
        name: trained[value] if value in trained else (value.detach() if keep else None) for value, name in once.items()
    }


def optimizer_state(zero: Any, keep: bool = True) -> dict[str, Any]:
    """The ``state_dict`` that the optimizer would have without DeepSpeed. For all processes.

    With ``keep`` false, for a process that writes nothing, None stands for every tensor.
    """
    flat = [zero.optimizer.state.get(partition, {}) for partition in zero.single_partition_of_fp32_groups]
    state: dict[int, dict[str, Any]] = {}
    groups: list[dict[str, Any]] = []
    numbers: dict[nn.Parameter, int] = {}
    for group, parameters in zip(zero.optimizer.param_groups, zero.round_robin_bit16_groups, strict=True):
        numbers |= {parameter: len(numbers) + place for place, parameter in enumerate(parameters)}
        own = {key: value for key, value in group.items() if key != "params"}
        groups.append({**own, "params": [numbers[parameter] for parameter in parameters]})
    for key in dict.fromkeys(key for part in flat for key in part):
        values = [part[key] for part in flat]
        if values[0].shape != zero.single_partition_of_fp32_groups[0].shape:
            found = {
                p: value for value, group in zip(values, zero.round_robin_bit16_groups, strict=True) for p in group
            }
        else:
            found = whole(zero, values, keep)
        for parameter, value in found.items():
            state.setdefault(numbers[parameter], {})[key] = value
    return {"state": state, "param_groups": groups}


def whole(zero: Any, partitions: Sequence[Tensor], keep: bool) -> dict[nn.Parameter, Any]:
    """What every parameter has of ``partitions``, this process's part of each group laid end to end."""
    found: dict[nn.Parameter, Any] = {}
    for part, parameters in zip(partitions, zero.round_robin_bit16_groups, strict=True):
        parts = [torch.empty_like(part) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, part.detach())
        ends = torch.cat(parts).cpu() if keep else None
        for parameter, start in places(parameters):
            stop = start + parameter.numel()
            found[parameter] = ends[start:stop].view(parameter.shape).clone() if ends is not None else None
    return found


def places(parameters: Sequence[nn.Parameter]) -> Iterator[tuple[nn.Parameter, int]]:
    """Where each parameter begins in its group."""
    start = 0
    for parameter in parameters:
        yield parameter, start
        start += parameter.numel()


def load_weights(zero: Any, weights: Mapping[nn.Parameter, Tensor]) -> None:
    """Weights in fp32 into what DeepSpeed updates: each process takes its part."""
    for parameters, partition in zip(zero.round_robin_bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
        partition.data.copy_(part_of([weights[parameter] for parameter in parameters], partition))


def load_state_dict(zero: Any, state_dict: Mapping[str, Any]) -> None:
    """A state of whole tensors into DeepSpeed's optimizer: each process takes its part."""
    state = state_dict["state"]
    groups = zip(
        zero.round_robin_bit16_groups, zero.single_partition_of_fp32_groups, state_dict["param_groups"], strict=True
    )
    for parameters, partition, saved in groups:
        own: dict[str, Any] = {}
        for key, first in state.get(saved["params"][0], {}).items():
            if isinstance(first, Tensor) and first.shape == parameters[0].shape:
                own[key] = part_of([state[index][key] for index in saved["params"]], partition)
            else:
                own[key] = first
        zero.optimizer.state[partition] = own


def part_of(tensors: Sequence[Tensor], partition: Tensor) -> Tensor:
    """This process's part, like ``partition``, of tensors laid end to end and filled up with zeros."""
    size = partition.numel()
    ends = torch.zeros(size * distributed.get_world_size(), dtype=partition.dtype)
    laid = torch.cat([tensor.flatten().to(ends) for tensor in tensors])
    ends[: laid.numel()] = laid
    return ends[distributed.get_rank() * size :][:size].to(partition.device, copy=True)
