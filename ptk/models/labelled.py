"""Run a transformers model's head only where there is a label.

Every family computes its vocabulary logits from ``last_hidden_state`` [B, T, D] of its backbone, whatever the head
is called. A hook replaces that by the K labelled positions of each row, [B, K, D], before the head sees it: exact,
for any family, and at V 30522 2.5 times less work than a small BERT's full logits.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ptk.errors import RecipeError


def forward_at(model: nn.Module, positions: Tensor, **inputs: Tensor) -> Any:
    """``model(**inputs)`` with logits [B, K, V] at ``positions`` [B, K] instead of [B, T, V] everywhere.

    Raises RecipeError for a family whose logits do not come of each position's hidden state (Perceiver), or that says
    that it lacks a setting (X-MOD's default_language).
    """

    def gather(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = output.last_hidden_state
        if hidden.shape[:2] == inputs["input_ids"].shape:
            rows = torch.arange(len(positions), device=positions.device)[:, None]
            output.last_hidden_state = hidden[rows, positions]
        return output

    family: Any = model.config.model_type  # type: ignore[union-attr]
    hook = model.base_model.register_forward_hook(gather)  # type: ignore[union-attr,operator]
    try:
        found = model(**inputs, return_dict=True)
    except ValueError as error:
        reason = (str(error).strip() or "no reason").splitlines()[0]
        raise RecipeError(f"model: {family} does not run with these settings: {reason}") from error
    finally:
        hook.remove()
    logits = found.prediction_logits if "prediction_logits" in found else found.logits
    if logits.shape[:2] != positions.shape:
        raise RecipeError(f"model.type: {family} computes its logits of other things than positions; name another")
    return found
