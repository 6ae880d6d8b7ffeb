"""A recipe's ``model:`` section and a tokenizer to a fresh transformers model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ptk.errors import RecipeError

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer

Head = Literal["pretraining", "masked_lm", "causal_lm", "seq2seq_lm"]
MULTIPLE = 64  # vocabularies are rounded up: aligned matrices (ENG-5)


def config(settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> Any:
    """The configuration of the family, its vocabulary and special ids those of the tokenizer.

    Raises RecipeError when rows of ``length`` do not fit the model's positions.
    """
    from transformers import AutoConfig

    values = {name: value for name, value in settings.items() if name != "type"}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_id") for name in ("pad", "bos", "eos", "cls", "sep")}
    known = {name: number for name, number in ids.items() if number is not None}
    size = -(-tokenizer.vocab_size // MULTIPLE) * MULTIPLE
    made = AutoConfig.for_model(settings["type"], **{**known, **values, "vocab_size": size})
    positions = getattr(made, "max_position_embeddings", None)
    if positions is not None and length > positions:
        raise RecipeError(
            f"train.length: {length} tokens do not fit model.max_position_embeddings {positions}; "
            f"set model.max_position_embeddings={length}"
        )
    return made


def model(
    head: Head, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int, truncated_init: bool = False
) -> nn.Module:
    """A model with fresh weights, of transformers' class for this head; drawn from torch's global generator."""
    import transformers

    auto = {
        "pretraining": transformers.AutoModelForPreTraining,
        "masked_lm": transformers.AutoModelForMaskedLM,
        "causal_lm": transformers.AutoModelForCausalLM,
        "seq2seq_lm": transformers.AutoModelForSeq2SeqLM,
    }[head]
    made = auto.from_config(config(settings, tokenizer, length))
    if truncated_init:
        truncate_init(made)
    return made


def truncate_init(module: nn.Module) -> None:
    """Draw every matrix again from a normal distribution cut at two standard deviations (MLM-7)."""
    std = module.config.initializer_range  # type: ignore[union-attr]
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)  # type: ignore[arg-type]
            if isinstance(part, nn.Embedding) and part.padding_idx is not None:
                part.weight[part.padding_idx].zero_()
