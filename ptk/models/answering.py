"""Where an answer begins and ends in a row, and whether there is one: logits of any model, and ptk's own head.

transformers' classes have a linear layer that gives each position two numbers. ELECTRA's head (arXiv 2003.10555 and its
code, SQ-9) asks for the end knowing the start, and for whether the question can be answered at all: that is
``Answering`` here, which also stands in for families that have no class for questions.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptk.models.headed import Headed

WIDTH = 512  # of ELECTRA's hidden layers
NEVER = float("-inf")  # a logit that a softmax does not see; ELECTRA's 1000 less comes to the same


class Spans(NamedTuple):
    """What a model says of a batch's rows, float32; a logit is ``NEVER`` where nothing may begin or end."""

    start: Tensor  # [B, T]
    end: Tensor  # [B, T]; of a joint end that which follows from the starts that were given
    impossible: Tensor | None = None  # [B], of an answerability head
    hidden: Tensor | None = None  # [B, T, D], of ptk's own head


class Answering(Headed):
    """A backbone and a ``SpanHead``: without dropout, as the families' classes.

    The configuration says which: ``ptk_end`` ``joint`` for an end that follows from the start, ``ptk_impossible`` for
    an answerability head.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone, "question_answering", 2)

    def new_head(self, outputs: int) -> nn.Module:
        joint = getattr(self.config, "ptk_end", None) == "joint"
        return SpanHead(self.config.hidden_size, joint, getattr(self.config, "ptk_impossible", False))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        allowed: Tensor | None = None,
        starts: Tensor | None = None,
        **more: Tensor,
    ) -> Spans:
        """input_ids [B, T] -> Spans, of softmaxes over ``allowed`` [B, T] (everything when left out).

        A joint end follows from ``starts`` [B], positions; from the best ones when left out.
        """
        rows = {"input_ids": input_ids, "attention_mask": attention_mask, **more}
        hidden = self.hidden({name: array for name, array in rows.items() if array is not None})
        closed = torch.zeros_like(input_ids, dtype=torch.bool) if allowed is None else ~allowed
        start = self.head.start(hidden).squeeze(-1).float().masked_fill(closed, NEVER)
        end = self.ends(hidden, (start.argmax(-1) if starts is None else starts)[:, None]).squeeze(1)
        impossible = None
        if self.head.impossible is not None:
            place = self.place(input_ids, attention_mask)
            read = hidden[torch.arange(len(hidden), device=hidden.device), place]
            begun = (start.softmax(-1)[..., None] * hidden).sum(1)  # no product of matrices, which autocast rounds
            impossible = self.head.impossible(torch.cat([read, begun], -1)).squeeze(-1).float()
        return Spans(start, end.masked_fill(closed, NEVER), impossible, hidden)

    def ends(self, hidden: Tensor, starts: Tensor) -> Tensor:
        """hidden [B, T, D], positions ``starts`` [B, S] -> logits of the end [B, S, T], float32, of any position."""
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        return self.head.ends(hidden, hidden[rows, starts]).float()


class SpanHead(nn.Module):
    """The layers over hidden states; ``impossible`` reads [B, 2 D], a row's state and that of its starts."""

    def __init__(self, size: int, joint: bool, impossible: bool) -> None:
        super().__init__()
        self.start = nn.Linear(size, 1)
        self.end = nn.Linear(WIDTH if joint else size, 1)
        # One layer over a start's state and another position's: each has its half, and is multiplied once.
        self.of_start = nn.Linear(size, WIDTH) if joint else None
        self.of_end = nn.Linear(size, WIDTH, bias=False) if joint else None
        self.impossible = (
            nn.Sequential(nn.Linear(2 * size, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1)) if impossible else None
        )

    def ends(self, hidden: Tensor, starts: Tensor) -> Tensor:
        """hidden [B, T, D], states of starts [B, S, D] -> logits of the end [B, S, T]."""
        if self.of_start is None or self.of_end is None:
            return self.end(hidden).squeeze(-1)[:, None].expand(-1, starts.shape[1], -1)
        here, begun = self.of_end(hidden), self.of_start(starts)
        # A start after the other: [B, T, 512] at a time.
        return torch.stack([self.end(F.gelu(here + one[:, None])).squeeze(-1) for one in begun.unbind(1)], 1)


def spans(model: nn.Module, inputs: dict[str, Any], allowed: Tensor, starts: Tensor) -> Spans:
    """What a model of any class says: see ``Answering.forward``, and ``heads.inputs`` for ``inputs``."""
    if isinstance(model, Answering):
        return model(**inputs, allowed=allowed, starts=starts)
    found = model(**inputs)
    return Spans(*(logits.float().masked_fill(~allowed, NEVER) for logits in (found.start_logits, found.end_logits)))


def within(bounds: Tensor, ids: Tensor) -> Tensor:
    """bool as ``ids`` [B, T]: the positions from ``bounds``' [B, 2] first to before their second."""
    place = torch.arange(ids.shape[1], device=ids.device)
    return (place >= bounds[:, :1]) & (place < bounds[:, 1:])
