"""Official prediction files, written from what a model says; ``prediction_reading.py`` reads anybody's.

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
import zipfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ptk import files
from ptk.data.decoding import COMPRESSED, find_encoding, open_bytes
from ptk.errors import RecipeError
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
    values = file_values(task, examples)
    return _indexed([values[label] for label in predicted])


def _indexed(values: Sequence[str]) -> Iterator[str]:
    yield HEADER
    for index, value in enumerate(values):
        yield f"{index}\t{value}"


def file_values(task: Task, examples: Examples) -> list[str]:
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
        values = file_values(task, examples)
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


def file_lines(path: str | Path) -> tuple[list[str], str]:
    """The lines of a file with their line ends but LF, and its encoding; bytes that do not decode survive."""
    encoding = find_encoding(str(path), ("utf-8",))[0]
    with open_bytes(str(path)) as file:
        return file.read().decode(encoding, "surrogateescape").split("\n"), encoding


def _with_column(examples: Examples, predicted: np.ndarray) -> bytes:
    """The input file with the prediction at the end of every word's line, after the separator that the file has."""
    lines, encoding = file_lines(examples.path)
    words = (examples.lines - 1).tolist()
    separator = "\t" if any("\t" in lines[at] for at in words) else " "
    labels = over_blanks(examples, predicted) if examples.characters else predicted
    for at, label in zip(words, labels, strict=True):
        text = lines[at].removesuffix("\r")
        lines[at] = text + separator + examples.names[label] + lines[at][len(text) :]
    return "\n".join(lines).encode(encoding, "surrogateescape")
