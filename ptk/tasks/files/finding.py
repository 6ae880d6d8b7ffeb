"""Where the files of a task are: in the folder or file that is named, else where people keep them."""

import glob
import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from ptk.data.sources import not_found
from ptk.errors import DataError, RecipeError
from ptk.recipe import TaskSpec
from ptk.tasks.task import Task

SPLITS = ("train", "validation", "test")


class Found(NamedTuple):
    """The file of each split; none where the task has to come from the hub."""

    files: dict[str, Path]
    """Of questions a path may be a pattern, of several files that are one split."""
    tried: tuple[str, ...]
    """The places that were looked into before."""
    notes: tuple[str, ...] = ()


def find(task: Task, spec: TaskSpec) -> Found:
    """The files of a task: those that ``spec`` names, in ``spec.data``, else in the usual places.

    Raises DataError for a path that is not there or holds no file of the task, RecipeError for a path beside a task
    that reads none.
    """
    if task.builtin:
        if key := next((key for key in ("data", *SPLITS) if getattr(spec, key) is not None), None):
            raise RecipeError(f"task.{key}: {task.name} reads no files, it is part of ptk; leave {key} out")
        return Found({}, ())
    named = named_files(spec)
    if spec.data is not None:
        found = at(task, Path(spec.data).expanduser())
        return found._replace(files=found.files | named)
    if named:
        return Found(named, ())
    tried: list[str] = []
    for said, place in places(task, spec.name or task.name):
        files = files_in(task, place) if place and place.is_dir() else {}
        if files:
            return Found(files, tuple(tried), (f"{task.name}: found in {place}",))
        tried.append(f"{said} ({'no file of the task' if place and place.is_dir() else 'not there'})")
    return Found({}, tuple(tried))


def several(path: Path) -> list[Path]:
    """The files that a pattern such as ``parts/*.json`` means; none where ``path`` is a file or no pattern."""
    if path.is_file() or not glob.has_magic(str(path)):
        return []
    return [found for name in sorted(glob.glob(str(path))) if (found := Path(name)).is_file()]


def named_files(spec: TaskSpec) -> dict[str, Path]:
    """``task.train`` and its like. Raises DataError for what is not there."""
    named = {split: Path(path).expanduser() for split in SPLITS if (path := getattr(spec, split)) is not None}
    for split, path in named.items():
        if not path.is_file() and not several(path):
            raise DataError(f"task.{split}: {not_found(str(path))}; give the path of a file")
    return named


def places(task: Task, called: str) -> Iterator[tuple[str, Path | None]]:
    """(how it is said, folder) of every place where the files of a task, ``called`` so, are sought."""
    root = os.environ.get("PTK_DATA")
    yield f"$PTK_DATA/{called}", Path(root, called) if root else None
    yield f"./data/{called}", Path("data", called)
    if task.recipe.endswith("/glue"):
        yield "./glue_data", Path("glue_data")


def at(task: Task, path: Path) -> Found:
    """The files of a task in a folder, or beside a file. A file of no known name is the only labelled one."""
    if path.is_dir():
        files = files_in(task, path)
        if not files:
            raise nothing_in(task, path)
        return Found(files, ())
    if several(path):
        return Found({"train": path}, ())
    if not path.is_file():
        raise DataError(f"{not_found(str(path))}; give --data the folder or file of {task.name}")
    files = files_in(task, path.parent)
    if any(path.resolve() == file.resolve() for file in files.values()):
        return Found(files, (), beside(task, path, files))
    return Found({"train": path}, (), (f"{path}: not a name of {task.name}'s own files, so it is taken for train",))


def beside(task: Task, path: Path, files: dict[str, Path]) -> tuple[str, ...]:
    """What is said of the other splits' files, which nobody named."""
    others = [f"{file} ({split})" for split, file in files.items() if file.resolve() != path.resolve()]
    return (f"{path}: {task.name}'s files beside it are taken too: {', '.join(others)}",) if others else ()


def files_in(task: Task, folder: Path) -> dict[str, Path]:
    """Split -> file, in the task's folder where several tasks lie side by side, else in ``folder`` itself."""
    called = {name.casefold() for name in task.folders}
    inner = sorted(entry for entry in folder.iterdir() if entry.name.casefold() in called and entry.is_dir())
    for base in (*inner, folder):
        together = task.kind == "answering"
        found = {split: file for split, patterns in task.files.items() if (file := first(base, patterns, together))}
        if any(split in found for split in SPLITS):
            return found
    return {}


def first(folder: Path, patterns: tuple[str, ...], together: bool = False) -> Path | None:
    """The file of the first pattern that has one; of several, which ``together`` are one split, the pattern.

    Raises DataError where several match otherwise.
    """
    for pattern in patterns:
        above = pattern.startswith("../")
        matches = sorted((folder.resolve().parent if above else folder).glob(pattern.removeprefix("../")))
        if len(matches) > 1 and together:
            return Path(glob.escape(str(folder))) / pattern
        if len(matches) > 1:
            raise DataError(
                f"{folder}: {len(matches)} files {pattern} ({matches[0].name}, {matches[1].name}); name one"
            )
        if matches:
            return matches[0]
    return None


def expected(task: Task) -> str:
    """``train.tsv (train), dev.tsv (validation) in MRPC/``."""
    said = ", ".join(f"{patterns[0]} ({split})" for split, patterns in task.files.items() if split in SPLITS)
    return f"{said}, in it or in {task.folders[0]}/ there" if task.folders else said


def nothing_in(task: Task, folder: Path) -> DataError:
    there = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith((".", "_")))
    wanted = next(iter(task.files.values()), ("train.tsv",))[0]
    near = get_close_matches(Path(wanted).name, there, n=1, cutoff=0.8)
    hint = f"; did you mean task.train={folder / near[0]}?" if near else ""
    holds = ", ".join(there[:8]) or "nothing"
    return DataError(f"{folder}: no file of {task.name}; expected {expected(task)}; found {holds}{hint}")
