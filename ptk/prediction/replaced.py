"""What an ELECTRA says: which words look replaced, or, of a text with [MASK], what its generator would put there.

A line of text comes back with what looks replaced in brackets; a JSON line, ``{"text": ...}``, gives a JSON line with
the probability of every piece.
"""

import json
from typing import TYPE_CHECKING, Any

import torch

from ptk.models.electra import Electra
from ptk.prediction import masks

if TYPE_CHECKING:
    from torch import nn


def detects(model: "nn.Module") -> bool:
    """Whether a model is a discriminator, with its generator or without."""
    return isinstance(model, Electra) or type(model).__name__ == "ElectraForPreTraining"


def answer(model: "nn.Module", tokenizer: Any, line: str) -> str:
    as_json = line.lstrip().startswith("{")
    text = masks.request(line)["text"] if as_json else line
    if isinstance(model, Electra) and tokenizer.mask_token in text:
        return masks.answer(model.generator, tokenizer, line)
    found = pieces(model.discriminator if isinstance(model, Electra) else model, tokenizer, text)
    if not as_json:
        return marked(text, [(start, stop) for start, stop, probability in found if probability > 0.5])
    listed = [{"text": text[a:b], "start": a, "end": b, "replaced": round(p, 6)} for a, b, p in found]
    return json.dumps({"pieces": listed}, ensure_ascii=False)


def pieces(model: "nn.Module", tokenizer: Any, text: str) -> list[tuple[int, int, float]]:
    """Where each piece of the text begins and ends, and the probability that it was replaced.

    Pieces that share a character, of which each has some bytes, are one.
    """
    where = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    _, output = masks.run(model, tokenizer, text)
    probabilities = torch.sigmoid(output.logits[0].float()).tolist()
    found: list[tuple[int, int, float]] = []
    for (start, stop), probability in zip(where, probabilities, strict=True):
        if found and start < found[-1][1]:
            before = found.pop()
            found.append((before[0], max(before[1], stop), max(before[2], probability)))
        elif stop > start:
            found.append((start, stop, probability))
    return found


def marked(text: str, spans: list[tuple[int, int]]) -> str:
    """``text`` with brackets around the spans; those that touch share a pair."""
    parts, done = [], 0
    for start, stop in spans:
        if parts and start <= done:
            parts[-1] = f"{parts[-1][:-1]}{text[done:stop]}]"
        else:
            parts += [text[done:start], f"[{text[start:stop]}]"]
        done = stop
    return "".join([*parts, text[done:]])
