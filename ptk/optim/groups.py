"""What is decayed, and what has a learning rate of its own."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn


class Rate(NamedTuple):
    """A parameter's own learning rate (ptk/models/depth.py says which)."""

    lr_scale: float = 1.0  # times the learning rate of the step
    from_step: int = 0  # 0 before


def parameter_groups(
    model: nn.Module, weight_decay: float, rates: Mapping[nn.Parameter, Rate] | None = None
) -> list[dict[str, Any]]:
    """Trainable parameters, in the model's order: the decayed ones, then biases and norms (OPT-1, ENG-7).

    Embeddings are decayed. A tied parameter is taken once, where it comes first. Empty groups are left out. With
    ``rates`` there are two such groups for each rate, in the order in which the model first has it, and each says its
    ``lr_scale`` and ``from_step``.
    """
    decayed: dict[nn.Parameter, bool] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                decayed.setdefault(parameter, not (is_norm(module) or is_bias(name)))
    found = rates or {}
    groups = [
        {"params": [p for p in decayed if decayed[p] == has and found.get(p, Rate()) == rate], "weight_decay": decay}
        | (rate._asdict() if rates else {})
        for rate in dict.fromkeys(found.get(p, Rate()) for p in decayed)
        for has, decay in ((True, weight_decay), (False, 0.0))
    ]
    return [group for group in groups if group["params"]]


def is_norm(module: nn.Module) -> bool:
    """By the module's own type (ENG-7), whatever its attribute is called: LayerNorm, T5LayerNorm, RMSNorm."""
    return type(module).__name__.endswith(("LayerNorm", "RMSNorm"))


def is_bias(name: str) -> bool:
    """``bias``, and torch's ``bias_ih_l0`` and ``in_proj_bias``; ``name`` is a module's own parameter's."""
    return "bias" in name.split("_")
