"""Sums that objectives share: never an average, always (total, count)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ptk.metrics import Mean
from ptk.objectives.objective import IGNORE


def classification(name: str, logits: Tensor, labels: Tensor) -> dict[str, Mean]:
    """logits [..., C], labels [...] (IGNORE where there is none) -> the summed cross entropy and the right answers.

    A batch without labels gives a zero that still hangs on the graph.
    """
    return summed(name, of_logits(logits, labels), labels)


def of_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Scores fp32 [..., 2]: the cross entropy of each label, and 1 where it is the most probable (of equal ones the
    first); 0 for IGNORE."""
    exact = logits.float()
    flat = F.cross_entropy(exact.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="none")
    with torch.no_grad():
        right = (exact.argmax(-1) == labels).to(flat.dtype)  # of bf16 it takes four times as long
    return torch.stack([flat.view_as(labels), right], -1)


def summed(name: str, scores: Tensor, labels: Tensor) -> dict[str, Mean]:
    """The sums of scores [..., 2], as ``of_logits`` has them, over all labels."""
    count = (labels != IGNORE).sum()
    return {
        name: Mean(scores[..., 0].sum(), count),
        f"{name}_accuracy": Mean(scores[..., 1].detach().sum().long(), count),
    }


def by_member(names: Sequence[str], scores: Tensor, labels: Tensor, member: Tensor) -> dict[str, Mean]:
    """The same for scores [B, K, 2] and labels [B, K], apart for the rows of each member; ``member`` [B] numbers them.

    A member without rows has a count of 0.
    """
    totals, right = scores[..., 0].sum(1), scores[..., 1].detach().sum(1).long()
    counts = (labels != IGNORE).sum(1)
    parts = {}
    for number, name in enumerate(names):
        mine = (member == number).to(totals.dtype)
        count = (counts * mine).sum().long()
        parts |= {name: Mean((totals * mine).sum(), count), f"{name}_accuracy": Mean((right * mine).sum(), count)}
    return parts


def detection(name: str, logits: Tensor, labels: Tensor, mask: Tensor | None) -> dict[str, Mean]:
    """logits, labels (bool) and ``mask`` (1 where a token is real) [B, T] -> the summed binary cross entropy (ELE-7).

    Beside it accuracy, recall and precision of those so labelled (ELE-10), and their share: over all real tokens.
    """
    real = torch.ones_like(labels) if mask is None else mask.bool()
    each = F.binary_cross_entropy_with_logits(logits.float(), labels.to(torch.float32), reduction="none")
    with torch.no_grad():
        said, true, count = (logits > 0) & real, labels & real, real.sum()
        hits = (said & true).sum()
    return {
        name: Mean((each * real).sum(), count),
        f"{name}_accuracy": Mean((((logits > 0) == labels) & real).sum(), count),
        f"{name}_recall": Mean(hits, true.sum()),
        f"{name}_precision": Mean(hits, said.sum()),
        f"{name}_replaced": Mean(true.sum(), count),
    }


def spans(name: str, start: Tensor, end: Tensor, labels: Tensor) -> dict[str, Mean]:
    """Logits of starts and ends [B, T], labels [B, 2] (IGNORE where there is none) -> the summed mean of their two
    cross entropies, and how many rows have both right."""
    total = sum(
        F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="sum")
        for logits, label in zip((start, end), labels.unbind(1), strict=True)
    )
    with torch.no_grad():
        right = ((start.argmax(1) == labels[:, 0]) & (end.argmax(1) == labels[:, 1])).sum()
        count = (labels[:, 0] != IGNORE).sum()
    return {name: Mean(total / 2, count), f"{name}_accuracy": Mean(right, count)}


def yes_or_no(name: str, logits: Tensor, labels: Tensor) -> dict[str, Mean]:
    """logits, labels [B] of 1, 0 or IGNORE -> the summed binary cross entropy, and how many are right."""
    known = labels != IGNORE
    each = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits.dtype), reduction="none")
    right = ((logits > 0) == (labels > 0)) & known
    return {name: Mean((each * known).sum(), known.sum()), f"{name}_accuracy": Mean(right.sum(), known.sum())}
