"""GELU by tanh as one operation: transformers writes GPT-2's, ALBERT's and T5 1.1's as eight, each of which reads,
writes and keeps as many numbers as the layer has."""

from functools import partial

from torch import nn
from torch.nn import functional as F


def fuse(model: nn.Module) -> None:
    """Every such module of ``model`` calls torch's; the modules stay, so that a model is saved as it was."""
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        if isinstance(module, NewGELUActivation):
            module.forward = partial(F.gelu, approximate="tanh")  # type: ignore[method-assign]
