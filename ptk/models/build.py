"""A recipe's ``model:`` section and a tokenizer to a fresh transformers model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ptk.errors import RecipeError
from ptk.models import checks, extension, load, positions, sharing
from ptk.models.checks import Head

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer

MULTIPLE = 64  # vocabularies are rounded up: aligned matrices (ENG-5)


def config(settings: Mapping[str, Any], tokenizer: "Tokenizer") -> Any:
    """The configuration of the family, its vocabulary and special ids those of the tokenizer."""
    from transformers import AutoConfig

    values = {name: value for name, value in settings.items() if name not in ("type", "init")}
    known = special_ids(settings["type"], tokenizer)
    size = rounded(tokenizer.vocab_size)
    made = AutoConfig.for_model(settings["type"], **{**known, **values, "vocab_size": size})
    sharing.set_groups(made)
    return made


def rounded(entries: int) -> int:
    return -(-entries // MULTIPLE) * MULTIPLE


def special_ids(model_type: str, tokenizer: "Tokenizer") -> dict[str, int]:
    """The tokenizer's special ids by the configuration's names: a family's own would be those of other tokens.

    A decoder starts with what it starts with in its family: T5's with the padding (T5-5), BART's with end-of-text.
    Raises RecipeError for an encoder-decoder without padding.
    """
    from transformers import AutoConfig

    ids: dict[str, Any] = {f"{name}_token_id": getattr(tokenizer, f"{name}_id") for name in ("pad", "bos", "eos")}
    more = {f"{name}_token_id": getattr(tokenizer, f"{name}_id") for name in ("cls", "sep")}
    ids |= {name: id_ for name, id_ in more.items() if id_ is not None}
    usual = AutoConfig.for_model(model_type)
    if usual.is_encoder_decoder:
        if tokenizer.pad_id is None:
            raise RecipeError(
                f"model.type: {model_type} starts its decoder with a padding token (T5-5), and the tokenizer has none; "
                "use one that has, such as tokenizer.kind=unigram"
            )
        start = getattr(usual, "decoder_start_token_id", None)
        role = "eos" if start is not None and start == usual.eos_token_id else "pad"
        ids["decoder_start_token_id"] = ids[f"{role}_token_id"]
        if getattr(usual, "forced_eos_token_id", None) is not None:
            ids["forced_eos_token_id"] = ids["eos_token_id"]
    if ids["eos_token_id"] is None and tokenizer.end is not None:  # what rows have between documents ends a text
        ids["eos_token_id"] = tokenizer.end[1]
    return ids


def model(
    head: Head, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int, truncated_init: bool = False
) -> nn.Module:
    """A model of transformers' class for this head.

    Its weights are drawn from torch's global generator, or those of ``settings["init"]``: a run, a model folder or a
    hub id. Raises RecipeError when those have fewer entries than the tokenizer, when rows of ``length`` do not fit its
    positions, or when the family has no such head.
    """
    import transformers

    auto = {
        "two_segments": transformers.AutoModelForPreTraining,
        "pretraining": transformers.AutoModelForPreTraining,
        "masked_lm": transformers.AutoModelForMaskedLM,
        "causal_lm": transformers.AutoModelForCausalLM,
        "seq2seq_lm": transformers.AutoModelForSeq2SeqLM,
    }[head]
    if settings.get("init"):
        model = started(auto, head, settings["init"], tokenizer)
        checks.check_own_settings(settings, model)
        sharing.check_copies(model, settings["init"])
    else:
        made = config(settings, tokenizer)
        checks.check_kind(head, made)
        model = fresh(auto, made)
        if settings.get("tie_word_embeddings") is False:
            untie(model)
        if truncated_init:
            truncate_init(model)
    checks.check_length(model, length, settings.get("init"))
    if head == "masked_lm":
        checks.check_padding(model, tokenizer)
    sharing.share(model)
    positions.write(model)
    generates_only(model, tokenizer)
    return model


def fresh(auto: Any, made: Any) -> nn.Module:
    """A model of a configuration. Raises RecipeError with what transformers says of one that cannot be."""
    checks.check_heads(made)
    try:
        return auto.from_config(made)
    except (ValueError, AssertionError, ZeroDivisionError, RuntimeError) as error:  # each family has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise RecipeError(
            f"model: {auto.__name__} cannot make a {made.model_type} of these settings: {reason}"
        ) from error


def untie(model: Any) -> None:
    """A matrix of its own for the output, as T5 1.1 has (T5-6).

    The T5 family of transformers 5 ties them whatever its configuration is told, but saves and loads two that differ.
    Drawn so that logits begin at the size of the hidden states, sqrt(1 / D) as for any other matrix.
    """
    output, shared = model.get_output_embeddings(), model.get_input_embeddings().weight
    if output.weight is shared:
        output.weight = nn.Parameter(torch.empty_like(shared).normal_(std=shared.shape[1] ** -0.5))


def generates_only(model: nn.Module, tokenizer: "Tokenizer") -> None:
    """Tell ``generate`` of the entries that only round the vocabulary up: they are never written (ENG-5)."""
    settings: Any = getattr(model, "generation_config", None)
    size: Any = model.config.vocab_size  # type: ignore[union-attr]
    if settings is not None:
        settings.suppress_tokens = list(range(tokenizer.vocab_size, size)) or None


def started(auto: Any, head: Head, init: str, tokenizer: "Tokenizer") -> nn.Module:
    """A model whose weights go on from another one; a head that it lacks is drawn afresh."""
    checks.check_kind(head, load.config(init))
    with load.readable(init):
        # Whatever they were saved in: weights to train are fp32, and autocast makes of them what a step wants.
        made = auto.from_pretrained(load.folder_of(init), dtype=torch.float32)
    entries = min(tokenizer.grown, default=tokenizer.vocab_size)  # of the tokenizer as it was before tokenizer.extend
    if made.config.vocab_size < entries:
        raise RecipeError(
            f"init: {init} has {made.config.vocab_size:,} entries, the tokenizer {entries:,}; "
            f"take its own tokenizer: tokenizer.path={load.folder_of(init)}"
        )
    if tokenizer.grown and not extension.is_extended(load.folder_of(init), tokenizer):
        extension.extend_embeddings(made, tokenizer, rounded(tokenizer.vocab_size))
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
