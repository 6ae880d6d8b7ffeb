"""Cross entropy over a vocabulary, from the hidden states before its last matrix: logits of ROWS rows at a time.

Their pieces of COLUMNS stay in the processor's cache, and the gradients are made where the logits are.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

ROWS, COLUMNS = 1024, 1024
TILE = 16  # rows that a processor's matrix unit takes at once
LOWEST = torch.finfo(torch.float32).min


def scores(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, writes_gradient: bool = False
) -> Tensor:
    """hidden [N, D], weight [V, D], bias [V], labels [N] -> fp32 [N, 2]: the cross entropy, and 1 where the label is
    the most probable entry, of equal ones the first. Products are of the autocast type, sums fp32.

    ``writes_gradient``: backward adds to ``weight.grad`` itself. Torch would wait until an embedding with the same
    weight has made a gradient of its own, and then add the two. Hooks of the weight and ``torch.autograd.grad`` do
    not see it then.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(weight):
        raise IndexError(f"labels from {int(labels.min())} to {int(labels.max())}, of {len(weight)} entries")
    learning = torch.is_grad_enabled()
    writes_gradient = writes_gradient and type(weight) is torch.nn.Parameter
    return Scores.apply(hidden, weight, bias, labels, learning, writes_gradient)  # type: ignore[no-any-return]


class Scores(torch.autograd.Function):
    """The gradients are made with the loss, for a weight of 1 of each label; sums weigh all of them the same."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        learning: bool,
        writes_gradient: bool,
    ) -> Tensor:
        ctx.weight, ctx.writes_gradient = weight, writes_gradient  # itself, which saved tensors need not be
        ctx.dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
        needed = tuple(learning and each for each in ctx.needs_input_grad[:3])  # torch asks for them without too
        found, *ctx.gradients = computed(hidden, weight, bias, labels, None, ctx.dtype, needed)
        ctx.save_for_backward(hidden, weight, bias, labels)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        hidden, weight, bias, labels = ctx.saved_tensors
        of_loss = gradients[0][:, 0]
        if ctx.gradients and len(labels) and bool((of_loss == of_loss[0]).all()):
            made, ctx.gradients = [each if each is None else each.mul_(of_loss[0]) for each in ctx.gradients], ()
        else:
            _, *made = computed(hidden, weight, bias, labels, of_loss, ctx.dtype, ctx.needs_input_grad)
        like = (hidden, weight, bias)
        of_each = [each if each is None else each.to(one.dtype) for each, one in zip(made, like, strict=True)]
        if ctx.writes_gradient and of_each[1] is not None:
            more, of_each[1] = of_each[1], None
            ctx.weight.grad = more if ctx.weight.grad is None else ctx.weight.grad.add_(more)
        return *of_each, None, None, None


def computed(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor | None,
    dtype: torch.dtype,
    needed: tuple[bool, ...],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """The scores, and the gradients of hidden, weight and bias where they are ``needed``, else None, of the sum of the
    losses times ``weights`` [N].

    Rows are filled up with some that weigh nothing: each step has another number of labels, for each new number torch
    makes its products' kernels anew, and the memory that the last one has left does not fit.
    """
    with torch.autocast("cpu", enabled=False):
        count, more = len(labels), filled(len(labels)) - len(labels)
        matrix, rows = weight.detach().to(dtype), F.pad(hidden.detach().to(dtype), (0, 0, 0, more))
        labels = F.pad(labels, (0, more))
        weights = F.pad(torch.ones(count) if weights is None else weights, (0, more))
        offset = None if bias is None else bias.detach().to(dtype)
        found = torch.zeros(len(rows), 2)
        of_hidden = torch.zeros(rows.shape) if any(needed) else None
        of_weight = torch.empty(matrix.shape) if needed[1] else None  # the first block fills it
        of_bias = torch.zeros(len(matrix)) if bias is not None and needed[2] else None
        if of_weight is not None and not len(rows):
            of_weight.zero_()
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            block = Block(rows[part], matrix, offset, labels[part])
            found[part] = block.scores()
            if of_hidden is not None:
                block.add_gradients(of_hidden[part], of_weight, of_bias, weights[part], first=not start)
    return found[:count], None if of_hidden is None else of_hidden[:count], of_weight, of_bias


def filled(number: int) -> int:
    """The next of a few numbers of rows, at most a sixteenth larger where there are many."""
    step = max(TILE, 1 << max(0, number.bit_length() - 5))
    return -(-number // step) * step


class Block:
    """Some rows, and the exponentials of their logits in pieces of COLUMNS, each less the largest of its row there."""

    def __init__(self, rows: Tensor, matrix: Tensor, bias: Tensor | None, labels: Tensor) -> None:
        self.rows, self.matrix, self.labels = rows, matrix, labels
        self.pieces = [slice(start, start + COLUMNS) for start in range(0, len(matrix), COLUMNS)]
        self.own = torch.empty(len(rows))  # the logit of the label
        self.leads = torch.zeros(len(rows), dtype=torch.bool)  # is it the largest of its piece?
        self.powers: list[Tensor] = []
        tops, sums = [], []
        for piece in self.pieces:
            part = matrix[piece].t()
            logits = rows @ part if bias is None else torch.addmm(bias[piece], rows, part)
            inside, label = self.labels_in(piece)
            exact = logits.float()
            own, top = exact[inside, label], exact.amax(1)
            self.own[inside] = own
            largest = own == top[inside]
            inside, label = inside[largest], label[largest]  # argmax takes long, and tells which of equal ones is first
            self.leads[inside] = exact[inside].argmax(1) == label
            tops.append(top.clamp_(min=LOWEST))  # of a piece that nobody can choose too
            powers = exact.sub_(tops[-1][:, None]).exp_()
            sums.append(powers.sum(1))
            self.powers.append(logits.copy_(powers))
        self.tops = torch.stack(tops)
        self.total = (torch.stack(sums).log() + self.tops).logsumexp(0)

    def labels_in(self, piece: slice) -> tuple[Tensor, Tensor]:
        """Which rows have their label in a piece, and where in it."""
        inside = ((self.labels >= piece.start) & (self.labels < piece.stop)).nonzero()[:, 0]
        return inside, self.labels[inside] - piece.start

    def scores(self) -> Tensor:
        right = self.leads & (self.tops.argmax(0) == self.labels // COLUMNS)
        return torch.stack([self.total - self.own, right.float()], 1)

    def add_gradients(
        self,
        of_rows: Tensor,
        of_matrix: Tensor | None,
        of_bias: Tensor | None,
        weight: Tensor,
        first: bool,
    ) -> None:
        """Softmax less one at the label, times the row's weight, goes back to the rows and to the matrix.

        Powers are products' factors as they are: what makes a softmax of them is a factor of each row. The label's own
        part goes apart, since of what is almost certain softmax less one is all that counts. What the ``first`` block
        adds to ``of_matrix`` takes the place of what was there.
        """
        for piece, powers, top in zip(self.pieces, self.powers, self.tops, strict=True):
            inside, label = self.labels_in(piece)
            powers[inside, label] = 0
            factor = (top - self.total).exp_().mul_(weight)
            of_rows += (powers @ self.matrix[piece]) * factor[:, None]
            if of_matrix is not None:
                product = powers.t() @ (self.rows * factor[:, None]).to(powers.dtype)
                of_matrix[piece].copy_(product) if first else of_matrix[piece].add_(product)
            if of_bias is not None:
                of_bias[piece] += (factor[None].to(powers.dtype) @ powers)[0]
        at_label = ((self.own - self.total).exp_() - 1) * weight
        of_rows += self.matrix[self.labels] * at_label[:, None]
        if of_matrix is not None:
            of_matrix.index_add_(0, self.labels, self.rows * at_label[:, None])
        if of_bias is not None:
            of_bias.index_add_(0, self.labels, at_label)
