"""Embeddings whose gradient is added to the one there is: torch makes a new one of the whole table each time, zeros
but for the rows of a micro-batch, and adds that."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LEAST = 1 << 20  # numbers of a table for which that takes time


def embedding(
    ids: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """As ``torch.nn.functional.embedding``; ``weight`` [V, D] is a parameter, whose ``grad`` is written directly."""
    special = max_norm is not None or scale_grad_by_freq or sparse or type(weight) is not torch.nn.Parameter
    learned = weight.requires_grad and weight.is_leaf and torch.is_grad_enabled() and weight.device.type == "cpu"
    if special or not learned or weight.numel() < LEAST:
        return F.embedding(ids, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    padded = None if padding_idx is None else padding_idx % len(weight)
    return Embedding.apply(weight, ids, padded)  # type: ignore[no-any-return]


class Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding_idx: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.weight, ctx.padding_idx = weight, padding_idx
        return F.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (ids,), weight = ctx.saved_tensors, ctx.weight
        places, gradient = ids.flatten(), gradients[0].flatten(0, -2)
        if ctx.padding_idx is not None:
            gradient = gradient.masked_fill((places == ctx.padding_idx)[:, None], 0)
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad.index_add_(0, places, gradient.to(weight.dtype))
        return None, None, None
