"""A recipe from a file: found, extended, overridden, checked, and written out again.

Relative paths in a recipe (corpus, tokenizer, init) stay as written: relative to the current folder.
Only ``extends`` is relative to the file that says it.
"""

import difflib
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from ptk import objectives
from ptk.errors import RecipeError
from ptk.models import own_settings
from ptk.recipe import CorpusSource, Recipe
from ptk.recipe_check import adapter, check_rules, dotted, is_slug, validate
from ptk.recipe_merge import OPEN_SECTIONS, SECTIONS, TOKENIZER, merge, sources
from ptk.recipe_sections import (
    build_objective,
    check_model,
    check_objective,
    complete_objective,
    model_settings,
    objective_class,
    unnamed_head,
    with_head,
)
from ptk.recipe_yaml import (
    CoreDumper,
    Fault,
    Place,
    Placed,
    flow,
    override_place,
    read_file,
    read_overrides,
    shown,
)

__all__ = ["Loaded", "build_objective", "bundled", "dump", "load", "model_settings", "schema", "show"]


@dataclass(frozen=True)
class Loaded:
    recipe: Recipe
    path: Path
    origins: dict[str, str]
    """Dotted key -> ``recipes/x.yaml:12``, ``override`` or ``default``."""


def load(name_or_path: str, overrides: Sequence[str] = (), beneath: Mapping[str, Any] | None = None) -> Loaded:
    """A recipe by path or bundled name, complete and checked, with ``section.key=value`` overrides.

    ``beneath``: values for what neither the file nor an override sets.
    Raises RecipeError with one line a fault, all faults of all files and overrides at once.
    """
    path = find(name_or_path)
    faults: list[Fault] = []
    tree = _read_extended(path, (), faults)
    files = list(dict.fromkeys(placed.place.source for placed in _walk(tree)))
    unread = {fault.place for fault in faults}
    changes = read_overrides(overrides, faults)
    if extends := changes.value.pop("extends", None):
        faults.append(Fault(extends.place, "extends", "belongs in a file, not in an override"))
    defaults = {key: Placed(value, Place("default")) for key, value in (beneath or {}).items()}
    tree = _settled(merge(Placed(defaults, tree.place), merge(tree, changes)), path)
    unread |= {fault.place for fault in faults}

    found: list[Fault] = []
    recipe = validate(Recipe, tree, found)
    check_rules(tree, found)
    objective, model = _check_open_sections(tree, found)
    # What could not be read has its line already; what that does to a check would be a second one.
    faults += [fault for fault in found if fault.place not in unread]
    if faults:
        sources_in_order = [_shown_path(path), *files, *(override_place(word).source for word in overrides)]
        order = {source: rank for rank, source in reversed(list(enumerate(sources_in_order)))}
        faults.sort(key=lambda fault: (order.get(fault.place.source, len(files)), fault.place.line))
        raise RecipeError("\n".join(dict.fromkeys(map(str, faults))))
    recipe = replace(recipe, objective=objective, model=model)
    return Loaded(recipe, path, _origins(recipe, tree))


def bundled() -> dict[str, Path]:
    """The recipes that come with ptk, by name: ``bert-mlm-nsp``, ``paper/bert-base``."""
    package = Path(__file__).resolve().parent
    # A wheel puts them inside the package; in a checkout they lie beside it.
    folder = next((f for f in (package / "recipes", package.parent / "recipes") if f.is_dir()), None)
    files = sorted(folder.rglob("*.yaml")) if folder else []
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files if folder}


def find(name_or_path: str) -> Path:
    """The file of a path or a bundled name. Raises RecipeError with what was probably meant."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    names = bundled()
    if name_or_path in names:
        return names[name_or_path]
    if path.is_dir() and (path / "recipe.yaml").is_file():
        raise RecipeError(f"{name_or_path}: a folder, not a recipe; did you mean {path / 'recipe.yaml'}?")
    near = difflib.get_close_matches(path.stem if _is_path(name_or_path) else name_or_path, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    what = "no such file" if _is_path(name_or_path) else "no such file and no bundled recipe"
    raise RecipeError(f"{name_or_path}: {what}{hint} (bundled: {', '.join(names) or 'none'})")


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _shown_path(path: Path) -> str:
    """As short as it can be said from the current folder."""
    short = os.path.relpath(path)
    return os.path.normpath(path) if short.startswith(os.pardir) else short


def _read_extended(path: Path, children: tuple[Path, ...], faults: list[Fault]) -> Placed:
    """A file merged over what it ``extends``; ``children`` are the files that led here."""
    tree = read_file(path, _shown_path(path), faults)
    extends = tree.value.pop("extends", None)
    if extends is None or extends.value is None:
        return tree
    chain = (*children, path)
    parent = _parent(extends, path, faults)
    if parent is None:
        return tree
    if any(parent.samefile(child) for child in chain):
        circle = " -> ".join(_shown_path(file) for file in (*chain, parent))
        faults.append(Fault(extends.place, "extends", f"a circle: {circle}; take one out"))
        return tree
    return merge(_read_extended(parent, chain, faults), tree)


def _parent(extends: Placed, path: Path, faults: list[Fault]) -> Path | None:
    if not isinstance(extends.value, str):
        message = f"{shown(extends.plain())} is not one file or bundled name"
        faults.append(Fault(extends.place, "extends", message))
        return None
    beside = path.parent / extends.value
    try:
        return beside if beside.is_file() else find(str(beside) if _is_path(extends.value) else extends.value)
    except RecipeError as error:
        faults.append(Fault(extends.place, "extends", str(error)))
        return None


def _settled(tree: Placed, path: Path) -> Placed:
    """With a corpus that is a list, without empty sections, with a name."""
    empty = {key for key in (*SECTIONS, *OPEN_SECTIONS, "name") if (at := tree.at(key)) and at.value is None}
    settled = {key: placed for key, placed in tree.value.items() if key not in empty}
    if corpus := settled.get("corpus"):
        settled["corpus"] = Placed(sources(corpus), corpus.place)
    if "name" not in settled:
        settled["name"] = Placed(_name_of(path), Place("default"))
    return Placed(settled, tree.place)


def _name_of(path: Path) -> str:
    """The file's name as a name of a run: ``my recipe.yaml`` is ``my-recipe``. NFC, which macOS undoes."""
    stem = unicodedata.normalize("NFC", path.stem)
    name = re.sub(r"[^\w.-]|\.\.+", "-", stem).strip("-.")[:100]
    return name if is_slug(name) else "run"


def _check_open_sections(tree: Placed, faults: list[Fault]) -> tuple[dict[str, Any], dict[str, Any]]:
    objective = tree.at("objective") or Placed({}, tree.place)
    model = tree.at("model") or Placed({}, tree.place)
    settings, complete = {}, {}
    task = tree.at("task")
    if isinstance(objective.value, dict) and task is not None and isinstance(task.value, dict):
        objective = with_head(objective, task)
    if isinstance(objective.value, dict):
        if task is not None and objective.at("name") is None:
            complete = unnamed_head(objective, faults)
        elif (built := check_objective(objective, faults)) is not None:
            complete = complete_objective(objective.value["name"].value, built)
    if isinstance(model.value, dict):
        init = tree.at("init")
        has_init = init is not None and init.value is not None
        settings = check_model(model, has_init or task is not None, faults)
    return complete, settings


def _walk(tree: Placed):
    yield tree
    children = tree.value.values() if isinstance(tree.value, dict) else tree.value
    for child in children if isinstance(tree.value, dict | list) else ():
        yield from _walk(child)


def _leaves(recipe: Recipe) -> list[tuple[tuple[str | int, ...], Any]]:
    """Every setting with its path: one level of sections, and each source of the corpus."""
    leaves: list[tuple[tuple[str | int, ...], Any]] = []
    for key, value in _plain(asdict(recipe)).items():
        if key == "corpus":
            leaves += [((key, i, k), v) for i, source in enumerate(value) for k, v in source.items()]
        elif isinstance(value, dict):
            leaves += [((key, k), v) for k, v in value.items()]
        else:
            leaves.append(((key,), value))
    return leaves


def _origins(recipe: Recipe, tree: Placed) -> dict[str, str]:
    origins = {}
    for path, _ in _leaves(recipe):
        placed = tree.at(*path)
        source = str(placed.place) if placed else "default"
        origins[dotted(path, tree)] = "override" if source.startswith("override ") else source
    return origins


def show(loaded: Loaded) -> str:
    """``section.key: value   # origin``, a line a setting."""
    values = [flow(value) for _, value in _leaves(loaded.recipe)]
    lines = zip(loaded.origins.items(), values, strict=True)
    return "\n".join(f"{key}: {value}   # {origin}" for (key, origin), value in lines)


def dump(recipe: Recipe) -> str:
    """The recipe as YAML that ``load`` reads back to an equal one. What is unset (null) is left out."""
    plain = _plain(_given(recipe))
    if recipe.tokenizer.path is not None:  # the settings of training one say nothing beside it
        training = {"kind", *TOKENIZER["kind"]}
        plain["tokenizer"] = {key: value for key, value in plain["tokenizer"].items() if key not in training}
    return yaml.dump(plain, Dumper=CoreDumper, sort_keys=False, allow_unicode=True, width=110)


def _given(value: Any) -> Any:
    """Dataclasses as mappings of their fields that are not None; every such field is None by default."""
    if is_dataclass(value):
        named = ((f.name, getattr(value, f.name)) for f in fields(value))
        return {key: _given(child) for key, child in named if child is not None}
    return [_given(child) for child in value] if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    return [_plain(child) for child in value] if isinstance(value, list | tuple) else value


def schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, for editors; the docstring of each field is its description."""
    classes = {name: objective_class(name) for name in objectives.names()}
    kinds = {"recipe": Recipe, "source": CorpusSource, **{f"objective {n}": k for n, k in classes.items()}}
    named, shared = TypeAdapter.json_schemas([(key, "validation", adapter(kind)) for key, kind in kinds.items()])
    definitions = shared.get("$defs", {})

    def inlined(key: str) -> dict[str, Any]:
        found = named[key, "validation"]
        return definitions.pop(found["$ref"].rpartition("/")[2]) if "$ref" in found else dict(found)

    source = named["source", "validation"]
    recipe = inlined("recipe")
    properties = recipe["properties"]
    one_source = [{"type": "string"}, source]
    properties["corpus"] |= {"anyOf": [*one_source, {"type": "array", "minItems": 1, "items": {"anyOf": one_source}}]}
    for leftover in ("type", "items", "default"):
        properties["corpus"].pop(leftover, None)
    choices = [_named_objective(name, inlined(f"objective {name}")) for name in classes]
    properties["objective"] = {
        "description": properties["objective"].get("description", ""),
        "oneOf": choices,
    }
    properties["model"] |= {"properties": {"type": {"type": "string"}, **own_settings.schema()}}
    properties["extends"] = {
        "type": "string",
        "description": "Another recipe, relative to this file, or bundled.",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **recipe, "$defs": definitions}


def _named_objective(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    properties = {"name": {"const": name}, **settings.get("properties", {})}
    return {**settings, "properties": properties, "required": ["name", *settings.get("required", ())]}
