"""A recipe's task, made ready: found, read, labelled, divided; then tokenized into stores."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptk import files, tasks
from ptk.data.store import Store
from ptk.data.tokenizer import Tokenizer
from ptk.errors import DataError, RecipeError
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
    task, found = found_of(spec, say)
    for note in found.notes:
        say(note)
    if task.builtin:
        splits = builtin(task)
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
    if spec.both_orders and "train" in splits:
        splits["train"] = in_both_orders(task, splits["train"], say)
    check(task, splits, say)
    names = next(iter(splits.values())).names
    if names:
        more = f" and {len(names) - TOLD:,} more" if len(names) > TOLD else ""
        say(f"{len(names):,} labels: {', '.join(names[:TOLD])}{more}")
    return TaskData(task, names, splits)


def read_split(spec: TaskSpec, split: str, say: Say, trained: TaskSpec | None = None) -> tuple[Task, Examples]:
    """The examples of one split, to be scored: those of its file, or of the single file that ``spec.data`` is.

    ``trained``: the task of the model's run. Of a file that this run divided only the part is taken that it held out.
    Raises what ``read`` raises, RecipeError for a split that the task has not, DataError for one that is not there.
    """
    task, found = to_score(spec, split, say, trained)
    if task.builtin:
        splits = builtin(task)
        check_split(task, split, splits, splits)
        return task, splits[split]
    there = origins(task, found)
    whole = divided(trained, split, there)
    check_split(task, split, there or task.files, [*there, *([split] if whole or not there else [])])
    wanted = whole or split
    raws = raws_of(task, spec, found, say, wanted if are_fixed(task, spec) else None)
    check_split(task, split, raws, [split] if wanted in raws else raws)
    task, labels = with_labels(task, spec, raws)
    examples = labelled(task, raws[wanted], labels)
    if whole is not None and trained is not None:
        held = dividing.held_out(examples, trained.held_out)
        mine = ~held if split == "train" else held
        say(f"{split}: {mine.sum():,} of {len(mine):,} examples, as the model's run divided its file")
        examples = dividing.part(examples, mine)
    say(f"{split}: {len(examples):,} examples{'' if examples.labelled else ' without labels'}, {examples.path}")
    return task, examples


def to_score(spec: TaskSpec, split: str, say: Say, trained: TaskSpec | None) -> tuple[Task, finding.Found]:
    """The task, and its files; of a single file, unless the model's run had it, that one as the split."""
    path = Path(spec.data or "").expanduser()
    alone = (
        spec.data is not None
        and (path.is_file() or bool(finding.several(path)))
        and (trained is None or trained.data != spec.data)
    )
    if alone:
        task = task_of(replace(spec, train=None, validation=None, test=None), say)
        if not task.builtin:
            return task, finding.Found({split: path}, ())
    task, found = found_of(spec, say)
    for note in found.notes:
        say(note)
    return task, found


def origins(task: Task, found: finding.Found) -> dict[str, str]:
    """Split -> where it is from, on this machine or on the hub."""
    if found.files:
        return {split: str(path.resolve()) for split, path in found.files.items()}
    return (
        {split: f"{task.hub.path} {task.hub.config} {theirs}" for split, theirs in task.hub.splits.items()}
        if task.hub
        else {}
    )


def divided(trained: TaskSpec | None, split: str, there: Mapping[str, str]) -> str | None:
    """The split of ``there`` that is the file which a run on ``trained`` divided, where it is the one wanted or
    stands for it; else None."""
    if trained is None or split not in (*there, "train", "validation"):
        return None
    try:
        theirs = origins(*found_of(trained, lambda _: None))
    except DataError:  # its files are gone, and the ones to be scored are others
        return None
    both = [theirs[name] for name in ("train", "validation") if name in theirs]
    if len(both) != 1 or there.get(split, both[0]) != both[0]:
        return None
    return next((name for name, origin in there.items() if origin == both[0]), None)


def check_split(task: Task, split: str, there: Iterable[str], taken: Iterable[str]) -> None:
    """Raises RecipeError for a split that no task of this layout has, DataError for one that is not ``taken``."""
    known = dict.fromkeys([*task.files, *(task.hub.splits if task.hub else ()), *finding.SPLITS])
    if split not in known:
        raise RecipeError(f"--split {split}: {task.name} has {', '.join(known)}; name one of them")
    if split not in taken:
        said = ", ".join(there)
        raise DataError(f"{task.name}: no {split} split; there are {said}: --split says which, or name a file")


def are_fixed(task: Task, spec: TaskSpec) -> bool:
    """Whether the labels are known before the files are read."""
    return task.kind in ("regression", "answering") or bool(spec.labels) or (bool(task.labels) and spec.label is None)


def builtin(task: Task) -> dict[str, Examples]:
    return dict(importlib.import_module(f"ptk.tasks.{task.builtin}").examples())


def found_of(spec: TaskSpec, say: Say) -> tuple[Task, finding.Found]:
    """The task, and where its files are."""
    if spec.name is None:
        return own.task(spec, say)
    task = named(spec)
    return task, finding.find(task, spec)


def task_of(spec: TaskSpec, say: Say) -> Task:
    """The task alone, of the user's own files as they show it."""
    return named(spec) if spec.name is not None else own.task(spec, say)[0]


def named(spec: TaskSpec) -> Task:
    """A task by its name, with the columns that the recipe names in place of its own."""
    task = tasks.find(spec.name or "")
    check_columns(task, spec)
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


def check_columns(task: Task, spec: TaskSpec) -> None:
    """Raises RecipeError for a column of questions, whose keys are those of the SQuAD format."""
    given = next((key for key in ("text", "pair", "label", "choices", "labels") if getattr(spec, key)), None)
    if task.kind == "answering" and given is not None:
        raise RecipeError(f"task.{given}: {task.name} reads the SQuAD format, whose keys are fixed; leave {given} out")


def raws_of(task: Task, spec: TaskSpec, found: finding.Found, say: Say, only: str | None = None) -> dict[str, Raw]:
    """What the file of each split holds, or that of the hub, or of one split; what was left out or changed is said."""
    if found.files:
        wanted = {split: path for split, path in found.files.items() if only in (None, split)}
        raws = {split: read_file(task, path, spec.encoding, needs_labels(split)) for split, path in wanted.items()}
    else:
        if task.hub is not None and only is not None:
            one = {split: theirs for split, theirs in task.hub.splits.items() if split == only}
            task = replace(task, hub=replace(task.hub, splits=one))
        raws = hub.read(task, found.tried, say)
    for raw in raws.values():
        for reason, count in raw.notes.items():
            if count:
                say(f"{raw.path}: {count:,} {reason}")
    return raws


def with_labels(task: Task, spec: TaskSpec, raws: Mapping[str, Raw]) -> tuple[Task, Labels]:
    """The set of labels; that of the files where the recipe names a column that holds others than the task's."""
    if spec.labels and task.labels:
        wanted = tuple(task.label(label) or label for label in spec.labels)
        if not set(wanted) <= set(task.names):
            task = replace(task, labels={}, positive=None)
        spec = replace(spec, labels=wanted)
    labels = labels_of(task, spec.labels, raws.values())
    if spec.name is not None and spec.label is not None and task.labels and not spec.labels:
        values = {value for raw in raws.values() for value in raw.values or ()}
        if any(labels.id_of(value) is None for value in values):
            task = replace(task, labels={}, positive=None)
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
    say(f"no {missing} file: {whole.path} is divided by hash of the {whole.divided_by[0]}, {shares}")
    return {"train": dividing.part(whole, ~held), "validation": dividing.part(whole, held), **splits}


def draw(train: Examples, wanted: float, seed: int, say: Say) -> Examples:
    chosen = dividing.drawn(train, wanted, seed)
    say(f"train: {chosen.sum():,} of {len(train):,} examples drawn (task.examples={wanted:g}, seed {seed})")
    return dividing.part(train, chosen)


def in_both_orders(task: Task, train: Examples, say: Say) -> Examples:
    """Each pair and, behind all of them, each with its texts swapped (ELE-12). Raises RecipeError for other tasks."""
    if task.kind not in ("classification", "regression", "multi_label") or {2} != {len(each) for each in train.texts}:
        raise RecipeError(f"task.both_orders: {task.name} does not consist of pairs of texts; leave it out")
    say(f"train: {2 * len(train):,} examples, each pair in both orders (task.both_orders)")
    swapped = [(second, first) for first, second in train.texts]
    twice = {name: np.concatenate([getattr(train, name)] * 2) for name in ("labels", "lines")}
    return replace(train, texts=[*train.texts, *swapped], **twice)


def check(task: Task, splits: Mapping[str, Examples], say: Say) -> None:
    """Raises DataError where there is nothing to learn; says which texts are in two splits (D12)."""
    train = splits.get("train")
    if train is None:
        there = ", ".join(f"{examples.path} ({split})" for split, examples in splits.items())
        never = task.files and "train" not in task.files  # GLUE's diagnostic set is answered by a model of another task
        remedy = task.about if never else "name labelled examples with task.train"
        raise DataError(f"{task.name}: nothing to train on, only {there}; {remedy}")
    questions = task.kind == "answering"
    if not train.labelled:
        said = "answers to train on; give a file that has them"
        raise DataError(
            f"{train.path}: no {said if questions else 'labels to train on; name their column with task.label'}"
        )
    held = splits.get("validation")
    if held is not None and not held.labelled:
        wanted = "answers" if questions else "labels"
        raise DataError(f"{held.path}: no {wanted} to validate by; name a validation file that has them, or it as test")
    known = train.labels[train.has_label]
    if task.kind != "multi_label" and len(np.unique(known)) == 1:
        only = f"have the label `{train.names[int(known[0])]}`" if train.names else f"have the score {known.flat[0]:g}"
        only = "are without an answer" if questions else only
        raise DataError(f"{train.path}: all {len(train):,} examples {only}; nothing can be learned from them")
    for name, examples in splits.items():
        both = 0
        if name != "train" and examples.known_by[0] == train.known_by[0]:
            both = int(np.isin(examples.known_by[1], train.known_by[1]).sum())
        if both:
            what = f"questions of {name} are about articles that are" if questions else f"texts of {name} are"
            say(f"warning: {both:,} of the {len(examples):,} {what} in train too")


def stores(data: TaskData, tokenizer: Tokenizer) -> dict[str, Store]:
    """The store of every split, from the cache or built now."""
    return {name: store.tokenized(examples, tokenizer) for name, examples in data.splits.items()}
