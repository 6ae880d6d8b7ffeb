"""``model: {positions: sinusoidal}`` or ``none``: for comparison with the learned positions of BERT.

Both are a table of position embeddings that is not trained, so plain transformers computes the same from the weights.
"""

from typing import Any

import torch
from torch import Tensor

from ptk.models import own_settings


def sinusoids(positions: int, width: int) -> Tensor:
    """The table [positions, width] of "Attention Is All You Need" (arXiv 1706.03762, 3.5), sines and cosines in turn.

        table[p, 2i] = sin(p / 10000^(2i / width));  table[p, 2i + 1] = cos(p / 10000^(2i / width))

    As it stands there: scaled to the 0.02 of fresh word embeddings, a small BERT learns as slowly as without positions.
    """
    even = torch.arange(0, width, 2, dtype=torch.float64)
    angles = torch.arange(positions, dtype=torch.float64)[:, None] / 10000 ** (even / width)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width].float()


@torch.no_grad()
def write(model: Any) -> None:
    """Write the table that ``model.config.positions`` names into a model, and keep it from training."""
    kind = own_settings.values(model.config).get("positions", "learned")
    if kind == "learned":
        return
    table = model.base_model.embeddings.position_embeddings.weight
    table.copy_(sinusoids(*table.shape) if kind == "sinusoidal" else torch.zeros_like(table))
    table.requires_grad_(False)
