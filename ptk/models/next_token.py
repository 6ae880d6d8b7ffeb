"""Logits of the next token, for any decoder or encoder-decoder of transformers, and who may see whom.

A batch has ``input_ids`` [B, T] and ``labels`` [B, K]. For an encoder-decoder the labels are what the decoder writes;
for a decoder they stand for its K positions from ``prefix`` on (all where there is no prefix).
"""

from typing import Any

import torch
from torch import Tensor, nn

from ptk.errors import RecipeError
from ptk.models import vocabulary
from ptk.models.labelled import forward_at
from ptk.objectives.objective import IGNORE, Batch


def logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits [B, K, V] of each label."""
    return forward(model, batch).logits  # type: ignore[no-any-return]


def scores(model: nn.Module, batch: Batch) -> Tensor:
    """Scores [B, K, 2] of each label, as ``losses.of_logits`` has them, without logits where they need not be."""
    return vocabulary.scored(model, batch["labels"], lambda: forward(model, batch))[0]


def forward(model: nn.Module, batch: Batch) -> Any:
    """The model's output, with logits [B, K, V] of each label."""
    if model.config.is_encoder_decoder:  # type: ignore[union-attr]
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
        inputs["decoder_input_ids"] = decoder_inputs(model, batch["labels"])
        return model(**inputs, **without_cache(model))
    inputs = decoder_only_inputs(model, batch)
    if "prefix" not in batch:
        return model(**inputs)
    steps = torch.arange(batch["labels"].shape[1], device=batch["labels"].device)
    positions = (batch["prefix"][:, None] + steps).clamp(max=batch["input_ids"].shape[1] - 1)
    return forward_at(model, positions, **inputs)


def decoder_only_inputs(model: nn.Module, batch: Batch) -> dict[str, Any]:
    """The arguments of a decoder. Padding stands on the right, behind all that a token sees, and needs no mask."""
    inputs = {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}
    if "document" in batch or "prefix" in batch:
        kind, dtype = batch["input_ids"].device.type, next(model.parameters()).dtype
        # Cast once here, not in every layer, where each copy would be kept for the backward pass.
        used = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else dtype
        inputs["attention_mask"] = additive(visible(batch), used)
    return {**inputs, **without_cache(model)}


def without_cache(model: nn.Module) -> dict[str, bool]:
    return {"use_cache": False} if hasattr(model.config, "use_cache") else {}  # OpenAIGPT has none


def visible(batch: Batch) -> Tensor:
    """Which position (row) sees which (column), bool [B, T, T].

    What came before, within the same ``document`` [B, T] (LM-4), and everything up to ``prefix`` [B], from there both
    ways (LM-2).
    """
    rows, length = batch["input_ids"].shape
    place = torch.arange(length, device=batch["input_ids"].device)
    seen = (place <= place[:, None]).expand(rows, length, length)
    if "prefix" in batch:
        seen = seen | (place <= batch["prefix"][:, None])[:, None]
    if "document" in batch:
        seen = seen & (batch["document"][:, None] == batch["document"][:, :, None])
    return seen


def additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask that every attention of transformers takes, [B, 1, T, T]: 0 where it sees, else minus infinity."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, -torch.inf)[:, None]


def decoder_inputs(model: nn.Module, labels: Tensor) -> Tensor:
    """What the decoder reads: its start token, then each label but the last (T5-5), [B, K]."""
    config: Any = model.config
    start = torch.full_like(labels[:, :1], config.decoder_start_token_id)
    shifted = torch.cat([start, labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORE, config.pad_token_id)


def check_visibility(model: nn.Module, batch: Batch, remedy: str) -> None:
    """Ask a decoder who sees whom. Raises RecipeError if that is not what the batch of one row says.

    An encoder sees what follows; some families (OpenAIGPT, recurrent ones) cannot keep documents apart.
    """
    kind = model.config.model_type  # type: ignore[union-attr]
    message = f"model.type: tokens of {kind} do not see just what this objective lets them see"
    seen = seen_by(model, batch) if len(batch) == 1 else None  # without a mask whatever is raised is another fault
    try:
        seen = seen_by(model, batch) if seen is None else seen
    except Exception as error:  # whatever a family raises that has a mask of its own, as OpenAIGPT has
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise RecipeError(f"{message} ({reason}); {remedy}") from error
    if seen.ne(visible(batch)[0]).any():
        raise RecipeError(f"{message}; {remedy}")


@torch.no_grad()
def seen_by(model: nn.Module, batch: Batch) -> Tensor:
    """Which position's logits (row) move when which token (column) changes, bool [T, T], in a batch of one row."""
    length = batch["input_ids"].shape[1]
    rows = {name: tensor.repeat_interleave(length + 1, dim=0) for name, tensor in batch.items()}
    each = torch.arange(length, device=rows["input_ids"].device)
    rows["input_ids"][each, each] = (rows["input_ids"][each, each] + 1) % model.config.vocab_size  # type: ignore[union-attr]
    was_training = model.training
    model.eval()
    answers = model(**decoder_only_inputs(model, rows)).logits.float()
    model.train(was_training)
    moved = (answers[:-1] - answers[-1]).abs().amax(-1)  # [changed, position]
    return (moved > 1e-5 * answers.abs().max()).T
