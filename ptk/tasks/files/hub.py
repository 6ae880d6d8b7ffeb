"""A task as a dataset of the Hugging Face hub, or of the hub's cache; ``datasets`` is imported when used."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptk.errors import DataError
from ptk.tasks.files import finding, squad
from ptk.tasks.files.faults import Faults
from ptk.tasks.files.raw import Raw
from ptk.tasks.files.reading import read_rows, without_labels
from ptk.tasks.files.tables import Table
from ptk.tasks.task import Hub, Task

PARQUET = "refs/convert/parquet"


def read(task: Task, tried: Sequence[str], say: Callable[[str], None]) -> dict[str, Raw]:
    """Every split of the task; where it is from is said.

    Raises DataError, with every place that was tried before this one and the files expected there.
    """
    if task.hub is None:
        raise not_found(task, tried)
    called = f"the hub's {task.hub.path}{f' ({task.hub.config})' if task.hub.config else ''}"
    cached = cache(task.hub)
    if offline() and not cached.is_dir():
        raise not_found(task, [*tried, f"the hub's cache ({cached}: not there; no network: HF_HUB_OFFLINE)"])
    say(f"{task.name}: no files on this machine; from {called}{', its cache' if offline() else ''}")
    try:
        dataset = load(task.hub)
    except Exception as error:  # of the hub, the network, or the dataset's files: all mean no examples
        reason = (str(error).splitlines() or [""])[0]
        raise not_found(task, [*tried, f"{called} ({type(error).__name__}: {reason})"]) from error
    return {
        split: raw_of(task, dataset[theirs], split) for split, theirs in task.hub.splits.items() if theirs in dataset
    }


def load(hub: Hub) -> Any:
    """The dataset; of one that is a program, which ``datasets`` runs no more, the hub's own copy in parquet."""
    import datasets

    try:
        return datasets.load_dataset(hub.path, hub.config)
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
    return datasets.load_dataset(hub.path, data_dir=hub.config, revision=PARQUET)


def offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def cache(hub: Hub) -> Path:
    """Where ``datasets`` keeps a dataset that it has fetched."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    root = os.environ.get("HF_DATASETS_CACHE") or Path(home, "datasets")
    return Path(root, re.sub("/", "___", hub.path))


def not_found(task: Task, tried: Sequence[str]) -> DataError:
    return DataError(
        f"{task.name}: not found in {', '.join(tried)}; expected {finding.expected(task)}; "
        "give the folder or file with --data"
    )


def raw_of(task: Task, rows: Any, split: str) -> Raw:
    """One split's examples; label ids of the hub become what the task's own files say."""
    hub = task.hub
    assert hub is not None
    called = f"{hub.path} {split}"
    if task.kind == "answering":
        unanswerable, faults = task.rule == "squad2", Faults()
        asked = squad.of_rows(called, enumerate(rows, start=1), unanswerable, faults)
        return squad.collected(called, asked, unanswerable, faults)
    column = str(hub.columns.label)
    feature = rows.features.get(column)
    table = Table(called, tuple(rows.features), numbered(rows, column, feature, task), Faults())
    return without_labels(read_rows(task, hub.columns, table, needs_labels=False), task)


def numbered(rows: Any, column: str, feature: Any, task: Task) -> Iterator[tuple[int, Mapping[str, Any]]]:
    feature = getattr(feature, "feature", feature)  # of a list of labels, that of one
    names = getattr(feature, "names", ())
    for number, row in enumerate(rows, start=1):
        value = row.get(column)
        if isinstance(value, list):
            row = row | {column: [value_of(item, names, task) for item in value]}
        elif column in row:
            row = row | {column: value_of(value, names, task)}
        yield number, row


def value_of(value: Any, names: Sequence[str], task: Task) -> Any:
    """What the task's files call a label of the hub; scores, texts and what is unknown stay as they are."""
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value < 0:
        return task.no_label[0] if task.no_label else ""
    name = names[value] if names else str(value)
    if name in task.names:
        return task.values[task.names.index(name)]
    return task.values[value] if value < len(task.values) else name
