"""The two open sections of a recipe: ``objective`` (a file of ptk/objectives says its keys) and ``model``
(a configuration class of transformers does, and ptk/models/own_settings.py)."""

import inspect
import json
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from ptk import objectives, tasks
from ptk.errors import RecipeError
from ptk.models import own_settings
from ptk.recipe import Recipe
from ptk.recipe_check import suggest, unknown_key, validate
from ptk.recipe_yaml import Fault, Place, Placed, shown, shown_key
from ptk.tasks.task import HEADS


def objective_class(name: str) -> type:
    """The frozen dataclass whose fields are the keys of the ``objective:`` section. Imports its module.

    Raises RecipeError when there is no such objective, or a plug-in of that name does not import.
    """
    known = objectives.names()
    if name not in known:
        hint = suggest(name, known)
        raise RecipeError(f"{shown(name)} is not an objective (known: {', '.join(known)}){hint}")
    if name not in objectives.plugins():
        return objectives.find(name)
    plugin = objectives.plugins()[name]
    try:
        found = objectives.find(name)
    except Exception as error:  # whatever the plug-in's own imports raise
        raise RecipeError(f"the plug-in {plugin.value} does not import ({shown(error)}); reinstall it") from error
    if not (isinstance(found, type) and is_dataclass(found)):
        raise RecipeError(f"the plug-in {plugin.value} is not a dataclass; update it")
    return found


def build_objective(recipe: Recipe) -> Any:
    """The objective of a recipe: an instance of ``objective_class(recipe.objective["name"])``.

    Its ``fidelity``, where it has one and leaves it out, is the recipe's. Raises RecipeError for settings
    it does not have.
    """
    built = _as_it_says(recipe)
    follows = any(f.name == "fidelity" and built.fidelity is None for f in fields(built))
    return replace(built, fidelity=recipe.fidelity) if follows else built


def completed(recipe: Recipe) -> dict[str, Any]:
    """The ``objective:`` section of a recipe with every default written out. Raises what ``build_objective`` raises."""
    return complete_objective(recipe.objective["name"], _as_it_says(recipe))


def _as_it_says(recipe: Recipe) -> Any:
    faults: list[Fault] = []
    built = check_objective(_placed(dict(recipe.objective), Place(f"recipe {recipe.name}")), faults)
    if faults:
        raise RecipeError("\n".join(map(str, faults)))
    return built


def model_settings(recipe: Recipe) -> dict[str, Any]:
    """The keyword arguments for the configuration class of ``recipe.model["type"]``, by its own names.

    Its own names, because a shared name can come too late: ``T5Config(num_hidden_layers=2)`` keeps six
    decoder layers, ``T5Config(num_layers=2)`` has two.
    """
    settings = {key: value for key, value in recipe.model.items() if key != "type"}
    if "type" not in recipe.model:
        return settings
    names = _config_class(recipe.model["type"]).attribute_map
    return {names.get(key, key): value for key, value in settings.items()}


def with_head(objective: Placed, task: Placed) -> Placed:
    """The ``objective:`` section of a recipe for a task, with the name of the task's head where it is known."""
    name, kind = task.at("name"), task.at("kind")
    found: Any = kind.value if kind else ""
    if not found and name is not None and name.value in tasks.names():
        found = tasks.find(name.value).kind
    if objective.at("name") or found not in HEADS:
        return objective
    return Placed({"name": Placed(HEADS[found], task.place), **objective.value}, objective.place)


def unnamed_head(section: Placed, faults: list[Fault]) -> dict[str, Any]:
    """The settings, as given, of a head that the user's own files will tell; a fault for each key that no head has."""
    known = {f.name for head in HEADS.values() for f in fields(objective_class(head))}
    for key in section.value.keys() - known:
        hint = suggest(key, known, "objective.") or "; no head of a task has it"
        faults.append(Fault(section.value[key].place, f"objective.{shown_key(key)}", f"unknown key{hint}"))
    return {key: placed.plain() for key, placed in section.value.items()}


def check_objective(section: Placed, faults: list[Fault], prefix: str = "objective") -> Any:
    """The objective that ``section`` describes; None after adding faults. ``prefix``: the section's dotted key."""
    name = section.at("name")
    if name is None or not isinstance(name.value, str):
        known = ", ".join(objectives.names())
        said = f"{shown(name.plain())} is not a name" if name else "missing"
        faults.append(Fault((name or section).place, f"{prefix}.name", f"{said}; one of {known}"))
        return None
    try:
        kind = objective_class(name.value)
    except RecipeError as error:
        faults.append(Fault(name.place, f"{prefix}.name", str(error)))
        return None
    # Unknown keys are looked for here: a plug-in may have forgotten to forbid them.
    known = {f.name for f in fields(kind)}
    settings = {key: placed for key, placed in section.value.items() if key != "name"}
    for key in [key for key in settings if key not in known]:
        message = unknown_key(key, kind, prefix=prefix)
        faults.append(Fault(settings.pop(key).place, f"{prefix}.{shown_key(key)}", message))
    before = len(faults)
    for key, member in _members(kind, settings):
        own = {setting: placed for setting, placed in member.value.items() if setting != "weight"}
        check_objective(Placed(own, member.place), faults, f"{prefix}.{HOLDS}.{shown_key(key)}")
    return validate(kind, Placed(settings, section.place), faults, prefix) if len(faults) == before else None


# What models of transformers read from a configuration whose class does not list it.
UNLISTED = {
    "deberta-v2": {
        "attention_head_size": int,
        "conv_act": str,
        "conv_kernel_size": int,
        "norm_rel_ebd": str,
        "position_buckets": int,
        "share_att_key": bool,
    }
}
HOLDS = "members"  # the setting of a mixture that holds objectives by name, each with its weight


def _members(kind: type, settings: dict[str, Placed]) -> list[tuple[str, Placed]]:
    held = settings.get(HOLDS) if HOLDS in {f.name for f in fields(kind)} else None
    if held is None or not isinstance(held.value, dict):
        return []
    return [(key, member) for key, member in held.value.items() if isinstance(member.value, dict)]


def complete_objective(name: str, objective: Any) -> dict[str, Any]:
    """The ``objective:`` section with every default written out, those of a mixture's members too."""
    complete = {"name": name, **{key: value for key, value in asdict(objective).items() if key != "name"}}
    for key, member in complete.get(HOLDS, {}).items():
        own = {setting: value for setting, value in member.items() if setting not in ("name", "weight")}
        built = objective_class(member["name"])(**own)
        complete[HOLDS][key] = {"weight": member.get("weight", 1.0), **complete_objective(member["name"], built)}
    return complete


def check_model(section: Placed, has_init: bool, faults: list[Fault]) -> dict[str, Any]:
    """The section in the types its configuration class wants (``initializer_factor: 1`` becomes 1.0).

    Adds a fault for each key the class does not have and each value of another type. Without ``type``
    (the weights of ``init`` bring their own) keys stay unchecked until those are read.
    """
    kind = section.at("type")
    settings = {key: placed for key, placed in section.value.items() if key != "type"}
    before = len(faults)
    if size := settings.pop("vocab_size", None):
        message = "follows from the tokenizer; set tokenizer.vocab_size instead"
        faults.append(Fault(size.place, "model.vocab_size", message))
    if kind is None or kind.value is None:
        if not has_init:
            message = "missing; name a transformers model type such as bert, gpt2 or t5, or give init"
            faults.append(Fault(section.place, "model.type", message))
        return {key: placed.plain() for key, placed in settings.items()}
    known = _config_keys(kind.value) if isinstance(kind.value, str) else None
    if known is None:
        hint = suggest(str(kind.value), _config_mapping().keys())
        message = f"{shown(kind.plain())} is not a model type of transformers{hint}"
        faults.append(Fault(kind.place, "model.type", message))
        return {}
    converted = _check_settings(kind.value, known, settings, faults)
    _check_sharing(settings, faults)
    if len(faults) == before:
        _try_config(kind, converted, faults)
    return {"type": kind.value, **converted}


def _check_settings(
    model_type: str, known: dict[str, Any], settings: dict[str, Placed], faults: list[Fault]
) -> dict[str, Any]:
    names = _config_class(model_type).attribute_map
    first: dict[str, str] = {}
    for key, placed in settings.items():
        own = names.get(key, key)
        if own in first:
            message = f"the same setting as model.{first[own]} ({settings[first[own]].place}); keep one"
            faults.append(Fault(placed.place, f"model.{key}", message))
        elif own not in known:
            hint = suggest(key, {*known, *names} - {"vocab_size"}, "model.")
            message = f"unknown key of model type {model_type}{hint}"
            faults.append(Fault(placed.place, f"model.{shown_key(key)}", message))
        else:
            first[own] = key
    return {key: _converted(known[own], key, settings[key], faults) for own, key in first.items()}


def _check_sharing(settings: dict[str, Placed], faults: list[Fault]) -> None:
    """ALBERT's groups of layers are what ``sharing`` sets."""
    sharing, inner = settings.get("sharing"), settings.get("inner_group_num")
    clash = ["num_hidden_groups"] + (["inner_group_num"] if inner and inner.value != 1 else [])
    for key in clash:
        if sharing and (placed := settings.get(key)):
            message = f"not with model.sharing ({sharing.place}), which says what layers share; keep one of the two"
            faults.append(Fault(placed.place, f"model.{key}", message))


def _converted(kind: Any, key: str, placed: Placed, faults: list[Fault]) -> Any:
    if isinstance(kind, str) or kind is inspect.Parameter.empty:
        return placed.plain()  # no type at hand: left to the class itself, in _try_config
    try:
        value = validate(kind, placed, faults, f"model.{key}")
    except (PydanticUserError, PydanticUndefinedAnnotation):  # a type of transformers' own
        return placed.plain()
    return value if isinstance(value, float) else placed.plain()


def _try_config(kind: Placed, settings: dict[str, Any], faults: list[Fault]) -> None:
    config_class = _config_class(kind.value)
    names = config_class.attribute_map
    try:
        config_class(**{names.get(key, key): value for key, value in settings.items()})
    except Exception as error:  # each class raises what it likes
        reason = " ".join(str(error).rpartition("Error: ")[2].split())  # of nested ones the innermost
        faults.append(Fault(kind.place, "model", f"{config_class.__name__} refuses these settings: {reason}"))


def _config_keys(model_type: str) -> dict[str, Any] | None:
    """Settings of a configuration class and their types; None for an unknown model type."""
    if model_type not in _config_mapping():
        return None
    config_class = _config_class(model_type)
    parameters = inspect.signature(config_class).parameters.values()
    named = {p.name: p.annotation for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
    # Some read a setting out of **kwargs (T5's tie_word_embeddings) and show it only on an instance.
    more = {key: inspect.Parameter.empty for key in vars(config_class()) if not key.startswith("_")}
    return more | named | UNLISTED.get(model_type, {}) | own_settings.types(model_type)


def _config_mapping() -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return CONFIG_MAPPING


def _config_class(model_type: str) -> Any:
    return _config_mapping()[model_type]


def _placed(value: Any, place: Place) -> Placed:
    """A value that stands in no file."""
    plain = json.loads(json.dumps(value))
    if isinstance(plain, dict):
        return Placed({key: _placed(child, place) for key, child in plain.items()}, place)
    if isinstance(plain, list):
        return Placed([_placed(child, place) for child in plain], place)
    return Placed(plain, place)
