"""What a fine-tuned model says of a task's examples, and what that scores."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ptk import engine
from ptk.objectives.objective import Batch, Objective
from ptk.step import Losses, Wrapped
from ptk.tasks import scores
from ptk.tasks.examples import Examples

if TYPE_CHECKING:
    from accelerate import Accelerator

Answers = dict[str, np.ndarray]
"""``predicted``, ``gold`` and ``probability``, each [N], in the files' order; of tagging one for each word."""


def answers(
    objective: Objective, model: nn.Module, batches: Sequence[Batch], accelerator: "Accelerator"
) -> tuple[Losses, Answers]:
    """The losses, and an answer for every example, by this process alone."""
    losses, parts = engine.passes(Wrapped(objective, model).to(accelerator.device), batches, accelerator)
    found = engine.end_to_end(parts)
    order = np.argsort(found["unit" if "unit" in found else "example"], kind="stable")
    return losses, {name: values[order] for name, values in found.items()}


def results(objective: Any, split: str, losses: Losses, found: Answers, examples: Examples) -> dict[str, Any]:
    """One split's part of results.json; of a split without labels only what was predicted is counted."""
    about: dict[str, Any] = {"split": split, "examples": len(examples)}
    scored = {name: float(mean.value) for name, mean in objective.score(found).items()}
    if not scored:
        return about
    about |= {
        "metrics": {name: value for name, value in scored.items() if name != "score"},
        "score": scored["score"],
        "loss": float(engine.report(objective, losses)["loss"]),
        "baselines": baselines(objective.metrics, found, examples.names, objective.positive),
    }
    if (said := scores.collapsed(found["predicted"], examples.names)) is not None:
        about["collapsed"] = said
    return about


def baselines(
    metrics: Sequence[str], found: Answers, names: Sequence[str], positive: str | None = None
) -> dict[str, float]:
    """What always answering the most frequent label would score."""
    gold = found["gold"]
    has = ~np.isnan(gold) if gold.dtype.kind == "f" else (gold >= 0).reshape(len(gold), -1).all(1)
    return scores.majority(metrics, gold[has], names, found["example"][has], positive)
