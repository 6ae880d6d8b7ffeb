"""A model shared out over processes by torch's ``fully_shard`` (FSDP, arXiv 2304.11277), and its tensors made whole.

Weights and moments are DTensors, rows of a tensor shared out evenly. Whole tensors go into a checkpoint and come out of
it. What is said to be for all processes together exchanges tensors: each process must call it, in the same order, or
the others wait.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

if TYPE_CHECKING:
    from accelerate import Accelerator


# Modules ---------------------------------------------------------------------------------------------------


def shard(module: nn.Module, accelerator: "Accelerator") -> nn.Module:
    """``module`` with its weights shared out over all processes, in place; calls are for all processes together.

    Weights stay fp32; the forward pass has Accelerate's precision, as under DDP. A layer's weights are gathered when it
    is called and dropped behind it. Parameters are new objects: make the optimizer afterwards.
    """
    # T5 hands its position bias on as a view, which nothing writes to.
    warnings.filterwarnings("ignore", r"FSDP2-wrapped module \(FSDP\w*T5Block\) returned a view")
    accelerator.prepare_model(module, device_placement=False, evaluation_mode=True)  # autocast, and no DDP
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in layers(module):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
    module.register_forward_hook(drop_unless_training)
    return module


def drop_unless_training(module: Any, _inputs: Any, _output: Any) -> None:
    """What is outside of layers stays gathered for a backward pass, which an evaluation has not."""
    if not module.training:
        module.reshard()


def layers(module: nn.Module) -> list[nn.Module]:
    """The layers that are gathered one at a time: entries of the model's lists, called once in a forward pass.

    Of the classes that a transformers model names as whole, if it names any. The rest is gathered at once, and with it
    a layer that has a tensor in common with anything else (tied weights), or that takes turns (ALBERT's).
    """
    whole = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    everywhere = uses(module)
    return [
        layer
        for layer in listed(module)
        if (not whole or type(layer).__name__ in whole)
        and all(everywhere[parameter] == number for parameter, number in uses(layer).items())
    ]


def uses(module: nn.Module) -> Counter[nn.Parameter]:
    """In how many places of ``module`` each of its parameters stands."""
    return Counter(parameter for _, parameter in module.named_parameters(remove_duplicate=False))


def listed(module: nn.Module, config: Any = None) -> Iterator[nn.Module]:
    """Entries of the outermost ModuleLists that are as long as the configuration says that the model is deep."""
    config = getattr(module, "config", config)
    for child in module.children():
        if not isinstance(child, nn.ModuleList):
            yield from listed(child, config)
        elif len(child) >= getattr(config, "num_hidden_layers", 0):
            yield from child


@contextlib.contextmanager
def no_sync(module: nn.Module, accelerator: "Accelerator") -> Iterator[None]:
    """Gradients of the backward passes within are summed here, and exchanged with those of the next one outside."""
    module = getattr(module, "_orig_mod", module)  # of a compiled one
    if not isinstance(module, FSDPModule):
        with accelerator.no_sync(module):
            yield
        return
    module.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        module.set_requires_gradient_sync(True)


def clip(parameters: Iterable[nn.Parameter], max_norm: float) -> float:
    """The norm of all gradients as one vector, which is then made ``max_norm`` long at most. For all processes."""
    found = [parameter for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in found if p.grad is not None])
    torch.nn.utils.clip_grads_with_norm_(found, max_norm, norm)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


# Tensors ---------------------------------------------------------------------------------------------------


def whole(value: Any, keep: bool = True) -> Any:
    """``value``, a tensor or a nest of dicts and lists, with each DTensor as a whole one on the CPU.

    For all processes together, one tensor at a time. With ``keep`` false, for a process that writes nothing, None
    stands for every tensor. Plain tensors are kept as they are, not copied.
    """
    if isinstance(value, Mapping):
        return {key: whole(part, keep) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(part, keep) for part in value)
    if isinstance(value, DTensor):
        value = value.full_tensor()
        return value.cpu() if keep else None
    return value if keep or not isinstance(value, Tensor) else None


def like(value: Any, parameter: Tensor) -> Any:
    """A part of an optimizer's state, whole, as the state of ``parameter`` has it: its shard of it, bit for bit."""
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    mesh: DeviceMesh = parameter.device_mesh
    # Each process has the whole tensor; without a source nothing is sent.
    return distribute_tensor(value.to(parameter.device), mesh, parameter.placements, src_data_rank=None)


def load_state_dict(optimizer: Any, state_dict: Mapping[str, Any]) -> None:
    """``optimizer.load_state_dict`` for a state of whole tensors, whatever the optimizer's parameters are."""
    state = dict(state_dict["state"])
    for group, saved in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
        for parameter, index in zip(group["params"], saved["params"], strict=True):
            if index in state:
                state[index] = {key: like(value, parameter) for key, value in state[index].items()}
    optimizer.load_state_dict({**state_dict, "state": state})
