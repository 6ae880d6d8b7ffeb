"""What a family of models cannot do, or not with these settings, told before the first step instead of in it."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from ptk.errors import RecipeError
from ptk.models import own_settings

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer

Head = Literal["two_segments", "pretraining", "masked_lm", "causal_lm", "seq2seq_lm"]
ONLY_FP32 = ("deberta",)  # masks with a number that is beyond what bf16 holds; deberta-v2 does not
SECOND_LABELS = {"next_sentence_label", "sentence_order_label"}  # of a forward whose model has such a head


def check_kind(head: Head, made: Any) -> None:
    """Raises RecipeError for a family that has no model of this kind."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    if made.is_encoder_decoder and head == "causal_lm":
        raise RecipeError(f"model.type: {made.model_type} has an encoder; this objective wants a decoder, as gpt2 is")
    if not made.is_encoder_decoder and head == "seq2seq_lm":
        raise RecipeError(f"model.type: {made.model_type} is no encoder-decoder; this objective wants one, as t5 is")
    if head == "masked_lm" and (made.is_encoder_decoder or type(made) not in MODEL_FOR_MASKED_LM_MAPPING):
        raise RecipeError(f"model.type: {made.model_type} is no encoder that fills masks; name one, such as bert")
    if head == "two_segments":
        check_two_segments(made)


def check_two_segments(made: Any) -> None:
    """Raises RecipeError for a family without a head for the second segment, or without a type of token for it."""
    from transformers import MODEL_FOR_PRETRAINING_MAPPING

    family: Any = MODEL_FOR_PRETRAINING_MAPPING.get(type(made), None)  # ModernBERT has none
    if family is None or not SECOND_LABELS & inspect.signature(family.forward).parameters.keys():
        raise RecipeError(
            f"model.type: {made.model_type} has no head for a second segment; "
            "set objective.second_segment=none, or name bert or albert"
        )
    if made.type_vocab_size < 2:
        raise RecipeError(
            f"model.type_vocab_size: {made.type_vocab_size} is too few for two segments; give 2, "
            "or set objective.second_segment=none"
        )


def check_heads(made: Any) -> None:
    """Raises RecipeError for heads that do not divide the width: ALBERT and ELECTRA leave it to the first matrix."""
    if made.model_type in ("albert", "electra") and made.hidden_size % made.num_attention_heads:
        divisors = [n for n in range(1, made.hidden_size + 1) if made.hidden_size % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - made.num_attention_heads))
        raise RecipeError(
            f"model.num_attention_heads: {made.num_attention_heads} do not divide model.hidden_size "
            f"{made.hidden_size}; use {nearest}"
        )


def check_length(model: nn.Module, length: int, init: str | None) -> None:
    """Raises RecipeError when rows of ``length`` do not fit the model's positions."""
    most, first = getattr(model.config, "max_position_embeddings", None), first_position(model)
    if most is None or most < 0 or first + length <= most:  # XLNet's -1 is no limit
        return
    if init:
        raise RecipeError(
            f"train.length: {length} tokens do not fit the {most - first} positions of {init}; give fewer"
        )
    family: Any = model.config.model_type  # type: ignore[union-attr]
    spared = f", the first {first} of which {family} leaves to padding" if first else ""
    raise RecipeError(
        f"train.length: {length} tokens do not fit model.max_position_embeddings {most}{spared}; "
        f"set model.max_position_embeddings={first + length}"
    )


def positions_of(model: nn.Module) -> int | None:
    """Tokens that a row may have; None where the family knows no limit."""
    positions = getattr(model.config, "max_position_embeddings", None)
    return None if positions is None or positions < 0 else positions - first_position(model)


def first_position(model: nn.Module) -> int:
    """The position of a row's first token: in RoBERTa and its like the one after the padding's."""
    tables = (part for name, part in model.named_modules() if name.endswith("position_embeddings"))
    padding = [table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None]
    return 1 + max(padding, default=-1)  # type: ignore[operator,type-var]


def check_padding(model: nn.Module, tokenizer: "Tokenizer") -> None:
    """Raises RecipeError when the family takes an entry for padding that rows have: MPNet's is 1 whatever it is told.

    It would see no such token, and count no position for it. Rows of one segment have no end of text.
    """
    taken = getattr(model.get_input_embeddings(), "padding_idx", None)  # type: ignore[operator]
    unused = {tokenizer.pad_id, tokenizer.eos_id} - {tokenizer.sep_id}
    if taken is not None and taken not in unused:
        raise RecipeError(
            f"model.type: {model.config.model_type} takes entry {taken} for padding, "  # type: ignore[union-attr]
            f"which is {tokenizer.tokens([taken])[0]} of this tokenizer; use tokenizer.kind=unigram, or its own"
        )


def check_own_settings(settings: Mapping[str, Any], model: nn.Module) -> None:
    """Raises RecipeError when weights to start from are otherwise than the recipe's ``positions`` or ``sharing``."""
    for name, has in own_settings.differing(settings, model.config).items():
        raise RecipeError(
            f"model.{name}: {settings[name]}, but {settings['init']} has {has or 'no such setting'}, and keeps it; "
            f"leave model.{name} out"
        )


def check_precision(model: nn.Module, precision: str) -> None:
    """Raises RecipeError for a family of which transformers' code does not run under autocast."""
    family: Any = model.config.model_type  # type: ignore[union-attr]
    if precision != "fp32" and family in ONLY_FP32:
        raise RecipeError(f"train.precision: {family} runs in fp32 alone, not in {precision}; set train.precision=fp32")


def checkpoint_activations(model: nn.Module, settings: Mapping[str, Any]) -> None:
    """Have the backward pass compute activations again instead of keeping them; ``settings`` are those of torch's
    ``checkpoint``. Raises RecipeError for a model that cannot."""
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise RecipeError(f"train.gradient_checkpointing: {type(model).__name__} has none; leave it false")
    # transformers 5.17 has the second name alone, 5.23 warns of it.
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
    next(getattr(model, name) for name in names if hasattr(model, name))(dict(settings))
