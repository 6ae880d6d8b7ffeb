"""``train.optimizer: muon``: orthogonal steps for the matrices of layers, AdamW for everything else.

Muon (K. Jordan 2024, https://kellerjordan.github.io/posts/muon) as torch has it: Nesterov's momentum, of which each
matrix's five Newton-Schulz iterations make a step whose singular values are nearly equal. Steps are scaled as in arXiv
2502.16982 (section 2.2), to the size that AdamW's have, so that one learning rate and one weight decay serve both.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ptk.optim import ours

# torch's multi-tensor operations, as in ours.py.
# pyright: reportPrivateImportUsage=false

STACKED = 1 << 20  # numbers of a stack at most: beyond it products are what takes time, and copies cost memory


def matrices(model: nn.Module) -> set[nn.Parameter]:
    """Weights that multiply activations: of linear layers, those of task heads among them, but neither embeddings nor
    what gives scores of words."""
    from transformers.pytorch_utils import Conv1D

    modules = list(model.modules())
    of_words = [module for module in modules if isinstance(module, nn.Embedding)]
    of_words += [out for module in modules if (out := output_embeddings(module)) is not None]
    excluded = {p for module in of_words for p in module.parameters()}
    weights: set[Any] = {module.weight for module in modules if isinstance(module, nn.Linear | Conv1D)}
    return weights - excluded


def output_embeddings(module: nn.Module) -> nn.Module | None:
    """Of transformers' models that have some."""
    get = getattr(module, "get_output_embeddings", None)
    return get() if get else None


def divided(groups: list[dict[str, Any]], chosen: set[nn.Parameter]) -> list[dict[str, Any]]:
    """Every group as two, which say by ``matrices`` whether theirs are those ``chosen``; empty ones are left out."""
    halves = [
        {**group, "params": [p for p in group["params"] if (p in chosen) == of_matrices], "matrices": of_matrices}
        for group in groups
        for of_matrices in (True, False)
    ]
    return [half for half in halves if half["params"]]


class StackedMuon(torch.optim.Muon):
    """torch's, which takes matrix after matrix, where those of one shape go together: fewer and larger products."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for params in stacks(group["params"]):
                self.update(params, group)

    def update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """One step of matrices of one shape."""
        grads: Any = [p.grad for p in params]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        ahead = torch.stack(torch._foreach_lerp(grads, momenta, group["momentum"]))  # Nesterov's
        stack = ahead if len(params) > 1 else ahead[0]
        steps = orthogonal(stack, group["ns_coefficients"], group["ns_steps"], group["eps"])
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        size = 0.2 * math.sqrt(max(params[0].shape))  # match_rms_adamw
        torch._foreach_add_(params, list(steps.reshape(len(params), *params[0].shape)), alpha=-group["lr"] * size)


def stacks(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """Those that have a gradient, by shape and device, at most STACKED numbers at a time or one matrix."""
    alike: dict[Any, list[Tensor]] = defaultdict(list)
    for p in params:
        if p.grad is not None:
            alike[p.shape, p.device, p.dtype].append(p)
    for some in alike.values():
        most = max(1, STACKED // some[0].numel())
        yield from (some[first : first + most] for first in range(0, len(some), most))


def orthogonal(stack: Tensor, coefficients: tuple[float, float, float], iterations: int, eps: float) -> Tensor:
    """Of each of [..., rows, columns] a matrix in bf16 with its singular vectors, and singular values near 1.

    Newton-Schulz, of which each iteration makes aX + (bA + cAA)X of X, with A = XX'.
    """
    a, b, c = coefficients
    add_product = torch.baddbmm if stack.ndim > 2 else torch.addmm  # of one matrix it is quicker
    found = stack.bfloat16()
    tall = found.shape[-2] > found.shape[-1]
    if tall:  # A is to be the smaller product
        found = found.mT
    found = found / torch.linalg.vector_norm(found, dim=(-2, -1), keepdim=True).clamp(min=eps)
    for _ in range(iterations):
        gram = found @ found.mT
        found = add_product(found, add_product(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


class Muon(ours.ExactState):
    """torch's Muon and its AdamW as one optimizer of ``divided`` groups; ``betas`` and ``eps`` are AdamW's."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.parts: dict[bool, torch.optim.Optimizer] = {}
        for of_matrices in {group["matrices"] for group in self.param_groups}:
            own = [dict(group) for group in self.param_groups if group["matrices"] == of_matrices]
            self.parts[of_matrices] = (
                StackedMuon(own, lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
                if of_matrices
                else ours.adamw(own, lr, betas, eps)
            )
        for group in self.param_groups:
            group.update({**self.parts[group["matrices"]].defaults, **group})
        self.share()

    def share(self) -> None:
        """The parts' groups and moments are this optimizer's own."""
        for of_matrices, part in self.parts.items():
            part.param_groups = [group for group in self.param_groups if group["matrices"] == of_matrices]
            part.state = self.state

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a copy, and of a loaded state."""
        super().__setstate__(state)
        self.share()

    def step(self, closure: Any = None) -> Any:
        """Updates every parameter that has a gradient; returns what ``closure`` returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts.values():
            part.step()
        return loss
