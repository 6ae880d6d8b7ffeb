"""A model with a head for labelled examples: transformers' class of the family where it has one, else ``Headed``.

Weights of another head are of use only where they mean the same: those of a checkpoint are kept when its labels have
the same names (in this order: its rows are moved, FT-3), and dropped when not. What happened is in ``told(model)``.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ptk.errors import DataError, RecipeError
from ptk.models import build, checks, load, positions, sharing
from ptk.models.headed import OWN, backbone_of, is_headed, over, reads_forward

if TYPE_CHECKING:
    from ptk.data.tokenizer import Tokenizer
    from ptk.objectives.objective import Batch

Kind = Literal["sequence_classification", "token_classification", "multiple_choice", "question_answering"]
Problem = Literal["single_label", "multi_label", "regression"]

PROBLEMS: dict[str, str] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
NEW_HEAD = 0.02  # standard deviation of a head that is drawn here (FT-1), where the family does not say


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
        model = started(kind, family, made, init)
        checks.check_own_settings(settings, model)
        sharing.check_copies(model, init)
    else:
        model = fresh(kind, family, made)
        if paper and hasattr(made, "initializer_range"):
            build.truncate_init(model)
    if paper and not vars(model).get("kept_head"):
        draw(model, truncated=True)
    check_entries(model, tokenizer, init)
    checks.check_length(model, length, init)
    sharing.share(model)
    positions.write(model)
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


def auto_class(kind: Kind) -> Any:
    import transformers

    return {
        "sequence_classification": transformers.AutoModelForSequenceClassification,
        "token_classification": transformers.AutoModelForTokenClassification,
        "multiple_choice": transformers.AutoModelForMultipleChoice,
        "question_answering": transformers.AutoModelForQuestionAnswering,
    }[kind]


def family_of(kind: Kind, made: Any) -> Any:
    """transformers' class for this head and family; None where it has none."""
    import transformers

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


# Weights ---------------------------------------------------------------------------------------------------


def fresh(kind: Kind, family: Any, made: Any) -> nn.Module:
    if family is not None:
        return build.fresh(auto_class(kind), made)
    from transformers import AutoModel

    return over(build.fresh(AutoModel, made), kind, made.num_labels)


def started(kind: Kind, family: Any, made: Any, init: str) -> nn.Module:
    """The backbone's weights of ``init``, and its head where that is the same head for the same labels."""
    from transformers import AutoModel

    folder = load.folder_of(init)
    before = load.config(init)
    with load.readable(init), quiet():
        options = {"config": made, "dtype": torch.float32, "ignore_mismatched_sizes": True}
        options["key_mapping"] = other_names(family, made)
        model, info = (family or AutoModel).from_pretrained(folder, output_loading_info=True, **options)
    missing = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    if family is None:
        check_backbone(init, missing)
        model = over(model, kind, made.num_labels)
        missing &= model.backbone.state_dict().keys()  # but for a pooler that was taken off
        had = kind if is_headed(folder) and same_own(before, model.config) else None
        missing |= {f"head.{name}" for name, _ in model.head.named_parameters()}
        if had and same_labels(kind, before, made):
            missing -= set(model.load_head(folder))
    else:
        within = "" if model.base_model is model else f"{model.base_model_prefix}."
        missing_below = missing - {name for name, _ in head_parameters(model)}
        check_backbone(init, {key.removeprefix(within) for key in missing_below if key.startswith(within)})
        had = kind if (before.architectures or [""])[0] == family.__name__ else None
    if kind == "question_answering":
        before = made  # two outputs without names, which BART's configuration counts as three
    keep_or_draw_head(model, kind, before if had else None, made, missing, init)
    return model


def other_names(family: Any, made: Any) -> dict[str, str] | None:
    """A pattern of the names that a family's other classes have for the backbone's weights, and what they are here:
    Llama's ``model.`` is ``transformer.`` in its class for questions."""
    import transformers

    usual = getattr(transformers.MODEL_MAPPING.get(type(made), None), "base_model_prefix", None)
    if family is None or usual in (None, family.base_model_prefix):
        return None
    return {rf"^{usual}\.": f"{family.base_model_prefix}."}


def check_backbone(init: str, missing: set[str]) -> None:
    """Raises DataError when a checkpoint lacks weights of the backbone; a pooler that it never had is none."""
    lacking = sorted(key for key in missing if not is_pooler(key))
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise DataError(f"init: {init} lacks weights of the model that its config.json names: {lacking[0]}{more}")


def is_pooler(key: str) -> bool:
    return "pooler" in key.split(".")


def keep_or_draw_head(model: Any, kind: Kind, before: Any, made: Any, missing: set[str], init: str) -> None:
    """``before``: the configuration of the checkpoint where it had this kind of head, else None."""
    said = []
    own = {name for name, _ in head_parameters(model)}
    kept = before is not None and same_labels(kind, before, made) and not own & missing
    if kept:
        said.append(f"head: that of {init}" + reorder(model, before, made))
    elif before is not None:
        said.append(
            f"head: {init} has one for {labels_said(before)}, which are not these labels: dropped, drawn afresh"
        )
    else:
        said.append("head: drawn afresh")
    if not kept and own - missing:  # what came with the checkpoint was of another head
        draw(model)
    if any(is_pooler(key) for key in missing - own):
        said.append(f"pooler: {init} has none; drawn afresh")
    vars(model).update(told_of_init=said, kept_head=kept)


def labels_of(config: Any) -> list[str]:
    return [config.id2label[number].lower() for number in sorted(config.id2label)]


def labels_said(config: Any) -> str:
    names = [config.id2label[number] for number in sorted(config.id2label)]
    return "scores" if len(names) == 1 else ", ".join(names[:8]) + ", ..." * (len(names) > 8)


def same_labels(kind: Kind, before: Any, made: Any) -> bool:
    """Whether two heads of one kind say the same things, in whatever order."""
    if kind == "sequence_classification":
        problem = before.problem_type or PROBLEMS["regression" if before.num_labels == 1 else "single_label"]
        if problem != made.problem_type:
            return False
    return made.num_labels == before.num_labels == 1 or sorted(labels_of(before)) == sorted(labels_of(made))


def same_own(before: Any, made: Any) -> bool:
    """Whether two configurations say the same of a head of ptk's own."""
    return all(getattr(before, name, None) == getattr(made, name, None) for name in OWN)


@torch.no_grad()
def reorder(model: nn.Module, before: Any, made: Any) -> str:
    """Move the rows of the head's last layer to the places of their labels. Returns what to say of it."""
    old, new = labels_of(before), labels_of(made)
    if old == new or made.num_labels == 1:
        return ""
    order = [old.index(name) for name in new]
    layer = [part for part in head_modules(model) if isinstance(part, nn.Linear) and part.out_features == len(new)][-1]
    layer.weight.copy_(layer.weight[order])
    if layer.bias is not None:
        layer.bias.copy_(layer.bias[order])
    return ", its rows moved to the places of these labels"


def head_modules(model: Any) -> list[nn.Module]:
    """The modules of a model that are not of its backbone."""
    backbone = backbone_of(model)
    return [module for module in model.modules() if module is not model and module not in backbone]


def head_parameters(model: Any) -> list[tuple[str, nn.Parameter]]:
    backbone = {id(parameter) for module in backbone_of(model) for parameter in module.parameters(recurse=False)}
    return [(name, parameter) for name, parameter in model.named_parameters() if id(parameter) not in backbone]


@torch.no_grad()
def draw(model: Any, truncated: bool = False) -> None:
    """Draw the head afresh: matrices normal, ``truncated`` at two standard deviations (FT-1), biases 0."""
    std = getattr(model.config, "initializer_range", NEW_HEAD)
    for module in head_modules(model):
        if isinstance(module, nn.Linear):
            if truncated:
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            else:
                nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' table of what was and was not loaded, which is told in a line instead."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)


# Running it ------------------------------------------------------------------------------------------------


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
