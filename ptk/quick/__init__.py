"""Pieces of a step that a CPU computes quicker than torch's own, by the same mathematics.

The models stay those of transformers: while ``Quick`` is entered, a call of one of torch's functions below goes to
ours, whichever family makes it. Nothing of a model changes but what calls GELU (activations.py), so that it is saved
and exported as it was.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ptk.quick import attention, dropout, embedding, memory

_inside: list["Quick"] = []


class Quick(TorchFunctionMode):
    """Torch's functions that are replaced while this is entered, in this thread. Torch leaves it when it goes backward.

    ``gathers``: whether gradients are gathered by others too (DDP), which have to see each of them.
    """

    def __init__(self, gathers: bool = False) -> None:
        super().__init__()
        self.ours: dict[Any, Callable[..., Any]] = {
            F.dropout: dropout.dropout,
            F.scaled_dot_product_attention: attention.attention,
        }
        if not gathers:
            self.ours[F.embedding] = embedding.embedding

    def __enter__(self) -> Any:
        _inside.append(self)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        _inside.remove(self)
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.ours:
            func = self.ours[func]
        return func(*args, **(kwargs or {}))


def writes_gradients() -> bool:
    """Are we where pieces may add to the gradient of a weight themselves, as nobody gathers it?"""
    return any(F.embedding in mode.ours for mode in _inside)


def inside() -> bool:
    """Are we where quicker pieces are wanted?"""
    return bool(_inside)


def pieces(device: torch.device, gathers: bool = False) -> AbstractContextManager[Any]:
    """Quick on a CPU, where memory is kept from here on; other devices have kernels of their own for all of it."""
    if device.type != "cpu":
        return nullcontext()
    memory.keep_freed()
    return Quick(gathers)
