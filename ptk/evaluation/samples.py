"""A few held-out rows with what the model says of them: what numbers cannot show."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ptk.data import batches, rows
from ptk.data.permutation import keys, permute
from ptk.data.rows import RowSource

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer


@torch.no_grad()
def samples(
    source: RowSource, model: nn.Module, tokenizer: "Tokenizer", count: int, device: torch.device
) -> Iterator[str]:
    """One text for each of ``count`` held-out rows, as the objective words it."""
    table = rows.rows(source, 0)
    order = permute(np.arange(min(count, len(table))), len(table), keys(source.seed, 1)).tolist()
    for row in order:
        example = batches.encode(table, row, tokenizer, source.seed)
        batch = batches.stack([example], batches.padding([source], tokenizer))
        yield source.objective.answer(model, {name: t.to(device) for name, t in batch.items()}, tokenizer)
