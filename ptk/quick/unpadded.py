"""Layers without padding: between an encoder's embeddings and its head the rows of a batch lie end to end, as one.

What a layer does with a position depends on no other but in attention, for which the rows are apart again, padded. So
every number that counts is the same; padding is 0 behind the encoder. Only for encoders in which positions are no
matter of the layers (they are added to the embeddings), and whose attention is torch's function.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LAYERS = {  # model type -> the module that is all its layers
    "albert": "AlbertTransformer",
    "bert": "BertEncoder",
    "camembert": "CamembertEncoder",
    "electra": "ElectraEncoder",
    "roberta": "RobertaEncoder",
    "xlm-roberta": "XLMRobertaEncoder",
}
WORTH = 0.95  # share of a batch that may be tokens: with less padding than this it stays


def can(config: Any) -> bool:
    """Whether models of this configuration go without padding."""
    kept = getattr(config, "output_hidden_states", False) or getattr(config, "output_attentions", False)
    decodes = getattr(config, "is_decoder", False)
    return getattr(config, "model_type", None) in LAYERS and not kept and not decodes


def hook(model: nn.Module) -> None:
    """Every such module of ``model`` goes without padding where quicker pieces are wanted; it is saved as it was."""
    for module in model.modules():
        config = getattr(module, "config", None)
        known = can(config) and type(module).__name__ == LAYERS[config.model_type]  # type: ignore[union-attr]
        if known and before not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(before, with_kwargs=True)
            module.register_forward_hook(after, with_kwargs=True)


class Rows:
    """Where the tokens of a padded batch [B, T] are."""

    def __init__(self, seen: Tensor) -> None:
        """``seen``: bool [B, T]."""
        self.shape = seen.shape
        self.where = seen.flatten().nonzero().squeeze(1)

    def joined(self, x: Tensor) -> Tensor:
        """[B, T, ...] -> [1, N, ...]."""
        return Joined.apply(x.flatten(0, 1), self.where)[None]  # type: ignore[index]

    def padded(self, x: Tensor) -> Tensor:
        """[1, N, ...] -> [B, T, ...], 0 where there is no token."""
        return Padded.apply(x[0], self.where, self.shape.numel()).unflatten(0, self.shape)  # type: ignore[union-attr]


class Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, where: Tensor) -> Tensor:
        ctx.where, ctx.size = where, len(x)
        return x[where]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return spread(gradients[0], ctx.where, ctx.size), None


class Padded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, where: Tensor, size: int) -> Tensor:
        ctx.where = where
        return spread(x, where, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0][ctx.where], None, None


def spread(x: Tensor, where: Tensor, size: int) -> Tensor:
    """Rows of ``x`` at ``where`` of ``size``, 0 elsewhere."""
    return x.new_zeros(size, *x.shape[1:]).index_copy_(0, where, x)


def before(layers: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Join what goes into the layers. Nothing where that is not known to be the same, or there is little padding."""
    from ptk.quick import inside  # here: it imports attention, and that imports this

    if torch.compiler.is_compiling() or not inside() or layers.config._attn_implementation != "sdpa":
        return None
    given = dict(zip(("hidden_states", "attention_mask"), args, strict=False)) | kwargs
    hidden, mask = given["hidden_states"], given.get("attention_mask")
    if len(args) > 2 or mask is None or mask.dim() != 4 or len(mask) == 1:
        return None
    seen = seen_by(mask)
    if seen.sum() > WORTH * seen.numel() or not (mask == mask[:, :1, :1]).all():  # or each position sees its own
        return None
    return (), given | {"hidden_states": Rows(seen).joined(hidden)}


def after(_layers: nn.Module, _args: Any, kwargs: dict[str, Any], output: Any) -> Any:
    """Pad what comes out of the layers."""
    if rows := joined_in(output.last_hidden_state, kwargs.get("attention_mask")):
        output.last_hidden_state = rows.padded(output.last_hidden_state)
    return output


def seen_by(mask: Tensor) -> Tensor:
    """Which positions the first one sees, by a mask of attention [B, 1, T or 1, T]: bool [B, T]."""
    first = mask[:, 0, 0]
    return first if mask.dtype == torch.bool else first == 0


def joined_in(x: Tensor, mask: Tensor | None) -> Rows | None:
    """The rows that are joined in [1, N, ...], by the mask of them apart; None where ``x`` is not joined.

    The mask says it and nothing is remembered: with checkpointed activations a layer runs again on the way back.
    """
    if mask is None or mask.dim() != 4 or not len(x) == 1 < len(mask) or x.shape[1] == mask.shape[-1]:
        return None
    rows = Rows(seen_by(mask))
    return rows if len(rows.where) == x.shape[1] else None
