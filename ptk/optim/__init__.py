"""``train.optimizer``: which parameters are decayed, and what updates them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ptk.optim import muon, ours
from ptk.optim.groups import Rate, parameter_groups


def of_model(
    name: str,
    model: nn.Module,
    weight_decay: float,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    rates: Mapping[nn.Parameter, Rate] | None = None,
) -> torch.optim.Optimizer:
    """The optimizer of a model's trainable parameters; ``rates`` of those that have their own."""
    groups = parameter_groups(model, weight_decay, rates)
    if name == "muon":
        groups = muon.divided(groups, muon.matrices(model))
    return build(name, groups, lr, betas, eps)


def build(
    name: str, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float
) -> torch.optim.Optimizer:
    """The optimizer a recipe calls ``adamw``, ``muon``, ``bert_adamw``, ``lamb``, ``adamw_rms`` or ``adafactor``.

    Each group brings its weight decay, and for ``muon`` says whether it is of matrices (``muon.divided``).
    ``adafactor`` takes neither ``betas`` nor ``eps``.
    ValueError for another name, or for betas outside [0, 1).
    """
    if name == "adamw":
        return ours.adamw(groups, lr, betas, eps)
    if name == "muon":
        return muon.Muon(groups, lr, betas, eps)
    if name == "bert_adamw":
        return ours.BertAdamW(groups, lr, betas, eps)
    if name == "lamb":
        return ours.Lamb(groups, lr, betas, eps)
    if name == "adamw_rms":
        return ours.AdamWRms(groups, lr, betas, eps)
    if name == "adafactor":
        return ours.adafactor(groups, lr)
    raise ValueError(f"train.optimizer {name!r} is unknown; use adamw, muon, bert_adamw, lamb, adamw_rms or adafactor")
