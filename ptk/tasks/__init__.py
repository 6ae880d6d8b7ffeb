"""The tasks by name: the ``TASKS`` of every module of this folder, and entry points of the group ``ptk.tasks``."""

import functools
import importlib
import re
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path

from ptk.errors import RecipeError
from ptk.tasks.task import Task

DEFINES = re.compile(r"^TASKS\b", re.MULTILINE)  # the other modules here are shared by all tasks
ALIASES = {"ner": "conll2003", "pos": "ud"}


@functools.cache
def entries() -> dict[str, Task]:
    """Every task by its name, in order. An entry point is a Task, and wins over one of ptk's own.

    Raises whatever importing a plug-in raises.
    """
    files = sorted(file for folder in __path__ for file in Path(folder).glob("*.py"))
    modules = [file.stem for file in files if DEFINES.search(file.read_text(encoding="utf-8"))]
    own = (task for module in modules for task in importlib.import_module(f"{__name__}.{module}").TASKS)
    found = {task.name: task for task in own}
    found |= {point.name: point.load() for point in entry_points(group="ptk.tasks")}
    return dict(sorted(found.items()))


def names() -> list[str]:
    """The words ``task.name`` may be."""
    return sorted({*entries(), *ALIASES})


def find(name: str) -> Task:
    """A task by its name or alias. Raises RecipeError, with the names near to it."""
    known = entries()
    task = known.get(ALIASES.get(name, name))
    if task is None:
        near = get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RecipeError(f"task {name}: no such task{hint} `ptk finetune --task list` prints all of them")
    return task


def listed() -> Iterator[str]:
    """The lines of ``ptk finetune --task list``: name, kind, and what it is."""
    aliases = {own: alias for alias, own in ALIASES.items()}
    called = {name: f"{name} ({aliases[name]})" if name in aliases else name for name in entries()}
    width = max(len(name) for name in called.values())
    for name, task in entries().items():
        yield f"{called[name]:{width}}  {task.kind:15}  {task.about}"
