"""Sums that objectives share: never an average, always (total, count)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ptk.metrics import Mean
from ptk.objectives.objective import IGNORE


def classification(name: str, logits: Tensor, labels: Tensor) -> dict[str, Mean]:
    """logits [..., C], labels [...] (IGNORE where there is none) -> the summed cross entropy and the right answers.

    A batch without labels gives a zero that still hangs on the graph.
    """
    logits, labels = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    with torch.no_grad():
        right = (logits.argmax(-1) == labels).sum()
        count = (labels != IGNORE).sum()
    return {name: Mean(total, count), f"{name}_accuracy": Mean(right, count)}
