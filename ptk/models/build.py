"""A recipe's ``model:`` section and a tokenizer to a fresh transformers model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from ptk.errors import RecipeError
from ptk.models import load

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer

Head = Literal["pretraining", "masked_lm", "causal_lm", "seq2seq_lm"]
MULTIPLE = 64  # vocabularies are rounded up: aligned matrices (ENG-5)


def config(settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> Any:
    """The configuration of the family, its vocabulary and special ids those of the tokenizer.

    Raises RecipeError when rows of ``length`` do not fit the model's positions.
    """
    from transformers import AutoConfig

    values = {name: value for name, value in settings.items() if name not in ("type", "init")}
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
    """A model of transformers' class for this head.

    Its weights are drawn from torch's global generator, or those of ``settings["init"]``: a run, a model folder or a
    hub id. Raises RecipeError when those have fewer entries than the tokenizer.
    """
    import transformers

    auto = {
        "pretraining": transformers.AutoModelForPreTraining,
        "masked_lm": transformers.AutoModelForMaskedLM,
        "causal_lm": transformers.AutoModelForCausalLM,
        "seq2seq_lm": transformers.AutoModelForSeq2SeqLM,
    }[head]
    if settings.get("init"):
        return started(auto, settings["init"], tokenizer)
    made = auto.from_config(config(settings, tokenizer, length))
    if truncated_init:
        truncate_init(made)
    return made


def started(auto: Any, init: str, tokenizer: "Tokenizer") -> nn.Module:
    """A model whose weights go on from another one; a head that it lacks is drawn afresh."""
    load.config(init)
    with load.readable(init):
        made = auto.from_pretrained(load.folder_of(init))
    if made.config.vocab_size < tokenizer.vocab_size:
        raise RecipeError(
            f"init: {init} has {made.config.vocab_size:,} entries, the tokenizer {tokenizer.vocab_size:,}; "
            f"take its own tokenizer: tokenizer.path={load.folder_of(init)}"
        )
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
