"""The weights of a model with a head: those of a checkpoint as far as they mean the same, the rest drawn.

A head is kept when its labels have the same names (in this order: its rows are moved, FT-3), and dropped when not. What
happened is noted on the model (``told_of_init``, ``kept_head``).
"""

from typing import Any, Literal

import torch
from torch import nn

from ptk.errors import DataError
from ptk.models import build, load
from ptk.models.headed import OWN, backbone_class, backbone_of, is_headed, over

Kind = Literal["sequence_classification", "token_classification", "multiple_choice", "question_answering"]
Problem = Literal["single_label", "multi_label", "regression"]

PROBLEMS: dict[str, str] = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
NEW_HEAD = 0.02  # standard deviation of a head that is drawn here (FT-1), where the family does not say


def auto_class(kind: Kind) -> Any:
    import transformers

    return {
        "sequence_classification": transformers.AutoModelForSequenceClassification,
        "token_classification": transformers.AutoModelForTokenClassification,
        "multiple_choice": transformers.AutoModelForMultipleChoice,
        "question_answering": transformers.AutoModelForQuestionAnswering,
    }[kind]


def fresh(kind: Kind, family: Any, made: Any) -> nn.Module:
    if family is not None:
        return build.fresh(auto_class(kind), made)
    return over(build.fresh(backbone_class(kind, made), made), kind, made.num_labels)


def started(kind: Kind, family: Any, made: Any, init: str) -> nn.Module:
    """The backbone's weights of ``init``, and its head where that is the same head for the same labels."""
    folder = load.folder_of(init)
    before = load.config(init)
    with load.readable(init), load.quiet():
        options = {"config": made, "dtype": torch.float32, "ignore_mismatched_sizes": True}
        options["key_mapping"] = other_names(family, made)
        model, info = (family or backbone_class(kind, made)).from_pretrained(
            folder, output_loading_info=True, **options
        )
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
