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
NEAR = 1e-2  # nats: more is no rounding, but something that a family does to its logits
Run = Callable[[], Any]
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


def logits_of(output: Any) -> Tensor:
    return output.prediction_logits if "prediction_logits" in output else output.logits  # type: ignore[no-any-return]


def can_be(head: Any, labels: Tensor) -> bool:
    """Is this a last matrix for which scores are quicker?"""
    return quick.inside() and isinstance(head, nn.Linear) and labels.device.type == "cpu" and head.out_features >= LEAST


def is_plain(model: nn.Module, head: nn.Linear, labels: Tensor, run: Run) -> bool:
    """Are the logits just what the last matrix gives? Compared once a model, without a gradient."""
    if model not in _plain:
        seen: list[Tensor] = []

        def both(hidden: Tensor) -> Tensor:
            seen.append(scores(head, hidden, labels) if hidden.shape[:-1] == labels.shape else hidden)
            return nn.Linear.forward(head, hidden)

        with torch.no_grad(), torch.random.fork_rng(devices=()), replaced(head, both):
            logits = logits_of(run())
        exact = of_logits(logits, labels) if logits.shape[:-1] == labels.shape else None
        same = exact is not None and len(seen) == 1 and seen[0].shape == exact.shape
        _plain[model] = same and bool(torch.allclose(seen[0][..., 0], exact[..., 0], NEAR, NEAR))  # type: ignore[index]
    return _plain[model]


def scores(head: nn.Linear, hidden: Tensor, labels: Tensor) -> Tensor:
    """Scores [B, K, 2] of labels [B, K], from hidden [B, K, D]."""
    known = (labels != IGNORE).flatten().nonzero()[:, 0]
    found = cross_entropy.scores(hidden.flatten(0, -2)[known], head.weight, head.bias, labels.flatten()[known])
    return found.new_zeros(labels.numel(), 2).index_copy(0, known, found).view(*labels.shape, 2)


@contextmanager
def replaced(head: Any, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, calling ``head`` calls ``forward``."""
    head.forward = forward
    try:
        yield
    finally:
        del head.forward
