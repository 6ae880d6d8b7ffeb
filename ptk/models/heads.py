"""A model with a head for labelled examples: transformers' class of the family where it has one, else ``Headed``.

``transfer.py`` has where its weights come from; what happened to those of a checkpoint is in ``told(model)``.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptk.errors import RecipeError
from ptk.models import build, checks, load, positions, sharing, transfer
from ptk.models.headed import encoder_class, reads_forward
from ptk.models.transfer import PROBLEMS, Kind, Problem

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer
    from ptk.objectives.objective import Batch


def model(
    kind: Kind,
    settings: Mapping[str, Any],
    tokenizer: "Tokenizer",
    length: int,
    names: Sequence[str] = (),
    problem: Problem = "single_label",
    paper: bool = False,
    own: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A model for rows of ``length`` tokens with a head for ``names``, the labels by id (none of regression).

    ``settings["init"]`` (a run, a model folder or a hub id) gives the weights, or with ``settings["from_scratch"]`` its
    configuration alone; without it the settings are those of a configuration. ``paper`` draws a head as BERT did
    (FT-1), and gives ELECTRA its own classifier (ELE-12). ``own`` are settings of a head that no family has, for its
    configuration (answering.py). Raises RecipeError for what does not go together, DataError for a checkpoint that
    lacks weights.
    """
    init = settings.get("init")
    made = configuration(kind, settings, tokenizer, names, problem)
    vars(made).update(own or {})
    electras = paper and made.model_type == "electra" and kind != "question_answering"
    family = None if own or electras else family_of(kind, made)
    if init and not settings.get("from_scratch"):
        model = transfer.started(kind, family, made, init)
        checks.check_own_settings(settings, model)
        sharing.check_copies(model, init)
    else:
        model = transfer.fresh(kind, family, made)
        if paper and hasattr(made, "initializer_range"):
            build.truncate_init(model)
    if paper and not vars(model).get("kept_head"):
        transfer.draw(model, truncated=True)
    check_entries(model, tokenizer, init)
    checks.check_length(model, length, init)
    sharing.share(model)
    positions.write(model)
    in_full_precision(model)
    # Not before: an embedding that is made for padding has no gradient, and this one may stand between texts.
    model.config.pad_token_id = padding_of(model.config, tokenizer)  # type: ignore[union-attr]
    return model


def told(model: nn.Module) -> list[str]:
    """What was done with the weights that a model was started from: its head, and what they lack."""
    return vars(model).get("told_of_init", [])


# The configuration -----------------------------------------------------------------------------------------


def configuration(
    kind: Kind, settings: Mapping[str, Any], tokenizer: "Tokenizer", names: Sequence[str], problem: Problem
) -> Any:
    made = load.config(settings["init"]) if settings.get("init") else build.config(settings, tokenizer)
    made.dtype = torch.float32  # whatever it was saved in: weights to train are fp32
    for name in [name for name in vars(made) if name.startswith("ptk_")]:  # of the task that ``init`` was tuned on
        delattr(made, name)
    if kind == "multiple_choice" or problem == "regression":
        made.num_labels = 1
    elif kind == "question_answering":
        made.num_labels = 2  # start and end
    else:
        made.id2label = dict(enumerate(names))
        made.label2id = {name: number for number, name in enumerate(names)}
    made.problem_type = PROBLEMS[problem] if kind == "sequence_classification" else None
    return made


def family_of(kind: Kind, made: Any) -> Any:
    """transformers' class for this head and family; None where it has none, and where its decoder would answer."""
    import transformers

    if kind == "question_answering" and encoder_class(made) is not None:
        return None
    mapping = {
        "sequence_classification": transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        "token_classification": transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
        "multiple_choice": transformers.MODEL_FOR_MULTIPLE_CHOICE_MAPPING,
        "question_answering": transformers.MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    }[kind]
    return mapping.get(type(made), None)


def padding_of(config: Any, tokenizer: "Tokenizer") -> int:
    """What stands for padding: the tokenizer's, else its end-of-text token, else an entry that only rounds up."""
    if tokenizer.filler is not None:
        return tokenizer.filler
    if config.vocab_size > tokenizer.vocab_size:
        return tokenizer.vocab_size
    raise RecipeError(
        f"init: neither padding nor an end-of-text token among the {tokenizer.vocab_size:,} entries of the tokenizer, "
        'and its head needs one; add tokenizer.special_tokens=["[SEP]"]'
    )


def check_entries(model: nn.Module, tokenizer: "Tokenizer", init: str | None) -> None:
    """Raises RecipeError when the model has fewer entries than the tokenizer (ENG-5)."""
    entries: Any = model.config.vocab_size  # type: ignore[union-attr]
    if entries < tokenizer.vocab_size:
        raise RecipeError(
            f"init: {init} has {entries:,} entries, the tokenizer {tokenizer.vocab_size:,}; "
            "take its own tokenizer: leave tokenizer out"
        )


# Running it ------------------------------------------------------------------------------------------------


class Precise(nn.Linear):
    """A linear layer that computes in fp32, whatever autocast has the layers below it do."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch calls it
        with torch.autocast(input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return F.linear(input.float(), self.weight.float(), bias)


def in_full_precision(model: nn.Module) -> nn.Module:
    """Have the head compute in fp32: the same weights and names, and so the same files.

    In bf16 a logit near 8 has a neighbour at 8.03: of 20 candidates for an answer two would be the same, and what an
    answer turns on would be another thing in training than in ``ptk predict``.
    """
    for layer in transfer.head_modules(model):
        if type(layer) is nn.Linear:
            layer.__class__ = Precise
    return model


def logits(model: nn.Module, batch: "Batch") -> Tensor:
    """Logits of a batch: [B, L], of tokens [B, T, L], of choices [B, C]."""
    return model(**inputs(model, batch)).logits


def logits_and_hidden(model: Any, batch: "Batch") -> tuple[Tensor, Tensor]:
    """The same, and the backbone's last hidden states [B, T, D]."""
    found: list[Tensor] = []
    hook = model.base_model.register_forward_hook(lambda _module, _inputs, out: found.append(out.last_hidden_state))
    try:
        return logits(model, batch), found[0]
    finally:
        hook.remove()


def check_language_model(model: Any) -> None:
    """Raises RecipeError for a model that is no decoder, or whose next-token logits need a matrix that it has not."""
    config = model.config
    if not reads_forward(config) or config.is_encoder_decoder:
        raise RecipeError(f"objective.lm_weight: {config.model_type} does not predict next tokens; leave it 0")
    if not config.tie_word_embeddings:
        raise RecipeError(
            f"objective.lm_weight: {config.model_type} predicts next tokens by another matrix than its embeddings, "
            "which a classifier has not; leave it 0"
        )


def inputs(model: Any, batch: "Batch") -> dict[str, Any]:
    """The arguments of a model, of a batch that pads with anything: a decoder's head looks for the padding's own id."""
    found: dict[str, Any] = {"input_ids": batch["input_ids"]}
    if "attention_mask" in batch:
        found["attention_mask"] = batch["attention_mask"]
        found["input_ids"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, model.config.pad_token_id)
    if "token_type_ids" in batch and getattr(model.config, "type_vocab_size", 0) > 1:
        found["token_type_ids"] = batch["token_type_ids"]
    if "use_cache" in inspect.signature(model.forward).parameters:
        found["use_cache"] = False
    return found
