"""The loss over a vocabulary, without its logits where they need not be.

On a CPU the last matrix of a family answers with the scores of each label in place of logits: the model goes its way
with [.., 2] instead of [.., V]. Whether nothing else is done to logits behind that matrix is tried once a model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ptk import quick
from ptk.objectives.losses import of_logits
from ptk.objectives.objective import IGNORE
from ptk.quick import cross_entropy

LEAST = 4096  # entries, from which it takes less time
DRAWN = 64  # rows whose logits are drawn from at a time: they stay in the processor's cache
Run = Callable[[], Any]
Draw = Callable[[Tensor, slice], Tensor]  # logits [n, V] of the rows ``slice`` of all -> ids [n]
_plain: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def scored(model: nn.Module, labels: Tensor, run: Run) -> tuple[Tensor, Any]:
    """Scores fp32 [B, K, 2] of labels [B, K], as ``losses.of_logits`` has them, and what ``run`` returns.

    ``run`` is a forward pass whose logits [B, K, V] are those of the labels; they are not to be read afterwards.
    """
    head: Any = model.get_output_embeddings()  # type: ignore[union-attr,operator]
    if not can_be(head, labels) or not is_plain(model, head, labels, run):
        output = run()
        return of_logits(logits_of(output), labels), output
    with replaced(head, lambda hidden: scores(head, hidden, labels)):
        output = run()
    return logits_of(output), output


def scored_and_drawn(model: nn.Module, labels: Tensor, run: Run, draw: Draw) -> tuple[Tensor, Tensor]:
    """The scores, and the ids [B, K] that ``draw`` makes of the logits, through which nothing flows back."""
    head: Any = model.get_output_embeddings()  # type: ignore[union-attr,operator]
    drawn: list[Tensor] = []

    def forward(hidden: Tensor) -> Tensor:
        drawn[:] = drawn_in_pieces(head, hidden.detach().flatten(0, -2), draw)
        return scores(head, hidden, labels)

    if can_be(head, labels) and is_plain(model, head, labels, run):
        with replaced(head, forward):
            found = logits_of(run())
    else:
        logits = logits_of(run())
        found, drawn = of_logits(logits, labels), [draw(logits.detach().flatten(0, -2), slice(None))]
    return found, torch.cat(drawn).view_as(labels)


@torch.no_grad()
def drawn_in_pieces(head: nn.Linear, hidden: Tensor, draw: Draw) -> Iterator[Tensor]:
    """What ``draw`` makes of the logits of hidden [N, D], DRAWN rows at a time."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
    weight = head.weight.detach().to(dtype)
    bias = None if head.bias is None else head.bias.to(dtype)
    for start in range(0, max(1, len(hidden)), DRAWN):  # of no rows one empty piece
        rows = slice(start, start + DRAWN)
        yield draw(nn.functional.linear(hidden[rows].to(dtype), weight, bias), rows)


def logits_of(output: Any) -> Tensor:
    return output.prediction_logits if "prediction_logits" in output else output.logits  # type: ignore[no-any-return]


def can_be(head: Any, labels: Tensor) -> bool:
    """Is this a last matrix for which scores are quicker?"""
    linear = isinstance(head, nn.Linear) and type(head).forward is nn.Linear.forward and "forward" not in vars(head)
    if not linear or not quick.inside() or labels.device.type != "cpu" or head.out_features < LEAST:
        return False
    return head.weight.dtype in (torch.float32, torch.bfloat16)


def is_plain(model: nn.Module, head: nn.Linear, labels: Tensor, run: Run) -> bool:
    """Is what the last matrix gives what the model gives? Tried once a model, with large numbers in place of scores,
    which a bound, a scale or a bias of the logits would change or refuse."""
    if model not in _plain:
        told = 100 * torch.rand(*labels.shape, 2, generator=torch.Generator().manual_seed(0))
        seen: list[torch.Size] = []

        def tell(hidden: Tensor) -> Tensor:
            seen.append(hidden.shape[:-1])
            return told

        try:
            with torch.no_grad(), torch.random.fork_rng(devices=()), replaced(head, tell):
                _plain[model] = torch.equal(logits_of(run()), told) and seen == [labels.shape]
        except (RuntimeError, ValueError):  # of a size that does not fit
            _plain[model] = False
    return _plain[model]


def scores(head: nn.Linear, hidden: Tensor, labels: Tensor) -> Tensor:
    """Scores [B, K, 2] of labels [B, K], from hidden [B, K, D]."""
    known = (labels != IGNORE).flatten().nonzero()[:, 0]
    writes, rows = quick.writes_gradients(), hidden.flatten(0, -2)[known]
    found = cross_entropy.scores(rows, head.weight, head.bias, labels.flatten()[known], writes)
    return found.new_zeros(labels.numel(), 2).index_copy(0, known, found).view(*labels.shape, 2)


@contextmanager
def replaced(head: Any, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, calling ``head`` calls ``forward``."""
    head.forward = forward
    try:
        yield
    finally:
        del head.forward
