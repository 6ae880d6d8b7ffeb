"""Settings of the ``model:`` section that are ptk's own, beside those of transformers' configuration classes.

They stand in the model's config.json under the same names, so that resuming and ``init`` apply them again, and the
weights are such that plain transformers computes the same without knowing them. No torch here: recipes are checked
without it.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

Positions = Literal["learned", "sinusoidal", "none"]  # ptk/models/positions.py
Sharing = Literal["all", "attention", "ffn", "none"]  # ptk/models/sharing.py

BY_TYPE: dict[str, dict[str, Any]] = {
    "bert": {"positions": Positions},
    "electra": {"positions": Positions},
    "albert": {"positions": Positions, "sharing": Sharing},
}


def types(model_type: str) -> dict[str, Any]:
    """Name of each setting that this family has -> the type of its values."""
    return BY_TYPE.get(model_type, {})


def schema() -> dict[str, dict[str, Any]]:
    """JSON Schema of each setting, for editors."""
    kinds = {name: kind for known in BY_TYPE.values() for name, kind in known.items()}
    families = {name: ", ".join(family for family in BY_TYPE if name in BY_TYPE[family]) for name in kinds}
    return {
        name: {"enum": list(get_args(kind)), "description": f"Of {families[name]}."} for name, kind in kinds.items()
    }


def values(config: Any) -> dict[str, str | None]:
    """What a model of this configuration has; None where its groups of layers are neither one nor one a layer."""
    found: dict[str, str | None] = {}
    if "positions" in types(config.model_type):
        found["positions"] = getattr(config, "positions", "learned")
    if "sharing" in types(config.model_type):
        groups = {config.num_hidden_layers: "none", 1: "all"}
        found["sharing"] = getattr(config, "sharing", groups.get(config.num_hidden_groups))
    return found


def differing(settings: Mapping[str, Any], config: Any) -> dict[str, str | None]:
    """Own settings of a recipe that a model with this configuration has otherwise, and how it has them."""
    own = {name for known in BY_TYPE.values() for name in known}
    has = values(config)
    return {name: has.get(name) for name in sorted(own & settings.keys()) if settings[name] != has.get(name)}
