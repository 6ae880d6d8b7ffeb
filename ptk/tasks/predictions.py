"""Official prediction files: written from what a model says, and anybody's read back to be scored.

==================== ===============================================================================================
GLUE, test           ``index<TAB>prediction`` in the task's own file name; labels as in the task's files: strings for
                     MNLI, QNLI, RTE and AX, else 0 and 1; STS-B with three decimals, clipped to [0, 5] (GLUE-3, FT-5)
tagging              the input's own file, its lines as they are, the prediction as one more column at the end of each
                     word's
everything else      JSON lines in the order of the examples: ``{"label", "probability"}`` of classification,
                     ``{"score"}`` of regression, ``{"labels", "probabilities"}`` of multi-label, ``{"labels"}`` of
                     tagging whose file has no columns, ``{"choice", "label", "probability"}`` of multiple choice: the
                     choice from 0, and what the file calls it
==================== ===============================================================================================
"""

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ptk import files
from ptk.data.decoding import COMPRESSED, find_encoding, open_bytes
from ptk.errors import DataError, RecipeError
from ptk.tasks.examples import Examples
from ptk.tasks.files.tables import format_of, is_table
from ptk.tasks.task import Task

HEADER = "index\tprediction"
SUBMISSION = ("CoLA", "SST-2", "MRPC", "STS-B", "MNLI-m", "MNLI-mm", "QNLI", "QQP", "RTE", "WNLI", "AX")
WNLI_TEST = 146  # examples; the most frequent label of its training and validation examples is 0


def write(
    task: Task,
    split: str,
    examples: Examples,
    predicted: np.ndarray,
    folder: Path,
    probability: np.ndarray | None = None,
) -> Path:
    """Write the predictions of one split into ``folder``; returns the file.

    ``predicted`` is like ``examples.labels``: ids, scores, 0 and 1 [N, L]; of tagging one id for each word.
    ``probability`` [N] is that of each predicted label; of multi-label [N, L], that of every label. Raises DiskError.
    """
    if predicted.shape != examples.labels.shape:
        raise ValueError(f"predictions {predicted.shape} for labels {examples.labels.shape}")
    if split in task.predictions:
        path = folder / task.predictions[split]
        files.write_text(path, "".join(f"{line}\n" for line in _official(task, examples, predicted)))
    elif _in_columns(task, examples):
        path = folder / f"{split}{_suffix(examples.path)}"
        files.write_bytes(path, _with_column(examples, predicted))
    else:
        path = folder / f"{split}.jsonl"
        rows = _rows(task, examples, predicted, probability)
        files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read(task: Task, path: Path, examples: Examples) -> np.ndarray:
    """The predictions in somebody's file, as ``write`` takes them. Each label may go by its name or the file's value.

    Raises DataError, with the line, for what is missing, doubled or no label.
    """
    if path.suffix == ".jsonl":
        return _read_rows(task, path, examples)
    if task.kind == "tagging":
        return _read_column(path, examples)
    return _read_official(task, path, examples)


def glue_zip(folder: Path, out: Path, wnli_majority: bool = False) -> tuple[str, ...]:
    """Zip the prediction files of SUBMISSION that lie in ``folder``; returns those that do not, such as ``RTE.tsv``.

    The site takes a submission with all eleven only (GLUE-4). ``wnli_majority`` answers WNLI, where its file
    is not there, with its most frequent label. Equal files give an equal zip.
    """
    found = {name: folder / name for name in (f"{each}.tsv" for each in SUBMISSION)}
    content = {name: path.read_text(encoding="utf-8") for name, path in found.items() if path.exists()}
    if wnli_majority:
        content.setdefault("WNLI.tsv", "".join(f"{line}\n" for line in _indexed(["0"] * WNLI_TEST)))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in sorted(content):
            file.writestr(zipfile.ZipInfo(name), content[name], zipfile.ZIP_DEFLATED)
    files.write_bytes(out, packed.getvalue())
    return tuple(name for name in found if name not in content)


def over_blanks(examples: Examples, predicted: np.ndarray) -> np.ndarray:
    """Tagging of characters: a blank is inside an entity only when the character after it goes on with that entity.

    Tokenizers give blanks no token, so that a model says nothing of them: an entity would run on over the blank that
    follows it.
    """
    filled = predicted.copy()
    if "O" not in examples.names:
        return filled
    outside = examples.names.index("O")
    start = 0
    for texts in examples.texts:
        said = predicted[start : start + len(texts)]
        before = outside
        for at, after in enumerate(_ahead(texts, said, outside), start):
            if after is not None:
                filled[at] = after if _goes_on(examples.names[before], examples.names[after]) else outside
            before = filled[at]
        start += len(texts)
    return filled


def _ahead(texts: Sequence[str], said: np.ndarray, outside: int) -> list[int | None]:
    """Of each blank the label of the next character that is none; None of other characters."""
    ahead: list[int | None] = []
    following = outside
    for text, label in zip(reversed(texts), reversed(said.tolist()), strict=True):
        ahead.append(None if text.strip() else following)
        following = label if text.strip() else following
    return ahead[::-1]


def _goes_on(before: str, after: str) -> bool:
    return after.startswith("I-") and before[1:] == after[1:]


def _official(task: Task, examples: Examples, predicted: np.ndarray) -> Iterator[str]:
    if task.kind == "regression":
        return _indexed([f"{score:.3f}" for score in np.clip(predicted, 0, 5)])
    values = _values(task, examples)
    return _indexed([values[label] for label in predicted])


def _indexed(values: Sequence[str]) -> Iterator[str]:
    yield HEADER
    for index, value in enumerate(values):
        yield f"{index}\t{value}"


def _values(task: Task, examples: Examples) -> list[str]:
    """By id, what the task's files call each label. Raises RecipeError for a label that is none of the task's."""
    own = dict(zip(task.names, task.values, strict=True))
    if not own:
        return list(examples.names)
    found = [task.label(name) for name in examples.names]
    if None in found:
        wrong = examples.names[found.index(None)]
        raise RecipeError(f"label {wrong}: {task.name} has {', '.join(task.names)}; name the labels so")
    return [own[name] for name in found if name is not None]


def _rows(
    task: Task, examples: Examples, predicted: np.ndarray, probability: np.ndarray | None
) -> Iterator[dict[str, Any]]:
    names = examples.names
    known = [] if probability is None else probability.astype(np.float64).round(6).tolist()
    sure: list[dict[str, Any]] = [{"probability": p} for p in known] if known else [{}] * len(predicted)
    if task.kind == "tagging":
        ends = np.cumsum([0, *map(len, examples.texts)])
        yield from ({"labels": [names[label] for label in predicted[a:b]]} for a, b in pairwise(ends))
    elif task.kind == "multi_label":
        for row, each in zip(predicted, known or [()] * len(predicted), strict=True):
            sure_of = {"probabilities": dict(zip(names, each, strict=True))} if each else {}
            yield {"labels": [names[label] for label in np.flatnonzero(row)], **sure_of}
    elif task.kind == "regression":
        yield from ({"score": round(float(score), 6)} for score in predicted)
    elif task.kind == "multiple_choice":
        values = _values(task, examples)
        for choice, more in zip(predicted, sure, strict=True):
            yield {"choice": int(choice), **({"label": values[choice]} if values else {}), **more}
    else:
        yield from ({"label": names[label], **more} for label, more in zip(predicted, sure, strict=True))


def _in_columns(task: Task, examples: Examples) -> bool:
    path = Path(examples.path)
    return task.kind == "tagging" and path.is_file() and not is_table(format_of(path, task.format))


def _suffix(path: str) -> str:
    """``.conllu`` of ``en.conllu.gz``; ``.txt`` where there is none."""
    suffixes = [suffix for suffix in Path(path).suffixes if suffix not in COMPRESSED]
    return suffixes[-1] if suffixes else ".txt"


def _lines(path: str | Path) -> tuple[list[str], str]:
    """The lines of a file with their line ends but LF, and its encoding; bytes that do not decode survive."""
    encoding = find_encoding(str(path), ("utf-8",))[0]
    with open_bytes(str(path)) as file:
        return file.read().decode(encoding, "surrogateescape").split("\n"), encoding


def _with_column(examples: Examples, predicted: np.ndarray) -> bytes:
    """The input file with the prediction at the end of every word's line, after the separator that the file has."""
    lines, encoding = _lines(examples.path)
    words = (examples.lines - 1).tolist()
    separator = "\t" if any("\t" in lines[at] for at in words) else " "
    labels = over_blanks(examples, predicted) if examples.characters else predicted
    for at, label in zip(words, labels, strict=True):
        text = lines[at].removesuffix("\r")
        lines[at] = text + separator + examples.names[label] + lines[at][len(text) :]
    return "\n".join(lines).encode(encoding, "surrogateescape")


def _read_column(path: Path, examples: Examples) -> np.ndarray:
    lines, _ = _lines(path)
    expected, _ = _lines(examples.path)
    if len(lines) != len(expected):
        raise DataError(
            f"{path}: {len(lines):,} lines, {examples.path} has {len(expected):,}; give that file with a column more, "
            "the prediction"
        )
    ids = {name: label for label, name in enumerate(examples.names)}
    said = ((number, lines[number - 1].split()[-1:] or [""]) for number in examples.lines.tolist())
    return np.array([_id(path, number, value, ids) for number, [value] in said], np.int64)


def _read_official(task: Task, path: Path, examples: Examples) -> np.ndarray:
    """``index<TAB>prediction`` in any order, each index once."""
    rows = [line.removesuffix("\r") for line in _text_lines(path)]
    if not rows or rows[0].split("\t") != HEADER.split("\t"):
        raise DataError(f"{path}:1: the header is {rows[0] if rows else ''!r}, not index<TAB>prediction")
    parse = _parser(task, path, examples)
    found: dict[int, int | float] = {}
    for number, row in enumerate(rows[1:], 2):
        index, _, value = row.partition("\t")
        if not index.isdecimal() or int(index) >= len(examples) or int(index) in found:
            why = (
                "comes twice"
                if index.isdecimal() and int(index) in found
                else f"is not one of 0 to {len(examples) - 1}"
            )
            raise DataError(f"{path}:{number}: index {index!r} {why}")
        found[int(index)] = parse(number, value)
    if missing := sorted({*range(len(examples))} - found.keys()):
        raise DataError(
            f"{path}: no prediction for index {missing[0]} ({len(missing):,} missing of {len(examples):,} in "
            f"{examples.path})"
        )
    return np.array([found[index] for index in range(len(examples))], examples.labels.dtype)


def _read_rows(task: Task, path: Path, examples: Examples) -> np.ndarray:
    """JSON lines as ``write`` makes them, one an example."""
    rows = _text_lines(path)
    if len(rows) != len(examples):
        raise DataError(f"{path}: {len(rows):,} predictions for the {len(examples):,} examples of {examples.path}")
    parse = _parser(task, path, examples)
    found = [_of_row(task, path, number, row, examples, parse) for number, row in enumerate(rows, 1)]
    return np.array([*chain(*found)] if task.kind == "tagging" else found, examples.labels.dtype)


def _of_row(
    task: Task, path: Path, number: int, row: str, examples: Examples, parse: Callable[[int, Any], int | float]
) -> Any:
    key = {"regression": "score", "multi_label": "labels", "tagging": "labels", "multiple_choice": "choice"}
    wanted = key.get(task.kind, "label")
    try:
        value = json.loads(row)[wanted]
    except (ValueError, TypeError, KeyError, IndexError):
        raise DataError(f'{path}:{number}: not a JSON object with "{wanted}"') from None
    if wanted != "labels":
        return parse(number, value)
    if not isinstance(value, list):
        raise DataError(f'{path}:{number}: "labels" is {value!r}, not a list')
    ids = [int(parse(number, each)) for each in value]
    if task.kind == "multi_label":
        return np.isin(np.arange(len(examples.names)), ids)
    if len(ids) != (words := len(examples.texts[number - 1])):
        raise DataError(f"{path}:{number}: {len(ids)} labels for {words} words")
    return ids


def _parser(task: Task, path: Path, examples: Examples) -> Callable[[int, Any], int | float]:
    """(line, value) -> the score, the choice, or the label's id."""
    ids = {name: label for label, name in enumerate(examples.names)}
    ids |= {value: label for label, value in enumerate(_values(task, examples))}

    def score(number: int, value: Any) -> float:
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not math.isfinite(found):
            raise DataError(f"{path}:{number}: score {value!r} is not a number")
        return found

    def choice(number: int, value: Any) -> int:
        of = len(examples.texts[number - 1]) - 1
        if type(value) is not int or not 0 <= value < of:
            raise DataError(f"{path}:{number}: choice {value!r} is not one of 0 to {of - 1}")
        return value

    if task.kind == "regression":
        return score
    return choice if task.kind == "multiple_choice" else lambda number, value: _id(path, number, value, ids)


def _id(path: Path, number: int, value: Any, ids: Mapping[str, int]) -> int:
    if not isinstance(value, str) or value not in ids:
        raise DataError(f"{path}:{number}: label {value!r} is none of {', '.join(ids)}")
    return ids[value]


def _text_lines(path: Path) -> list[str]:
    lines, _ = _lines(path)
    return lines if lines[-1] else lines[:-1]
