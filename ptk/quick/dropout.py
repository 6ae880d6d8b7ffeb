"""Dropout from 16 random bits a number: torch draws each on its own, which costs more than the layer around it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

WIDE = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}  # as wide as
STEPS = 1 << 16  # of a probability: 0.1 becomes 6554 / 65536, and what is kept is scaled by just that


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As ``torch.nn.functional.dropout``; seeded from torch's generator, from which one number is taken a call."""
    dropped = round(p * STEPS)
    if not training or not dropped:
        return x
    if inplace or not 0 < dropped < STEPS or x.dtype not in WIDE or x.device.type != "cpu":
        return F.dropout(x, p, training, inplace)
    return Dropout.apply(x, dropped)  # type: ignore[no-any-return]


class Dropout(torch.autograd.Function):
    """Keeps two bytes a number for the backward pass, torch's one: they are as wide as a bf16, to be and-ed with it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        kept = drawn(x.shape, dropped)
        ctx.save_for_backward(kept)
        ctx.scale = STEPS / (STEPS - dropped)
        return masked(x, kept).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (kept,) = ctx.saved_tensors
        return masked(gradients[0], kept).mul_(ctx.scale), None


def drawn(shape: torch.Size, dropped: int) -> Tensor:
    """int16 of a shape: 0 with a probability of ``dropped`` in STEPS, else -1, which is all bits."""
    seed = int(torch.empty((), dtype=torch.int64).random_())
    size = shape.numel()
    bits = torch.from_numpy(np.random.SFC64(seed).random_raw(-(-size // 4)).view(np.int16))[:size].view(shape)
    # Into its own type: truth values take ten times as long.
    return torch.ge(bits, dropped - STEPS // 2, out=torch.empty_like(bits)).neg_()


def masked(x: Tensor, kept: Tensor) -> Tensor:
    """``x`` where ``kept`` is -1, 0 where it is 0."""
    wide = WIDE[x.dtype]
    return (x.view(wide) & kept.to(wide)).view(x.dtype)
