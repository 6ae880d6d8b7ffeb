"""``train.optimizer: muon``: orthogonal steps for the matrices of layers, AdamW for everything else.

Muon (K. Jordan 2024, https://kellerjordan.github.io/posts/muon) as torch has it: Nesterov's momentum, of which each
matrix's five Newton-Schulz iterations make a step whose singular values are nearly equal. Steps are scaled as in arXiv
2502.16982 (section 2.2), to the size that AdamW's have, so that one learning rate and one weight decay serve both.
"""

from typing import Any

import torch
from torch import nn

from ptk.optim import ours


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


class Muon(ours.ExactState):
    """torch's Muon and its AdamW as one optimizer of ``divided`` groups; ``betas`` and ``eps`` are AdamW's."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.parts: dict[bool, torch.optim.Optimizer] = {}
        for of_matrices in {group["matrices"] for group in self.param_groups}:
            own = [dict(group) for group in self.param_groups if group["matrices"] == of_matrices]
            self.parts[of_matrices] = (
                torch.optim.Muon(own, lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
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
