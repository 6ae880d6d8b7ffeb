"""What a pretrained model scores on held-out text, beside what knowing frequencies alone would."""

from typing import Any

import numpy as np

from ptk import engine
from ptk.data import rows
from ptk.data.rows import RowSource
from ptk.data.split import Documents
from ptk.metrics import bits_per_byte, majority, perplexity, unigram_entropy
from ptk.objectives.objective import Objective


def scores(objective: Objective, losses: engine.Losses, held: Documents) -> dict[str, Any]:
    """Losses and accuracies; perplexity (a pseudo-perplexity where tokens on both sides are seen); bits per byte."""
    metrics = engine.report(objective, losses)
    first = next(iter(objective.weights))
    name = "pseudo_perplexity" if first in ("mlm", "rtd") else "perplexity"
    metrics[name] = perplexity(losses[first])
    per_token = float(losses[first].value)
    metrics["bits_per_byte"] = bits_per_byte(per_token * int(held.lengths().sum()), held.byte_count())
    return {"metrics": metrics, "examples": int(max(mean.count for mean in losses.values()))}


def baselines(source: RowSource) -> dict[str, float]:
    """What knowing frequencies alone would score on this text."""
    found = {"unigram_entropy": unigram_entropy(source.documents.token_counts())}
    table = rows.rows(source, 0).table
    if "label" in table.columns:
        found["majority"] = majority(np.bincount(table.columns["label"]))
    return found
