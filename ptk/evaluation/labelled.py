"""What a fine-tuned model says of one split of a task, what that scores, and the prediction file it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ptk import engine, quick
from ptk.data import batches, rows
from ptk.data.batches import Division
from ptk.data.rows import RowSource
from ptk.data.store import Store
from ptk.data.tokenizer import Tokenizer
from ptk.evaluation import questions
from ptk.objectives.objective import Batch, Objective
from ptk.recipe import EvaluateSpec
from ptk.step import Losses, Wrapped
from ptk.tasks import predictions, scores
from ptk.tasks.examples import Examples, Questions
from ptk.tasks.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

AT_ONCE = 8192  # tokens of a batch that is scored
Answers = dict[str, np.ndarray]
"""What ``Objective.evaluate`` says, in the files' order: ``predicted``, ``gold`` and ``probability``, each [N], of
tagging one for each word; of questions what questions.py reads."""


@dataclass(frozen=True)
class Split:
    """One split of a task, tokenized, and the rows that a head reads of it."""

    task: Task
    name: str
    examples: Examples
    rows: RowSource
    tokenizer: Tokenizer

    def batches(self, division: Division) -> list[Batch]:
        """Every row once, sorted by length."""
        division = replace(division, micro_batch_size=None, micro_batch_tokens=AT_ONCE)
        table = rows.rows(self.rows, 0)
        return list(batches.held_out(table, len(table), self.tokenizer, division, self.rows.seed))


def source(objective: Objective, store: Store, length: int, seed: int) -> RowSource:
    """The rows of one split."""
    return RowSource(store, objective, EvaluateSpec(), length, seed, "all")


def judged(
    split: Split, model: nn.Module, accelerator: "Accelerator", folder: Path, threshold: float | None = None
) -> dict[str, Any]:
    """Every example of a split answered by this process alone: its part of results.json, the files left in ``folder``.

    ``threshold``: of questions that may have no answer; fitted on this split when left out.
    """
    objective: Any = split.rows.objective
    losses, parts = engine.passes(
        Wrapped(objective, model, quick.pieces(accelerator.device)).to(accelerator.device),
        split.batches(Division()),
        accelerator,
    )
    found = engine.end_to_end(parts)
    order = np.argsort(found["unit" if "unit" in found else "example"], kind="stable")
    found = {name: values[order] for name, values in found.items()}
    about = {"split": split.name, "examples": len(split.examples)}
    if isinstance(split.examples, Questions):
        return about | questions.judged(split, found, losses, folder, threshold)
    file = predictions.write(
        split.task, split.name, split.examples, found["predicted"], folder, found.get("probability")
    )
    return about | scored(objective, losses, found, split.examples) | {"predictions": str(file)}


def scored(objective: Any, losses: Losses, found: Answers, examples: Examples) -> dict[str, Any]:
    """Metrics, baselines and loss of the examples that have a label; nothing where none has."""
    values = {name: float(mean.value) for name, mean in objective.score(found).items()}
    if not values:
        return {}
    about: dict[str, Any] = {
        "metrics": {name: value for name, value in values.items() if name != "score"},
        "score": values["score"],
        "loss": float(engine.report(objective, losses)["loss"]),
        "baselines": baselines(objective.metrics, found, examples.names, objective.positive),
    }
    if (said := scores.collapsed(found["predicted"], examples.names)) is not None:
        about["collapsed"] = said
    return about


def baselines(
    metrics: Sequence[str], found: Mapping[str, np.ndarray], names: Sequence[str], positive: str | None = None
) -> dict[str, float]:
    """What always answering the most frequent label would score."""
    gold = found["gold"]
    has = ~np.isnan(gold) if gold.dtype.kind == "f" else (gold >= 0).reshape(len(gold), -1).all(1)
    return scores.majority(metrics, gold[has], names, found["example"][has], positive)
