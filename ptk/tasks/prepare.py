"""A recipe's task, made ready: found, read, labelled, divided; then tokenized into stores."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptk import files, tasks
from ptk.data.store import Store
from ptk.data.tokenizer import Tokenizer
from ptk.errors import DataError
from ptk.recipe import TaskSpec
from ptk.tasks import store
from ptk.tasks.examples import Examples
from ptk.tasks.files import dividing, finding, guessing, hub, own
from ptk.tasks.files.labelling import Labels, labelled, labels_of
from ptk.tasks.files.raw import Raw
from ptk.tasks.files.reading import read_file
from ptk.tasks.task import Columns, Task

TOLD = 20  # labels that are told by name
Say = Callable[[str], None]


@dataclass(frozen=True)
class TaskData:
    """The labelled examples of a task, split by split."""

    task: Task
    names: tuple[str, ...]
    """The labels by id; () of regression."""
    splits: dict[str, Examples]

    @property
    def fingerprint(self) -> str:
        """Of the texts and labels of every split."""
        return files.fingerprint("task", {name: examples.fingerprint for name, examples in self.splits.items()})


def read(spec: TaskSpec, seed: int, say: Say) -> TaskData:
    """The task of a recipe; what was found, guessed, converted, left out and divided is said, a line each.

    Raises RecipeError for an unknown task, DataError for files that are not there or hold what they should not.
    """
    if spec.name is None:
        task, found = own.task(spec, say)
    else:
        task = named(spec)
        found = finding.Found({}, ()) if task.builtin else finding.find(task, spec)
    for note in found.notes:
        say(note)
    if task.builtin:
        splits = dict(importlib.import_module(f"ptk.tasks.{task.builtin}").examples())
    else:
        raws = raws_of(task, spec, found, say)
        task, labels = with_labels(task, spec, raws)
        splits = {split: labelled(task, raw, labels) for split, raw in raws.items()}
    say_unseen(splits, say)
    splits = with_validation(splits, spec, say)
    for name, examples in splits.items():
        said = "" if examples.labelled else " without labels"
        say(f"{name}: {len(examples):,} examples{said}, {examples.path}")
    if spec.examples is not None and "train" in splits:
        splits["train"] = draw(splits["train"], spec.examples, seed, say)
    check(task, splits, say)
    names = next(iter(splits.values())).names
    if names:
        more = f" and {len(names) - TOLD:,} more" if len(names) > TOLD else ""
        say(f"{len(names):,} labels: {', '.join(names[:TOLD])}{more}")
    return TaskData(task, names, splits)


def read_split(spec: TaskSpec, split: str, say: Say) -> tuple[Task, Examples]:
    """The examples of one split, to be scored: of a single file all of them, of a folder as fine-tuning divides it.

    Raises what ``read`` raises, and DataError for a split that is not there.
    """
    single = Path(spec.data or "").expanduser()
    if spec.data is not None and single.is_file():
        alone = replace(spec, data=None, **{split: spec.data})
        task, found = (named(alone), finding.find(named(alone), alone)) if spec.name else own.task(alone, say)
        raws = raws_of(task, alone, found, say)
        task, labels = with_labels(task, alone, raws)
        examples = labelled(task, raws[split], labels)
        say(f"{split}: {len(examples):,} examples{'' if examples.labelled else ' without labels'}, {examples.path}")
        return task, examples
    data = read(spec, 0, say)
    if split not in data.splits:
        there = ", ".join(data.splits)
        raise DataError(f"{data.task.name}: no {split} split; there are {there}: --split says which, or name a file")
    return data.task, data.splits[split]


def task_of(spec: TaskSpec, say: Say) -> Task:
    """The task alone, of the user's own files as they show it."""
    return named(spec) if spec.name is not None else own.task(spec, say)[0]


def named(spec: TaskSpec) -> Task:
    """A task by its name, with the columns that the recipe names in place of its own."""
    task = tasks.find(spec.name or "")
    own_text, *own_pair = task.columns.text
    text = own_text if spec.text is None else guessing.column(spec.text)
    pair = own_pair if spec.pair is None else [guessing.column(spec.pair)]
    label = task.columns.label if spec.label is None else guessing.column(spec.label)
    choices = tuple(map(guessing.column, spec.choices)) or task.columns.choices
    given = Columns((text, *pair), label, choices, task.columns.start)
    if given != task.columns:
        task = replace(task, columns=given, numbers=None)
    if spec.kind not in (None, task.kind):
        task = replace(task, kind=spec.kind, metrics=own.METRICS[spec.kind])
    return task


def raws_of(task: Task, spec: TaskSpec, found: finding.Found, say: Say) -> dict[str, Raw]:
    """What the file of each split holds, or that of the hub; what was left out or changed is said."""
    if found.files:
        raws = {split: read_file(task, path, spec.encoding, needs_labels(split)) for split, path in found.files.items()}
    else:
        raws = hub.read(task, found.tried, say)
    for raw in raws.values():
        for reason, count in raw.notes.items():
            if count:
                say(f"{raw.path}: {count:,} {reason}")
    return raws


def with_labels(task: Task, spec: TaskSpec, raws: Mapping[str, Raw]) -> tuple[Task, Labels]:
    """The set of labels; that of the files where the recipe names a column that holds others than the task's."""
    labels = labels_of(task, spec.labels, raws.values())
    if spec.name is not None and spec.label is not None and task.labels and not spec.labels:
        values = {value for raw in raws.values() for value in raw.values or ()}
        if any(labels.id_of(value) is None for value in values):
            task = replace(task, labels={})
            labels = labels_of(task, (), raws.values())
    return task, labels


def needs_labels(split: str) -> bool:
    return split.startswith(("train", "validation"))


def say_unseen(splits: Mapping[str, Examples], say: Say) -> None:
    """Say which labels of a split are not in train, and so cannot be learned (D11)."""
    if "train" not in splits or not splits["train"].names:
        return
    seen = present(splits["train"])
    for examples in splits.values():
        unseen = np.array(examples.names)[present(examples) & ~seen].tolist()
        if unseen:
            say(f"warning: {examples.path}: {', '.join(unseen[:TOLD])}: in no example of train")


def present(examples: Examples) -> np.ndarray:
    """bool [L]: which labels some example has."""
    if examples.labels.ndim == 2:
        return (examples.labels == 1).any(axis=0)
    return np.bincount(examples.labels[examples.has_label], minlength=len(examples.names)) > 0


def with_validation(splits: dict[str, Examples], spec: TaskSpec, say: Say) -> dict[str, Examples]:
    """Divide the training file, or the only one with labels, where there is no other to train or validate on."""
    name = next((name for name in ("train", "validation") if name in splits and splits[name].labelled), None)
    if name is None or {"train", "validation"} <= splits.keys():
        return splits
    whole = splits.pop(name)
    held = dividing.held_out(whole, spec.held_out)
    if held.all() or not held.any():
        raise DataError(f"{whole.path}: {len(whole)} examples are too few to validate on some; name a validation file")
    missing = "validation" if name == "train" else "train"
    shares = f"{held.sum():,} of {len(held):,} for validation"
    say(f"no {missing} file: {whole.path} is divided by hash of the text, {shares}")
    return {"train": dividing.part(whole, ~held), "validation": dividing.part(whole, held), **splits}


def draw(train: Examples, wanted: float, seed: int, say: Say) -> Examples:
    chosen = dividing.drawn(train, wanted, seed)
    say(f"train: {chosen.sum():,} of {len(train):,} examples drawn (task.examples={wanted:g}, seed {seed})")
    return dividing.part(train, chosen)


def check(task: Task, splits: Mapping[str, Examples], say: Say) -> None:
    """Raises DataError where there is nothing to learn; says which texts are in two splits (D12)."""
    train = splits.get("train")
    if train is None:
        return
    if not train.labelled:
        raise DataError(f"{train.path}: no labels to train on; name their column with task.label")
    known = train.labels[train.has_label]
    if task.kind != "multi_label" and len(np.unique(known)) == 1:
        only = f"label `{train.names[int(known[0])]}`" if train.names else f"score {known[0]:g}"
        raise DataError(f"{train.path}: all {len(train):,} examples have the {only}; nothing can be learned from them")
    for name, examples in splits.items():
        both = int(np.isin(examples.hashes, train.hashes).sum()) if name != "train" else 0
        if both:
            say(f"warning: {both:,} of the {len(examples):,} texts of {name} are in train too")


def stores(data: TaskData, tokenizer: Tokenizer) -> dict[str, Store]:
    """The store of every split, from the cache or built now."""
    return {name: store.tokenized(examples, tokenizer) for name, examples in data.splits.items()}
