"""What is decayed, the optimizers torch lacks, and the learning rate of every step.

``bert_adamw`` (OPT-1) and ``lamb`` (OPT-6) have no bias correction, so their first updates are about three
times AdamW's: it is the warm-up that makes up for it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

# torch's multi-tensor operations are public by use (its own optimizers, torchao), by name not.
# pyright: reportPrivateImportUsage=false

FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


# What is decayed -------------------------------------------------------------------------------------------


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters, in the model's order: the decayed ones, then biases and norms (OPT-1, ENG-7).

    Embeddings are decayed. A tied parameter is taken once, where it comes first. Empty groups are left out.
    """
    decayed: dict[nn.Parameter, bool] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                decayed.setdefault(parameter, not (is_norm(module) or is_bias(name)))
    groups = [
        {"params": [p for p in decayed if decayed[p]], "weight_decay": weight_decay},
        {"params": [p for p in decayed if not decayed[p]], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def is_norm(module: nn.Module) -> bool:
    """By the module's own type (ENG-7), whatever its attribute is called: LayerNorm, T5LayerNorm, RMSNorm."""
    return type(module).__name__.endswith(("LayerNorm", "RMSNorm"))


def is_bias(name: str) -> bool:
    """``bias``, and torch's ``bias_ih_l0`` and ``in_proj_bias``; ``name`` is a module's own parameter's."""
    return "bias" in name.split("_")


# Optimizers ------------------------------------------------------------------------------------------------


def build(
    name: str, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float
) -> torch.optim.Optimizer:
    """The optimizer a recipe calls ``adamw``, ``bert_adamw`` or ``lamb``; each group brings its weight decay.

    ValueError for another name, or for betas outside [0, 1).
    """
    if name == "adamw":
        parameters = (p for group in groups for p in group["params"])
        # None leaves the choice to torch; False would take its slowest loop.
        fused = all(p.device.type in FUSED_DEVICES for p in parameters) or None
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, weight_decay=0.0, fused=fused)
    if name == "bert_adamw":
        return BertAdamW(groups, lr, betas, eps)
    if name == "lamb":
        return Lamb(groups, lr, betas, eps)
    raise ValueError(f"train.optimizer {name!r} is unknown; use adamw, bert_adamw or lamb")


class BertAdamW(torch.optim.Optimizer):
    """BERT's Adam (OPT-1): no bias correction, epsilon outside the root, decay added before lr.

        m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - lr (m / (sqrt v + eps) + decay w)

    Moments are fp32 whatever the parameters are. A group's own ``weight_decay`` counts, else none.
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"train.betas {betas} must lie in [0, 1), such as (0.9, 0.999)")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient; returns what ``closure`` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                torch._foreach_add_(params, self.updates(params, group), alpha=-group["lr"])
        return loss

    def updates(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Moves the moments on; what lr multiplies, one fp32 tensor for each parameter."""
        beta1, beta2 = group["betas"]
        grads = [p.grad.float() for p in params if p.grad is not None]
        m, v = self.moments(params)
        torch._foreach_lerp_(m, grads, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)

        roots = torch._foreach_sqrt(v)
        torch._foreach_add_(roots, group["eps"])
        updates = list(torch._foreach_div(m, roots))
        if group["weight_decay"]:
            torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        return updates

    def moments(self, params: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """First and second moments, zeros before a parameter's first update."""
        for p in params:
            if not self.state[p]:
                self.state[p]["exp_avg"] = torch.zeros_like(p, dtype=torch.float32)
                self.state[p]["exp_avg_sq"] = torch.zeros_like(p, dtype=torch.float32)
        return [self.state[p]["exp_avg"] for p in params], [self.state[p]["exp_avg_sq"] for p in params]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but moments stay fp32 (torch casts them to the parameter's dtype) and are copied."""
        super().load_state_dict(state_dict)
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            for p, index in zip(group["params"], saved["params"], strict=True):
                for key, value in state_dict["state"].get(index, {}).items():
                    self.state[p][key] = value.to(p.device, copy=True)


class Lamb(BertAdamW):
    """ALBERT's LAMB (OPT-6): BertAdamW's update, decay included, times |w| / |update| of its tensor.

    The ratio is 1 where either norm is 0, and holds for every tensor, biases and norms included.
    """

    def updates(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        updates = super().updates(params, group)
        weight_norms = torch.stack(torch._foreach_norm(params, dtype=torch.float32))
        update_norms = torch.stack(torch._foreach_norm(updates))
        both = (weight_norms > 0) & (update_norms > 0)
        ratios = torch.where(both, weight_norms / update_norms, 1.0)
        torch._foreach_mul_(updates, list(ratios.unbind()))
        return updates


# Learning rate ---------------------------------------------------------------------------------------------


def warmup_steps(value: float, total: int) -> int:
    """``train.warmup`` in steps: below 1 it is a fraction of ``total``, from 1 on it is steps; rounded."""
    return round(value * total if value < 1 else value)


def schedule(name: str, total: int, warmup: int, final: float, decay: float, fidelity: str) -> Callable[[int], float]:
    """The factor of lr at step t, the number of updates made before this one; pure, and it pickles.

    ``total`` T and ``warmup`` W are steps, ``final`` is a factor, ``decay`` is wsd's share of T.
    The warm-up is (t + 1) / W: no update has lr 0, and t = W - 1 is at the peak. What falls after it leaves
    the peak at t = W and would be at ``final`` at t = T, so the last update, T - 1, still counts.

    - ``linear``: a straight line. With fidelity ``paper`` BERT's own (OPT-2, `bert_linear`).
    - ``cosine``: half a cosine.
    - ``wsd``: at the peak until the last ``decay`` of all steps, then a straight line.
    - ``inverse_sqrt``: T5's (T5-7), 1 / sqrt(max(t, W)) relative to its peak: flat, not rising, until W.
    - ``constant``: at the peak.

    ValueError for another name.
    """
    if name == "linear" and fidelity == "paper":
        return partial(bert_linear, total=total, warmup=warmup, final=final)
    if name == "linear":
        return partial(linear, start=warmup, total=total, warmup=warmup, final=final)
    if name == "cosine":
        return partial(cosine, total=total, warmup=warmup, final=final)
    if name == "wsd":
        start = max(warmup, total - round(decay * total))
        return partial(linear, start=start, total=total, warmup=warmup, final=final)
    if name == "inverse_sqrt":
        return partial(inverse_sqrt, warmup=warmup)
    if name == "constant":
        return partial(constant, warmup=warmup)
    raise ValueError(f"train.schedule {name!r} is unknown; use linear, cosine, wsd, inverse_sqrt or constant")


def bert_linear(t: int, *, total: int, warmup: int, final: float) -> float:
    """OPT-2: t / W, so 0 at step 0; then the line that began at step 0: a jump down to 1 - W / T at W."""
    if t < warmup:
        return t / warmup
    return 1 - (1 - final) * _progress(t, 0, total)


def linear(t: int, *, start: int, total: int, warmup: int, final: float) -> float:
    if t < warmup:
        return _rise(t, warmup)
    return 1 - (1 - final) * _progress(t, start, total)


def cosine(t: int, *, total: int, warmup: int, final: float) -> float:
    if t < warmup:
        return _rise(t, warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * _progress(t, warmup, total))) / 2


def inverse_sqrt(t: int, *, warmup: int) -> float:
    peak = max(warmup, 1)
    return math.sqrt(peak / max(t, peak))


def constant(t: int, *, warmup: int) -> float:
    return _rise(t, warmup) if t < warmup else 1.0


def _rise(t: int, warmup: int) -> float:
    return (t + 1) / warmup


def _progress(t: int, start: int, end: int) -> float:
    """0 until ``start``, 1 from ``end`` on."""
    if t >= end:
        return 1.0
    return (t - start) / (end - start) if t > start else 0.0
