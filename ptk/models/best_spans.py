"""The best spans of each row, by the logits of starts and ends, on the device.

BERT's search (SQ-7): the best starts by the best ends, and of these pairs the best. What cannot be an answer takes no
place among the best, where BERT's code throws it out afterwards.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ptk.models.answering import NEVER, Spans

if TYPE_CHECKING:
    from ptk.models.answering import Answering


class Search(NamedTuple):
    starts: Tensor  # bool [B, T], where an answer may begin
    ends: Tensor  # bool [B, T], where one may end
    n_best: int  # N: starts and ends that are paired, and pairs that are kept
    longest: int  # tokens of an answer


class Best(NamedTuple):
    """The best first, [B, N] each; logits are NEVER where there are fewer, positions 0."""

    start: Tensor
    end: Tensor
    start_logit: Tensor
    end_logit: Tensor
    null: Tensor  # [B], the score of the span of the first position, which stands for no answer


def independent(found: Spans, search: Search) -> Best:
    """The spans with the largest sums of two logits."""
    most = min(search.n_best, found.start.shape[1])
    of_start, start = found.start.masked_fill(~search.starts, NEVER).topk(most)
    of_end, end = found.end.masked_fill(~search.ends, NEVER).topk(most)
    pairs = start[:, :, None], end[:, None], of_start[:, :, None], of_end[:, None]
    return Best(*best_pairs(*pairs, search), found.start[:, 0] + found.end[:, 0])


def joint(model: "Answering", found: Spans, allowed: Tensor, search: Search) -> Best:
    """The most probable spans: the best starts, and for each of them the best ends; logits are log probabilities.

    ``allowed`` [B, T] is what the softmaxes are over. ELECTRA's beam (SQ-9).
    """
    assert found.hidden is not None
    most = min(search.n_best, found.start.shape[1])
    odds = found.start.log_softmax(-1)
    of_start, start = odds.masked_fill(~search.starts, NEVER).topk(most)
    asked = torch.cat([torch.zeros_like(start[:, :1]), start], 1)  # no answer, and the beam
    end_odds = model.ends(found.hidden, asked).masked_fill(~allowed[:, None], NEVER).log_softmax(-1)
    ahead = torch.arange(odds.shape[1], device=start.device) - start[:, :, None]
    fits = search.ends[:, None] & (ahead >= 0) & (ahead < search.longest)
    of_end, end = end_odds[:, 1:].masked_fill(~fits, NEVER).topk(most)
    pairs = start[:, :, None], end, of_start[:, :, None], of_end
    return Best(*best_pairs(*pairs, search), odds[:, 0] + end_odds[:, 0, 0])


def best_pairs(
    start: Tensor, end: Tensor, of_start: Tensor, of_end: Tensor, search: Search
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Positions and logits of starts [B, K, 1] and ends [B, K or 1, K] -> those of the best pairs, [B, N] each.

    An end is not before its start, and not too far behind it.
    """
    ahead = end - start
    sums = (of_start + of_end).masked_fill((ahead < 0) | (ahead >= search.longest), NEVER).flatten(1)
    best, which = sums.topk(min(search.n_best, sums.shape[1]))
    none, room = best == NEVER, (0, search.n_best - best.shape[1])

    def picked(each: Tensor, where_none: float) -> Tensor:
        chosen = each.expand_as(ahead).flatten(1).gather(1, which).masked_fill(none, where_none)
        return F.pad(chosen, room, value=where_none)

    return picked(start, 0), picked(end, 0), picked(of_start, NEVER), picked(of_end, NEVER)
