"""What a recipe may say: types through pydantic, told in plain words, and the rules between keys.

Nothing here raises: each fault is added to a list with its place, so that a user sees all of them at once.
"""

import difflib
import functools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ptk.recipe import BatchRamp, CorpusSource, Phase, Recipe, TaskSpec
from ptk.recipe_merge import BATCH, DURATION, EXCLUSIVE, SECTIONS, Alternatives
from ptk.recipe_yaml import Fault, Placed, shown, shown_key

NOUNS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a section of keys",
    "mapping_type": "a section of keys",
    "dataclass_type": "a section of keys",
    "none_required": "null",
}
BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


@functools.cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def is_slug(name: str) -> bool:
    """Safe as the name of one folder (S6): letters and digits of any script, ``-``, ``_``, ``.``."""
    return re.fullmatch(r"[\w-][\w.-]{0,99}", name) is not None and ".." not in name


def suggest(word: str, candidates: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(word, list(candidates), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def validate(kind: Any, tree: Placed, faults: list[Fault], prefix: str = "") -> Any:
    """``tree`` as a ``kind``, without conversions (text is never a number); None after adding faults.

    ``prefix`` is the dotted key of ``tree`` in the recipe.
    """
    try:
        return adapter(kind).validate_json(json.dumps(tree.plain()), strict=True)
    except ValidationError as error:
        faults += _faults(error.errors(include_url=False), kind, tree, prefix)
        return None


def check_rules(tree: Placed, faults: list[Fault]) -> None:
    """The rules between keys. ``tree`` is a whole recipe whose corpus is a list."""
    faults += _rules(tree)


def unknown_key(key: str, kind: Any, section: tuple[str, ...] = (), prefix: str = "") -> str:
    """``section`` is the path, within ``kind``, of the mapping that holds ``key``."""
    known = _known_keys(kind).get(section, [])
    dotted = "".join(f"{step}." for step in (prefix, *section) if step)
    if near := suggest(key, known, dotted):
        return f"unknown key{near}"
    for other, keys in _known_keys(kind).items():
        if key in keys:
            return f"unknown key; did you mean {'.'.join((*other, key))}?"
    listed = f"known here: {', '.join(known)}" if len(known) <= 15 else "see `ptk recipes schema`"
    return f"unknown key; {listed}"


def _known_keys(kind: Any) -> dict[tuple[str, ...], list[str]]:
    kinds: dict[tuple[str, ...], Any] = {(): kind}
    if kind is Recipe:
        kinds |= {(name,): section for name, section in SECTIONS.items()}
        kinds |= {("corpus",): CorpusSource, ("train", "phases"): Phase, ("train", "batch_ramp"): BatchRamp}
        kinds |= {("task",): TaskSpec}
    return {path: [f.name for f in fields(k)] if is_dataclass(k) else [] for path, k in kinds.items()}


def _faults(errors: list[ErrorDetails], kind: Any, tree: Placed, prefix: str) -> Iterator[Fault]:
    # A value that fits no member of a union is an error for each member: one fault of all of them.
    groups: dict[tuple[Any, ...], list[tuple[tuple[str | int, ...], ErrorDetails]]] = {}
    for number, error in enumerate(errors):
        path, branch = _locate(error, tree)
        groups.setdefault(branch if branch is not None else (number,), []).append((path, error))
    for members in groups.values():
        path = max((path for path, _ in members), key=len)
        deepest = [error for at, error in members if at == path]
        placed = tree.at(*path) or tree
        yield Fault(placed.place, dotted(path, tree, prefix), _message(deepest, kind, path, placed, prefix))


def _locate(error: ErrorDetails, tree: Placed) -> tuple[tuple[str | int, ...], tuple[Any, ...] | None]:
    """The path of what the error is about, and the path of the union it came out of, if any."""
    path: list[str | int] = []
    branch = None
    for step in error["loc"][:-1] if error["type"] == "missing" else error["loc"]:
        if tree.at(*path, step) is not None:
            path.append(step)
        else:  # pydantic's name for a member of a union
            branch = branch or ("union", *path)
    return tuple(path), branch


def dotted(path: Iterable[str | int], tree: Placed, prefix: str = "") -> str:
    """``train.phases[1].steps``; the one source of a corpus needs no index."""
    text = prefix
    sources = tree.at("corpus")
    for step in path:
        if isinstance(step, str):
            text += f".{shown_key(step)}" if text else shown_key(step)
        elif text != "corpus" or not sources or len(sources.value) > 1:
            text += f"[{step}]"
    return text


def _message(errors: list[ErrorDetails], kind: Any, path: tuple[Any, ...], placed: Placed, prefix: str) -> str:
    error = errors[0]
    value = path[-1] if error["loc"][-1:] == ("[key]",) else placed.plain()
    code, context = error["type"], error.get("ctx", {})
    if code in ("unexpected_keyword_argument", "extra_forbidden"):
        section = tuple(step for step in path[:-1] if isinstance(step, str))
        return unknown_key(str(path[-1]), kind, section, prefix)
    if code == "missing":
        key = error["loc"][-1]
        return f"`{key}` is missing" if isinstance(key, str) else f"{shown(value)} has too few entries"
    if code == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        return f"{shown(value)} is not one of {', '.join(allowed)}{suggest(str(value), allowed)}"
    if code in BOUNDS:
        bound, words = BOUNDS[code]
        return f"{shown(value)} is out of range; it must be {words} {context[bound]:g}"
    if code == "too_short":
        return f"{shown(value)} has too few entries; {context['min_length']} at least"
    if code == "too_long":
        return f"{shown(value)} has too many entries; {context['max_length']} at most"
    if code == "value_error":  # raised by a section's own __post_init__
        return str(context["error"])
    nouns = list(dict.fromkeys(NOUNS[e["type"]] for e in errors if e["type"] in NOUNS))
    if "a number" in nouns and "a whole number" in nouns:
        nouns.remove("a whole number")
    if nouns:
        return f"{shown(value)} is not {' or '.join(nouns)} (got {_kind(value)})"
    return error["msg"].replace("Input should be", f"{shown(value)} should be")


def _kind(value: object) -> str:
    return {"NoneType": "null", "dict": "mapping"}.get(type(value).__name__, type(value).__name__)


def _rules(tree: Placed) -> Iterator[Fault]:
    name, train = tree.at("name"), tree.at("train")
    if name and isinstance(name.value, str) and not is_slug(name.value):
        allowed = "use letters, digits, - _ . (not first, not two in a row), 100 at most"
        yield Fault(name.place, "name", f"{shown(name.value)} cannot name a folder; {allowed}")
    yield from _subject(tree)
    for section, groups in EXCLUSIVE.items():
        for group in groups:
            yield from _one_of(group, tree.at(section), section)
    extend, path = tree.at("tokenizer", "extend"), tree.at("tokenizer", "path")
    if extend and extend.value is not None and (path is None or path.value is None):
        message = "adds to a tokenizer that is there; name it with tokenizer.path, or leave extend out"
        yield Fault(extend.place, "tokenizer.extend", message)
    if train is None or isinstance(train.value, dict):
        yield from _duration(train or Placed({}, tree.place))
        yield from _ramp(train or Placed({}, tree.place))


def _subject(tree: Placed) -> Iterator[Fault]:
    """A corpus or a task."""
    corpus, task, scratch = (tree.at(key) for key in ("corpus", "task", "from_scratch"))
    has_corpus = corpus is not None and corpus.value not in (None, [])
    if task is None or task.value is None:
        if not has_corpus:
            place = corpus.place if corpus else tree.place
            yield Fault(place, "corpus", "missing; name a file, folder, glob, python-docs or a dataset of the hub")
        if scratch is not None and scratch.value is True:
            yield Fault(scratch.place, "from_scratch", "is for fine-tuning; to pretrain afresh leave init out")
        return
    if has_corpus and corpus is not None:
        yield Fault(corpus.place, "corpus", f"not with task ({task.place}), which brings its own text; keep one")


def _one_of(group: Alternatives, section: Placed | None, key: str) -> Iterator[Fault]:
    alternatives = [first for lead, more in group.items() if (first := _first(section, (lead, *more)))]
    if len(alternatives) > 1:
        (one, at), (other, here) = sorted(alternatives[:2], key=lambda given: given[1].place.line or 10**9)
        message = f"{key}.{one} is given too ({at.place}); keep one of the two"
        yield Fault(here.place, f"{key}.{other}", message)


def _first(section: Placed | None, keys: Iterable[str]) -> tuple[str, Placed] | None:
    given = ((key, section.at(key)) for key in keys) if section else ()
    return next(((key, placed) for key, placed in given if placed and placed.value is not None), None)


def _duration(train: Placed) -> Iterator[Fault]:
    """How long: given, and longer than the warm-up, where the rate rises in it; a phase has one batch size too."""
    if not _first(train, DURATION):
        choices = ", ".join(f"train.{key}" for key in DURATION)
        yield Fault(train.place, "train", f"how long is missing; give one of {choices}")
    phases = train.at("phases")
    listed = phases.value if phases and isinstance(phases.value, list) else []
    for number, phase in enumerate(listed):
        yield from _one_of(BATCH, phase, f"train.phases[{number}]")
    warmup, schedule = train.at("warmup"), train.at("schedule")
    if schedule and schedule.value == "inverse_sqrt":  # flat until then, which may be never (T5-7)
        return
    counts = [part.at("steps") for part in (listed or [train])]
    steps = [count.value for count in counts if count and type(count.value) is int]
    known = warmup and type(warmup.value) in (int, float) and steps and len(steps) == len(counts)
    if warmup and known and warmup.value >= max(1, sum(steps)):
        message = f"{warmup.value} steps, of {sum(steps)} in all; give fewer, or a fraction below 1"
        yield Fault(warmup.place, "train.warmup", message)


def _ramp(train: Placed) -> Iterator[Fault]:
    """A ramp leads to a given number of rows, which it divides, in a run of one stage with known steps."""
    ramp = train.at("batch_ramp")
    if ramp is None or ramp.value is None:
        return
    if not _first(train, BATCH):
        yield Fault(ramp.place, "train.batch_ramp", "leads to train.batch_size, which is missing; give it too")
    if duration := _first(train, ("minutes", "phases")):
        key, placed = duration
        message = f"not with train.{key} ({placed.place}); give train.steps or train.epochs instead, or no ramp"
        yield Fault(ramp.place, "train.batch_ramp", message)
    start, full = ramp.at("start"), train.at("batch_size")
    if start and full and all(type(part.value) is int and part.value > 0 for part in (start, full)):
        divisors = [rows for rows in range(1, full.value + 1) if full.value % rows == 0]
        if start.value not in divisors:
            nearest = max(rows for rows in divisors if rows < start.value)
            message = f"{start.value} does not divide train.batch_size {full.value} ({full.place}); use {nearest}"
            yield Fault(start.place, "train.batch_ramp.start", message)
