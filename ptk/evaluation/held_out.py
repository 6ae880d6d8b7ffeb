"""What a pretrained model scores on held-out text, beside what knowing frequencies alone would."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ptk import engine
from ptk.data import rows
from ptk.data.rows import RowSource
from ptk.data.split import Documents
from ptk.metrics import bits_per_byte, majority, perplexity, unigram_entropy
from ptk.objectives.objective import IGNORE, Batch, Objective
from ptk.step import Losses

if TYPE_CHECKING:
    from accelerate import Accelerator


def scores(objective: Objective, losses: Losses, held: Documents) -> dict[str, Any]:
    """Losses and accuracies; perplexity; bits per byte where the whole text is predicted."""
    metrics = engine.report(objective, losses)
    first = next(iter(objective.weights))
    metrics[objective.perplexity] = perplexity(losses[first])
    if (predicted := objective.predicts(held)) is not None:
        metrics["bits_per_byte"] = bits_per_byte(float(losses[first].value) * predicted, held.byte_count())
    return {
        "metrics": metrics,
        "examples": int(max(losses[name].count for name in objective.weights if name in losses)),
    }


def baselines(
    objective: Objective, sources: Sequence[RowSource], batches: Iterable[Batch], accelerator: "Accelerator"
) -> dict[str, float]:
    """What knowing frequencies alone would score: of the text, or of what the model has to write, member by member."""
    source = sources[0]
    if objective.written is None:
        found = {"unigram_entropy": unigram_entropy(source.documents.token_counts())}
    else:
        counts = written(objective, batches, source.store.manifest["vocab_size"], accelerator)
        found = {"unigram_entropy": unigram_entropy(counts.sum(0))}
        members = [name for name in objective.weighted() if name]
        found |= {f"unigram_entropy_{name}": unigram_entropy(counts[number]) for number, name in enumerate(members)}
    table = rows.rows(source, 0).table
    if "label" in table.columns:
        found["majority"] = majority(np.bincount(table.columns["label"]))
    return found


def written(objective: Objective, batches: Iterable[Batch], vocab_size: int, accelerator: "Accelerator") -> np.ndarray:
    """How often each token is to be written, [members, V], over the batches of all processes."""
    counts = torch.zeros(len(objective.weighted()), vocab_size, dtype=torch.int64)
    for batch in batches:
        labels = batch[objective.written or ""]
        member = batch.get("member", torch.zeros(len(labels), dtype=torch.int64))
        for number in member.unique().tolist():
            mine = labels[member == number]
            counts[number] += torch.bincount(mine[mine != IGNORE], minlength=vocab_size)
    if accelerator.num_processes > 1:
        every: Any = accelerator.reduce(counts.to(accelerator.device))
        return every.cpu().numpy()
    return counts.numpy()
