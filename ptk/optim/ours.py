"""The optimizers that torch lacks, or has without what ptk promises.

``bert_adamw`` (OPT-1) and ``lamb`` (OPT-6) have no bias correction, so their first updates are about three
times AdamW's: it is the warm-up that makes up for it. ``adamw_rms`` and ``adafactor`` (T5-7) scale each tensor's
step by the size of the tensor, so their lr is a relative one: 0.01 to 0.02, not 1e-4.

A parameter may be a DTensor, of which each process has a shard (``train.parallel: fsdp``). Ours then work on the
shards, and only the size of a tensor is asked of all processes.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

# torch's multi-tensor operations are public by use (its own optimizers, torchao), by name not.
# pyright: reportPrivateImportUsage=false

FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})
LEAST_RMS = 1e-3  # of a tensor that scales its own step: one of zeros must move too (T5-7)


def adamw(groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> torch.optim.Optimizer:
    """torch's own, in one pass over each parameter where the device can."""
    parameters = (p for group in groups for p in group["params"])
    # None leaves the choice to torch; False would take its slowest loop.
    fused = all(p.device.type in FUSED_DEVICES for p in parameters) or None
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, weight_decay=0.0, fused=fused)


class ExactState(torch.optim.Optimizer):
    """An optimizer whose loaded state is the saved one bit for bit, whatever dtype the parameters are."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, which casts state to the parameter's dtype; here it keeps its own, and is copied."""
        super().load_state_dict(state_dict)
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            for p, index in zip(group["params"], saved["params"], strict=True):
                for key, value in state_dict["state"].get(index, {}).items():
                    self.state[p][key] = value.to(p.device, copy=True) if isinstance(value, Tensor) else value


def shards(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What this process has of each tensor: all of it, or its shard, of the same memory."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def norms(own: list[Tensor], params: list[Tensor]) -> list[Tensor]:
    """The fp32 norm of each whole tensor; ``own`` has this process's part of it, divided as ``params`` are."""
    found = torch._foreach_norm(own, dtype=torch.float32)
    if not isinstance(params[0], DTensor):
        return list(found)
    squares = torch.stack(found).square()
    distributed.all_reduce(squares, group=params[0].device_mesh.get_group())
    return list(squares.sqrt().unbind())


class BertAdamW(ExactState):
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
                torch._foreach_add_(shards(params), self.updates(params, group), alpha=-group["lr"])
        return loss

    def updates(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Moves the moments on; what lr multiplies, one fp32 tensor for each parameter's shard."""
        updates = self.adam(params, group)
        if group["weight_decay"]:
            torch._foreach_add_(updates, shards(params), alpha=group["weight_decay"])
        return updates

    def adam(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Moves the moments on; m / (sqrt v + eps)."""
        beta1, beta2 = group["betas"]
        grads = [grad.float() for grad in shards(p.grad for p in params if p.grad is not None)]
        m, v = self.moments(params)
        torch._foreach_lerp_(m, grads, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)

        roots = torch._foreach_sqrt(v)
        torch._foreach_add_(roots, group["eps"])
        return list(torch._foreach_div(m, roots))

    def moments(self, params: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """First and second moments, zeros before a parameter's first update."""
        for p in params:
            if not self.state[p]:
                self.state[p]["exp_avg"] = torch.zeros_like(p, dtype=torch.float32)
                self.state[p]["exp_avg_sq"] = torch.zeros_like(p, dtype=torch.float32)
        m, v = ([self.state[p][name] for p in params] for name in ("exp_avg", "exp_avg_sq"))
        return shards(m), shards(v)


class Lamb(BertAdamW):
    """ALBERT's LAMB (OPT-6): BertAdamW's update, decay included, times |w| / |update| of its tensor.

    The ratio is 1 where either norm is 0, and holds for every tensor, biases and norms included.
    """

    def updates(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        updates = super().updates(params, group)
        weight_norms = torch.stack(norms(shards(params), params))
        update_norms = torch.stack(norms(updates, params))
        both = (weight_norms > 0) & (update_norms > 0)
        ratios = torch.where(both, weight_norms / update_norms, 1.0)
        torch._foreach_mul_(updates, list(ratios.unbind()))
        return updates


class AdamWRms(BertAdamW):
    """nanoT5's AdamW (T5-7): each tensor's step is in proportion to the tensor, as Adafactor's is.

        w <- w - lr (max(1e-3, RMS w) sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt v + eps) + decay w)

    t counts the tensor's own updates from 1; the decay is not in proportion to RMS w.
    """

    def updates(self, params: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        updates = self.adam(params, group)
        torch._foreach_mul_(updates, [self.bias_correction(p, *group["betas"]) for p in params])
        rms = norms(shards(params), params)
        torch._foreach_div_(rms, [math.sqrt(max(1, p.numel())) for p in params])
        torch._foreach_clamp_min_(rms, LEAST_RMS)
        torch._foreach_mul_(updates, rms)
        if group["weight_decay"]:
            torch._foreach_add_(updates, shards(params), alpha=group["weight_decay"])
        return updates

    def bias_correction(self, p: Tensor, beta1: float, beta2: float) -> float:
        """Counts the update of ``p``, and the factor that makes up for moments that began at zero."""
        t = self.state[p]["step"] = self.state[p].get("step", 0) + 1
        return math.sqrt(1 - beta2**t) / (1 - beta1**t)


def adafactor(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """T5's Adafactor (T5-7, arXiv 1804.04235), as transformers has it: lr times max(1e-3, RMS) of each tensor.

    Second moments alone, factored into rows and columns, that forget as 1 - t^-0.8, and updates of RMS 1 at most:
    no momentum, so no betas. The decay of a group is in proportion to RMS w too.
    """
    from transformers.optimization import Adafactor  # half a second, which other optimizers need not pay

    class ExactAdafactor(ExactState, Adafactor):
        pass

    return ExactAdafactor(
        groups,
        lr=lr,
        eps=(1e-30, LEAST_RMS),
        clip_threshold=1.0,
        decay_rate=-0.8,
        scale_parameter=True,
        relative_step=False,
        warmup_init=False,
    )
