"""The objectives by name: a module of this folder with an ``OBJECTIVE``, or an entry point of ``ptk.objectives``."""

import functools
import importlib
import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

DEFINES = re.compile(r"^OBJECTIVE\b", re.MULTILINE)  # the other modules here are shared by those


@functools.cache
def plugins() -> dict[str, EntryPoint]:
    """The objectives of other packages."""
    return {point.name: point for point in entry_points(group="ptk.objectives")}


def names() -> list[str]:
    """The words ``objective.name`` may be. Imports none of them."""
    files = (file for folder in __path__ for file in Path(folder).glob("*.py"))
    modules = (file.stem for file in files if DEFINES.search(file.read_text(encoding="utf-8")))
    return sorted({*modules, *plugins()})


def find(name: str) -> type:
    """The class of an objective of ``names()``. Raises whatever importing a plug-in raises."""
    return plugins()[name].load() if name in plugins() else importlib.import_module(f"{__name__}.{name}").OBJECTIVE
