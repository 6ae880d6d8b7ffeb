"""One recipe over another: a child over what it extends, overrides over both."""

from dataclasses import fields, is_dataclass

from ptk.recipe import Recipe
from ptk.recipe_yaml import Placed

# Alternatives of which one may be given: leading key -> keys that only mean something beside it.
# A child recipe or override that sets one takes the others away from its parent (``merge``).
Alternatives = dict[str, tuple[str, ...]]
DURATION: Alternatives = {"steps": (), "epochs": (), "minutes": (), "phases": ()}
BATCH: Alternatives = {"batch_size": ("batch_ramp",), "batch_tokens": ()}
MICRO_BATCH: Alternatives = {"micro_batch_size": (), "micro_batch_tokens": ()}
TOKENIZER: Alternatives = {"path": ("extend",), "kind": ("vocab_size", "lowercase")}
EXCLUSIVE: dict[str, tuple[Alternatives, ...]] = {
    "train": (DURATION, BATCH, MICRO_BATCH),
    "tokenizer": (TOKENIZER,),
}
SECTIONS = {f.name: f.type for f in fields(Recipe) if isinstance(f.type, type) and is_dataclass(f.type)}
OPEN_SECTIONS = {"objective": "name", "model": "type"}  # another name there is another set of keys


def merge(parent: Placed, child: Placed, path: tuple[str, ...] = ()) -> Placed:
    """``child`` over ``parent``: mappings merge, everything else replaces.

    What the child sets takes the parent's alternatives away: ``steps`` its ``minutes``, another
    ``objective.name`` its whole section.
    """
    if path == ("corpus",):
        return _merge_corpus(parent, child)
    if not isinstance(parent.value, dict):
        return child
    if not isinstance(child.value, dict):
        empty_section = child.value is None and len(path) == 1 and path[0] in (*SECTIONS, *OPEN_SECTIONS)
        return parent if empty_section else child
    displaced = _displaced(parent.value, child.value, path)
    merged = {key: placed for key, placed in parent.value.items() if key not in displaced}
    for key, placed in child.value.items():
        merged[key] = merge(merged[key], placed, (*path, key)) if key in merged else placed
    return Placed(merged, child.place if child.place.line else parent.place)


def _displaced(parent: dict[str, Placed], child: dict[str, Placed], path: tuple[str, ...]) -> set[str]:
    given = {key for key, placed in child.items() if placed.value is not None}
    section = path[0] if len(path) == 1 else ""
    name = OPEN_SECTIONS.get(section)
    if name in given and name in parent and parent[name].value != child[name].value:
        return set(parent)
    displaced: set[str] = set()
    for group in EXCLUSIVE.get(section, ()):
        if given.isdisjoint(group):
            continue
        for lead, more in group.items():
            displaced |= set() if lead in given else {lead, *more}
    return displaced


def _merge_corpus(parent: Placed, child: Placed) -> Placed:
    """A mapping merges into the parent's one source, or without ``path`` into each of several."""
    listed = sources(parent)
    if not isinstance(child.value, dict) or not listed or ("path" in child.value and len(listed) > 1):
        return child
    return Placed([merge(source, child) for source in listed], parent.place)


def sources(corpus: Placed) -> list[Placed]:
    listed = corpus.value if isinstance(corpus.value, list) else [] if corpus.value in (None, "") else [corpus]
    return [Placed({"path": one}, one.place) if isinstance(one.value, str) else one for one in listed]
