"""The table of ``ptk eval --glue``, and which average is meant (GLUE-2)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ptk.progress import clean
from ptk.tasks import scores

NINE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
OVER_NINE = "mean over 9 tasks (MNLI = mean of m and mm, two-metric tasks averaged first)"
OVER_EIGHT = "mean over 8, without WNLI (BERT paper)"
HEADER = ("task", "metrics", "score", "examples", "majority", "minutes")
LEFT = ("task", "metrics")
MISMATCHED = "accuracy_mismatched"


def as_object(results: Mapping[str, Any]) -> dict[str, Any]:
    """A task's results, with a score of null where it was only predicted.

    Of MNLI with those of the mismatched examples among its metrics: its score is the mean of both.
    """
    others = results.get("others", ())
    other = next((each for each in others if each["split"] == "validation_mismatched" and "score" in each), None)
    if other is None:
        return {"score": None, **results}
    metrics = {**results["metrics"], MISMATCHED: other["metrics"]["accuracy"]}
    together = {"metrics": metrics, "score": scores.mean_score(metrics)}
    if "baselines" in results and "baselines" in other:
        together["baselines"] = {**results["baselines"], MISMATCHED: other["baselines"]["accuracy"]}
    return {**results, **together, "examples": results["examples"] + other["examples"]}


def averages(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``average`` over nine tasks and the one without WNLI, each null unless all of its tasks have a score."""
    found = {task["task"]: task["score"] for task in tasks if task.get("score") is not None}
    if "mnli" in found and not any(MISMATCHED in task.get("metrics", ()) for task in tasks):
        del found["mnli"]  # half of it
    eight = [name for name in NINE if name != "wnli"]
    missing = [name for name in NINE if name not in found]
    return {
        "average": mean(found, NINE),
        "average_of": OVER_NINE,
        "average_without_wnli": mean(found, eight),
        "average_without_wnli_of": OVER_EIGHT,
        "missing": missing,
    }


def mean(found: Mapping[str, float], names: Sequence[str]) -> float | None:
    return sum(found[name] for name in names) / len(names) if found.keys() >= set(names) else None


def majority(results: Mapping[str, Any]) -> float | None:
    """What the most frequent label would score."""
    return scores.mean_score(results["baselines"]) if results.get("baselines") else None


def rows(results: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The cells of every task; what it has not is ``-``."""
    for task in results["tasks"]:
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in task.get("metrics", {}).items())
        yield (
            task["task"],
            metrics or said(task),
            number(task.get("score")),
            f"{task['examples']:,}" if "examples" in task else "-",
            number(majority(task)),
            f"{task['seconds'] / 60:.1f}" if "seconds" in task else "-",
        )


def said(task: Mapping[str, Any]) -> str:
    """In place of a score."""
    return "failed" if "failed" in task else "-" if "absent" in task else "predicted, no labels"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def remarks(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines under the table: the averages, or why there is none, and what the zip lacks."""
    missing = results["missing"]
    for key, over in (("average", NINE), ("average_without_wnli", [name for name in NINE if name != "wnli"])):
        lacking = [name for name in missing if name in over]
        if not lacking:
            yield f"{results[f'{key}_of']}: {results[key]:.4f}"
        elif key == "average" or missing == ["wnli"]:
            yield f"no {results[f'{key}_of']}: {', '.join(lacking)} missing"
    lacking = results["missing_in_zip"]
    what = f"the site takes all eleven files only, missing: {', '.join(lacking)}" if lacking else "all eleven files"
    yield f"{results['zip']}: {what}"
    for name in results.get("majority_in_zip", ()):
        yield f"{name} in it has the most frequent label throughout: the model's own answers are no better"


def show(results: Mapping[str, Any], console: Console) -> None:
    """The table and its remarks: drawn on a terminal, plain lines in a pipe."""
    cells = list(rows(results))
    if console.is_terminal:
        table = Table(*(Column(name, justify="left" if name in LEFT else "right") for name in HEADER))
        for row in cells:
            table.add_row(*map(Text, row))
        console.print(table)
    else:
        for line in plain([HEADER, *cells]):
            console.print(Text(line), soft_wrap=True)
    for line in remarks(results):
        console.print(Text(clean(line)), soft_wrap=True)


def plain(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table as lines, its columns under each other."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        padded = [
            cell.ljust(width) if name in LEFT else cell.rjust(width)
            for name, cell, width in zip(HEADER, row, widths, strict=True)
        ]
        yield "  ".join(padded).rstrip()
