"""Attention as plain products: at the lengths of a CPU torch's own is slower in bf16, and with dropout in both.

In bf16 scores are rounded before the softmax, as in the eager attention of transformers; torch's own keeps them fp32.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ptk.quick import unpadded
from ptk.quick.dropout import dropout

MOST = 512 * 512  # scores of a head that are kept; of longer rows they would take the memory


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As ``torch.nn.functional.scaled_dot_product_attention``: query [B, H, T, D], key and value [B, H, S, D]."""
    if attn_mask is not None and (rows := unpadded.joined_in(query.transpose(1, 2), attn_mask)):
        query, key, value = (rows.padded(each.transpose(1, 2)).transpose(1, 2) for each in (query, key, value))
        found = attention(query, key, value, attn_mask, dropout_p, scale=scale, enable_gqa=enable_gqa)
        return rows.joined(found.transpose(1, 2)).transpose(1, 2)
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
    quicker = dtype == torch.bfloat16 or dropout_p > 0
    if not quicker or enable_gqa or query.device.type != "cpu" or query.shape[-2] * key.shape[-2] > MOST:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scale is None else scale), key.transpose(-2, -1))
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is None:
        return torch.matmul(dropout(F.softmax(scores, dim=-1), dropout_p), value)
    attn_mask, blind = opened(attn_mask, scores.dtype)
    # Added, not filled in, it costs nothing on the way back: what is not seen has no weight, so no gradient.
    found = torch.matmul(dropout(F.softmax(scores.add_(attn_mask), dim=-1), dropout_p), value)
    return found if blind is None else found.masked_fill(blind, 0)


def opened(mask: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """What is added to the scores, so that every row sees something, and which rows [..., T, 1] see nothing, whose
    answer torch has as 0; None where there are none."""
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -math.inf)
    mask = mask.to(dtype)
    blind = mask.detach().amax(-1, keepdim=True) == -math.inf
    return (mask.masked_fill(blind, 0), blind) if blind.any() else (mask, None)
