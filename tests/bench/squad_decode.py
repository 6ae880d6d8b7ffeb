"""Part of ``tests/bench/squad.py``: from logits to answers, by ptk and by the plain way of ``squad_peer.py``.

The logits are random. Those of a window depend on its question and on its number in it only, so that questions with one
window have the same in both: so have their answers to be.
"""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import squad_data
import squad_peer


def decode(task: str, number: int | None, model: str, out: Path) -> dict[str, Any]:
    """Seconds that both need for the answers to the first ``number`` questions of the scored articles, and how many of
    the answers that can be compared are equal."""
    from transformers import AutoTokenizer

    questions = squad_data.read(squad_data.write(task, out, number)["validation"])
    ours, answers, ids = decode_with_ptk(task, out, model)
    windows = squad_peer.windows(questions, AutoTokenizer.from_pretrained(model), "max_length")
    counts: Counter[int] = Counter()
    logits = np.zeros((2, len(windows), squad_peer.LENGTH), np.float32)
    for at, window in enumerate(windows):
        context = [place for place, span in enumerate(window.offsets) if span is not None]
        logits[:, at] = logits_of(window.question, counts[window.question], context[0], context[-1] + 1)
        counts[window.question] += 1
    began = time.perf_counter()
    said, _, _ = squad_peer.decode(questions, windows, logits[0], logits[1], task == "squad2")
    theirs = time.perf_counter() - began
    alike = [
        (answers[window.question], said[questions[window.question].id])
        for window in windows
        if counts[window.question] == 1 and ids[window.question] == [window.ids[: window.size]]
    ]
    equal = sum(one == other for one, other in alike)
    sizes = {"questions": len(questions), "ptk_windows": sum(map(len, ids)), "windows": len(windows)}
    return {"ptk": ours, "plain": theirs, "equal": equal, "compared": len(alike), **sizes}


def decode_with_ptk(task: str, out: Path, model: str) -> tuple[float, list[str], list[list[list[int]]]]:
    """(seconds, the answer to each question, the token ids of each of its windows)."""
    import torch

    from ptk.data import batches
    from ptk.data import tokenizer as tokenizers
    from ptk.data.rows import RowSource, rows
    from ptk.evaluation import answering
    from ptk.models.answering import Spans
    from ptk.objectives.question_answering import NONE, QuestionAnswering
    from ptk.recipe import EvaluateSpec, TaskSpec
    from ptk.tasks import prepare, store
    from ptk.tasks.examples import Questions

    no_answer = "null_span" if task == "squad2" else "never"
    objective = QuestionAnswering(no_answer=no_answer)
    tokenizer = tokenizers.load(model)
    spec = TaskSpec(name=task, train=str(out / "train.json"), validation=str(out / "validation.json"))
    examples = prepare.read(spec, 1, lambda _: None).splits["validation"]
    assert isinstance(examples, Questions)
    made = store.tokenized(examples, tokenizer)
    source = RowSource(made, objective, EvaluateSpec(), squad_peer.LENGTH, 0, "all")
    table = rows(source, 0)
    encoded = [batches.encode(table, row, tokenizer, 0) for row in range(len(table))]
    ids: list[list[list[int]]] = [[] for _ in examples.texts]
    logits: list[np.ndarray] = []
    for example in encoded:
        number = int(example["example"])
        logits.append(logits_of(number, len(ids[number]), *example["context"].tolist()))
        ids[number].append(example["input_ids"].tolist())
    padding = batches.padding([source], tokenizer)
    parts = [range(start, min(start + 64, len(encoded))) for start in range(0, len(encoded), 64)]
    ready = [batches.stack([encoded[row] for row in part], padding) for part in parts]
    heads = [torch.from_numpy(np.stack([logits[row] for row in part], 1)) for part in parts]
    began = time.perf_counter()
    found: list[dict[str, torch.Tensor]] = []
    for batch, (start, end) in zip(ready, heads, strict=True):
        width = batch["input_ids"].shape[1]
        best = objective.decoded(None, Spans(start[:, :width], end[:, :width]), batch)
        lacks = best.start_logit.isneginf()
        shift = (batch["first"] - batch["context"][:, 0])[:, None]
        answers = {"example": batch["example"], "null": best.null}
        answers |= {name: (getattr(best, name) + shift).masked_fill(lacks, NONE) for name in ("start", "end")}
        found.append(answers | {name: getattr(best, name) for name in ("start_logit", "end_logit")})
    joined = {name: torch.cat([each[name] for each in found]).numpy() for name in found[0]}
    said = answering.said(joined, examples, made, no_answer)
    return time.perf_counter() - began, [one.text for one in said], ids


def logits_of(question: int, window: int, first: int, stop: int) -> np.ndarray:
    """Of start and end, [2, LENGTH], as of a trained model: low outside the context, which is ``first`` to before
    ``stop``, but for the first position; a peak within."""
    rng = np.random.default_rng((question, window))
    logits = rng.normal(-2, 1, (2, squad_peer.LENGTH)).astype(np.float32)
    peak = rng.integers(first, stop)
    logits[:, first:stop] += 8 * np.exp(-np.abs(np.arange(first, stop) - peak) / 10)
    logits[:, np.r_[1:first, stop : squad_peer.LENGTH]] -= 8
    logits[:, 0] = rng.normal(3, 3)
    return logits
