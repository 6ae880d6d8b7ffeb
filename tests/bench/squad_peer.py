"""transformers' side of ``tests/bench/squad.py``: its Trainer with the settings of its example run_qa, and a plain
post-processing of that kind, one question, one window and one pair after the other."""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from by_trainer import arguments
from squad_data import Question

LENGTH, OVERLAP = 384, 128  # of windows: run_qa's doc_stride is what two of them share
N_BEST, LONGEST = 20, 30
WAYS = {"plain": ("max_length", False), "best": (False, True)}  # padding, bf16: run_qa's defaults, its best flags


class Window(NamedTuple):
    ids: list[int]
    types: list[int] | None
    start: int
    end: int
    """Positions of the answer's first and last token; 0 and 0 where it is not whole in the window."""
    offsets: list[tuple[int, int] | None]
    """Of the tokens of the context, in characters; of the others None."""
    question: int
    size: int
    """Tokens that are no padding."""


def windows(questions: Sequence[Question], tokenizer: Any, padding: str | bool) -> list[Window]:
    """As run_qa makes them, by the tokenizer's own truncation of the context."""
    encoded = tokenizer(
        [one.question.lstrip() for one in questions],
        [one.context for one in questions],
        truncation="only_second",
        max_length=LENGTH,
        stride=OVERLAP,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=padding,
    )
    made: list[Window] = []
    for at, number in enumerate(encoded["overflow_to_sample_mapping"]):
        of_context = [part == 1 for part in encoded.sequence_ids(at)]
        offsets = [
            tuple(span) if inside else None
            for span, inside in zip(encoded["offset_mapping"][at], of_context, strict=True)
        ]
        start, end = _labels(questions[number], offsets)
        types = encoded["token_type_ids"][at] if "token_type_ids" in encoded else None
        size = sum(encoded["attention_mask"][at])
        made.append(Window(encoded["input_ids"][at], types, start, end, offsets, number, size))
    return made


def _labels(question: Question, offsets: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    if not question.answers:
        return 0, 0
    text, first = question.answers[0]
    stop = first + len(text)
    inside = [(at, *span) for at, span in enumerate(offsets) if span is not None]
    if not inside or inside[0][1] > first or inside[-1][2] < stop:
        return 0, 0
    begins = [at for at, begin, _ in inside if begin <= first]
    ends = [at for at, _, end in inside if end >= stop]
    return begins[-1], ends[0]


def train(questions: Sequence[Question], model_name: str, out: Path, way: str, setting: dict[str, Any]) -> Any:
    """(trained Trainer, tokenizer, seconds of training, windows); ``setting`` has seed, lr, epochs and batch."""
    from transformers import (
        AutoModelForQuestionAnswering,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        default_data_collator,
        set_seed,
    )

    padding, bf16 = WAYS[way]
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    rows = [features(window, labels=True) for window in windows(questions, tokenizer, padding)]
    set_seed(setting["seed"])
    model = AutoModelForQuestionAnswering.from_pretrained(model_name)
    settings = arguments(
        out,
        num_train_epochs=setting["epochs"],
        per_device_train_batch_size=setting["batch"],
        per_device_eval_batch_size=64,
        learning_rate=setting["lr"],
        seed=setting["seed"],
        bf16=bf16,
    )
    collate = default_data_collator if padding else DataCollatorWithPadding(tokenizer)
    made = Trainer(model, settings, collate, rows)
    began = time.perf_counter()
    made.train()
    return made, tokenizer, time.perf_counter() - began, len(rows)


def features(window: Window, labels: bool = False) -> dict[str, Any]:
    row: dict[str, Any] = {"input_ids": window.ids}
    row["attention_mask"] = [1] * window.size + [0] * (len(window.ids) - window.size)
    if window.types is not None:
        row["token_type_ids"] = window.types
    return row | ({"start_positions": window.start, "end_positions": window.end} if labels else {})


def run(
    task: str, found: dict[str, list[Question]], model_name: str, out: Path, way: str, setting: dict[str, Any]
) -> dict[str, Any]:
    """Train on ``found["train"]``, answer ``found["validation"]``; also samples a second and seconds of decoding."""
    made, tokenizer, seconds, rows = train(found["train"], model_name, out, way, setting)
    scored = windows(found["validation"], tokenizer, "max_length")
    start, end = made.predict([features(window) for window in scored]).predictions
    began = time.perf_counter()
    said, best, odds = decode(found["validation"], scored, start, end, task == "squad2")
    epochs = setting["epochs"]
    return {
        "said": said,
        "best": best,
        "odds": odds,
        "questions": epochs * len(found["train"]) / seconds,
        "windows": epochs * rows / seconds,
        "decoding": time.perf_counter() - began,
    }


def decode(
    questions: Sequence[Question], scored: Sequence[Window], start: np.ndarray, end: np.ndarray, may_be_empty: bool
) -> tuple[dict[str, str], dict[str, str], dict[str, float]]:
    """(what is said, the best answer that is not empty, null odds) by id, with the threshold 0.

    The windows' N_BEST starts by their N_BEST ends, [windows, LENGTH] each, are tried in plain loops; the pairs of all
    windows of a question compete; of the N_BEST best the probabilities are worked out.
    """
    of: defaultdict[int, list[int]] = defaultdict(list)
    for at, window in enumerate(scored):
        of[window.question].append(at)
    said: dict[str, str] = {}
    best: dict[str, str] = {}
    odds: dict[str, float] = {}
    for number, one in enumerate(questions):
        found: list[dict[str, Any]] = []
        null = min(float(start[at, 0] + end[at, 0]) for at in of[number])
        for at in of[number]:
            offsets = scored[at].offsets
            ends = np.argsort(end[at])[: -N_BEST - 1 : -1].tolist()
            for first in np.argsort(start[at])[: -N_BEST - 1 : -1].tolist():
                for last in ends:
                    head = offsets[first] if first < len(offsets) else None
                    tail = offsets[last] if last < len(offsets) else None
                    if head is None or tail is None or last < first or last - first + 1 > LONGEST:
                        continue
                    pair = {"start_logit": start[at, first], "end_logit": end[at, last]}
                    found.append({"where": (head[0], tail[1]), "score": sum(pair.values()), **pair})
        found = sorted(found, key=lambda span: span["score"], reverse=True)[:N_BEST]
        n_best = found or [{"where": (0, 0), "score": 0.0}]
        powers = np.exp(np.array([span["score"] for span in n_best]) - n_best[0]["score"])
        for span, probability in zip(n_best, powers / powers.sum(), strict=True):
            begin, stop = span.pop("where")
            span |= {"text": one.context[begin:stop], "probability": probability}
        best[one.id] = n_best[0]["text"]
        odds[one.id] = null - float(n_best[0]["score"])
        said[one.id] = "" if may_be_empty and odds[one.id] > 0 else best[one.id]
    return said, best, odds
