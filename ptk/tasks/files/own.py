"""Files of your own as a task: kind and columns as the recipe says, else guessed from the files, and said."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ptk.data.sources import not_found
from ptk.errors import DataError, RecipeError
from ptk.recipe import TaskSpec
from ptk.tasks.files import finding, guessing, squad
from ptk.tasks.files.finding import Found, named_files
from ptk.tasks.files.raw import Raw
from ptk.tasks.files.reading import read_file
from ptk.tasks.files.tables import EXTENSIONS, Table, decoded, format_of, open_table
from ptk.tasks.task import Columns, Format, Kind, Task

STEMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
SAMPLE = 100  # rows that columns are guessed from
METRICS: dict[Kind, tuple[str, ...]] = {
    "classification": ("accuracy",),
    "multi_label": ("micro_f1",),
    "regression": ("pearson", "spearman"),
    "tagging": ("accuracy",),
    "multiple_choice": ("accuracy",),
    "answering": ("f1",),
}
RECIPES: dict[Kind, str] = {"tagging": "finetune/pos", "multiple_choice": "finetune/swag"}

Say = Callable[[str], None]


def task(spec: TaskSpec, say: Say) -> tuple[Task, Found]:
    """The task that the files are of, and the file of each split.

    Raises RecipeError where the recipe names no file, DataError for files that are not there or cannot be guessed.
    """
    found = files_of(spec)
    path = found.files.get("train") or next(iter(found.files.values()))
    form = format_of(path, None) or sniffed(path, spec)
    if spec.kind == "answering" or (spec.kind is None and are_questions(path, form, spec)):
        return answering(found, spec, say), found
    if form in ("columns", "conllu") or (form == "tsv" and spec.kind == "tagging"):
        return tagging(path, of_lines(path, form, spec), spec, say), found
    table = open_table(path, form, spec.encoding, lambda cells: guessing.has_header(cells, spec))
    sample = [row for _, row in islice(table.rows, SAMPLE)]
    kind = spec.kind or shape(table, sample, spec)
    if kind == "tagging":
        return tagging(path, own(spec, path, kind, guessing.words_and_tags(table, spec), form), spec, say), found
    if kind == "multiple_choice":
        columns = guessing.before_and_choices(table, spec)
        return multiple_choice(path, own(spec, path, kind, columns, form), spec, say), found
    columns = guessing.text_and_label(table, sample, spec)
    return classification(path, own(spec, path, kind or "classification", columns, form), spec, say), found


def own(spec: TaskSpec, path: Path, kind: Kind, columns: Columns, form: Format) -> Task:
    """A task of that kind, called as its file or folder is."""
    name = re.sub(r"[^\w.-]+", "-", Path(spec.data or path).stem).strip("-.") or "task"
    recipe = RECIPES.get(kind, "finetune/glue")
    about = "files of your own"
    return Task(name=name, about=about, kind=kind, columns=columns, format=form, metrics=METRICS[kind], recipe=recipe)


def shape(table: Table, sample: list, spec: TaskSpec) -> Kind | None:
    """Tagging and multiple choice show in the columns; None of other tables."""
    lists = not table.delimited and any(isinstance(row.get(name), list) for row in sample for name in guessing.WORDS)
    if lists:
        return "tagging"
    return "multiple_choice" if spec.choices or guessing.choice_columns(table) else None


def files_of(spec: TaskSpec) -> Found:
    """``task.data``, a file or a folder with train, validation (or dev) and test, and the files named one by one."""
    named = named_files(spec)
    if spec.data is None and not named:
        raise RecipeError("task: neither name nor data; give --task NAME, or --data FILE for files of your own")
    if spec.data is None:
        return Found(named, ())
    path = Path(spec.data).expanduser()
    if path.is_file() or finding.several(path):
        return Found({"train": path} | named, ())
    if not path.is_dir():
        raise DataError(f"task.data: {not_found(spec.data)}; give a file or folder")
    return Found(in_folder(path) | named, ())


def in_folder(folder: Path) -> dict[str, Path]:
    """Split -> file, by the names of the files."""
    found: dict[str, Path] = {}
    known = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in (*EXTENSIONS, ".txt")]
    for split, stems in STEMS.items():
        matches = [path for path in known if path.name.split(".")[0].casefold() in stems]
        if len(matches) > 1:
            both = f"{matches[0].name} and {matches[1].name} are both {split}"
            raise DataError(f"{folder}: {both}; name one of them with task.{split}")
        found |= {split: matches[0]} if matches else {}
    if not found:
        there = ", ".join(path.name for path in known[:8]) or "nothing of a known format"
        remedy = "name the files with task.train, task.validation and task.test"
        raise DataError(f"{folder}: no train file; found {there}; {remedy}")
    return found


def sniffed(path: Path, spec: TaskSpec) -> Format:
    """The format of a file whose extension does not say: a word a line with blank lines between, or a tsv."""
    if path.suffix.lower() not in (".txt", ""):
        known = ", ".join(EXTENSIONS)
        raise DataError(f"{path}: {path.suffix} is not read; give {known}, or .txt with tabs or a word a line")
    lines = decoded(str(path), spec.encoding).split("\n")[:1000]
    cells = [len(line.split()) for line in lines if line.strip()]
    blank_between = any(not line.strip() for line in lines[:-1])
    return "columns" if spec.kind == "tagging" or (blank_between and max(cells, default=0) <= 5) else "tsv"


def classification(path: Path, task: Task, spec: TaskSpec, say: Say) -> Task:
    """One text or two and a label; labels that are numbers of many values are scores."""
    if spec.text is None or spec.label is None:
        what = ("text in", "second text in")
        texts = ", ".join(f"{said} `{name}`" for said, name in zip(what, task.columns.text, strict=False))
        said = f"{texts}, label in `{task.columns.label}`"
        say(f"{path}: {said} (guessed; task.text, task.pair and task.label say otherwise)")
    if spec.kind is not None:
        return task
    kind = "regression" if guessing.are_scores(labels_in(path, task, spec).values or []) else "classification"
    say(f"{path}: {kind}, by the labels (guessed; task.kind says otherwise)")
    return replace(task, kind=kind, metrics=METRICS[kind])


def labels_in(path: Path, task: Task, spec: TaskSpec) -> Raw:
    return read_file(task, path, spec.encoding, needs_labels=True)


def multiple_choice(path: Path, task: Task, spec: TaskSpec, say: Say) -> Task:
    """The right choice is counted from 0 or from 1, or has a letter."""
    columns = task.columns
    where = f"text in `{columns.text[0]}`, choices in {', '.join(map(str, columns.choices))}"
    say(f"{path}: multiple choice, {where}, label in `{columns.label}`")
    raw = labels_in(path, task, spec)
    return replace(task, labels=guessing.numbering(set(raw.values or ()), len(raw.texts[0]) - 1))


def are_questions(path: Path, form: Format, spec: TaskSpec) -> bool:
    """Whether the file, or the first of several, is in the SQuAD format, or has rows of questions as the hub has."""
    path = next(iter(finding.several(path)), path)
    text = decoded(str(path), spec.encoding) if form == "json" else ""
    if squad.is_squad(text):
        return True
    if form not in ("jsonl", "parquet") and not text.lstrip().startswith("["):
        return False
    table = open_table(path, form, spec.encoding, lambda _: True)
    return squad.are_rows(table.names or (), [row for _, row in islice(table.rows, SAMPLE)])


def answering(found: Found, spec: TaskSpec, say: Say) -> Task:
    """Questions about contexts; scored by the rules of SQuAD 2.0 where some of them are without an answer."""
    raws = [squad.read(path, spec.encoding, unanswerable=True) for path in found.files.values()]
    without = sum(span == (-1, -1) for raw in raws for span in raw.spans)
    path = next(iter(found.files.values()))
    rule = "squad2" if without else "squad"
    many = f"{without:,} of {sum(map(len, raws)):,} without an answer"
    say(f"{path}: questions in the SQuAD format, {many}: scored by the rules of {rule}")
    columns = Columns(("question", "context"), "answers")
    return replace(own(spec, path, "answering", columns, "squad"), rule=rule, recipe=f"finetune/{rule}")


def of_lines(path: Path, form: Format, spec: TaskSpec) -> Task:
    """A tagged file without a header: of CoNLL-U the word is FORM, else it comes first; the tag is UPOS, or last."""
    if form != "conllu":
        form = "characters" if of_characters(path, spec) else "columns"
    word, tag = ("FORM", "UPOS") if form == "conllu" else (0, -1)
    word = word if spec.text is None else guessing.column(spec.text)
    tag = tag if spec.label is None else guessing.column(spec.label)
    return own(spec, path, "tagging", Columns((word,), tag), form)


def of_characters(path: Path, spec: TaskSpec) -> bool:
    """Whether each line begins with one character and a tab, and some of the characters are blanks."""
    lines = decoded(str(path), spec.encoding).split("\n")[:1000]
    firsts = [line.split("\t")[0] for line in lines if line.strip() and not line.startswith("## ")]
    return all(len(first) == 1 for first in firsts) and " " in firsts


def tagging(path: Path, task: Task, spec: TaskSpec, say: Say) -> Task:
    """Words and their tags; tags that are all O, B-X and I-X are entities."""
    tags = {value for value in labels_in(path, task, spec).values or () if value}
    entities = guessing.are_entities(tags)
    say(f"{path}: tags of {'entities' if entities else 'words'}, by the tags")
    return replace(task, metrics=("entity_f1",), recipe="finetune/ner") if entities else task
