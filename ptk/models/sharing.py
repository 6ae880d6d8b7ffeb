"""``model: {sharing: all | attention | ffn | none}``: what ALBERT's layers have in common (arXiv 1909.11942).

transformers knows groups of layers that share everything: one group is ``all``, a group a layer is ``none``. For the
two between, each layer is its own group, and one module of torch stands in all of them. Weights are saved as copies,
which plain transformers loads; ptk shares them again.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ptk.errors import RecipeError
from ptk.models import own_settings

SHARED = {
    "attention": ("attention",),  # its norm is within
    "ffn": ("ffn", "ffn_output", "full_layer_layer_norm"),
}


def set_groups(config: Any) -> None:
    """A group for each layer, unless layers share everything or the configuration has groups of its own."""
    if own_settings.values(config).get("sharing") in ("attention", "ffn", "none"):
        config.num_hidden_groups = config.num_hidden_layers


def shared(config: Any) -> tuple[str, ...]:
    """The modules that are one in all layers; none where transformers shares by itself."""
    return SHARED.get(own_settings.values(config).get("sharing") or "", ())


def layers(model: Any) -> list[nn.Module]:
    return [group.albert_layers[0] for group in model.base_model.encoder.albert_layer_groups]


def share(model: Any) -> None:
    """Put the first layer's modules in place of the others' where ``model.config.sharing`` says so."""
    for name in shared(model.config):
        first, *others = (layer for layer in layers(model))
        for layer in others:
            setattr(layer, name, getattr(first, name))


def check_copies(model: Any, where: str) -> None:
    """Raises RecipeError when copies of a shared module, loaded from ``where``, are not equal."""
    for name in shared(model.config):
        first, *others = (getattr(layer, name).state_dict() for layer in layers(model))
        if any(not torch.equal(first[key], other[key]) for other in others for key in first):
            sharing = model.config.sharing
            raise RecipeError(
                f"init: {where} shares its layers' {sharing} (config.json: sharing), but they have been trained apart; "
                f"write sharing none there to go on with one a layer"
            )


def as_copies(model: Any) -> dict[str, Tensor] | None:
    """The model's weights with a copy for each layer that shares; None where transformers can save it by itself."""
    if not shared(model.config):
        return None
    seen: set[int] = set()
    state = model.state_dict()
    for name, weight in state.items():
        if ".albert_layer_groups." in name:  # embeddings stay tied
            state[name] = weight.clone() if weight.data_ptr() in seen else weight
            seen.add(weight.data_ptr())
    return state


def remarks(model: Any) -> list[str]:
    """What the model card says of copies."""
    if not shared(model.config):
        return []
    return [f"All layers have the same {model.config.sharing}: one in the count above, a copy in each layer here."]
