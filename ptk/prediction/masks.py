"""Filled masks and next-sentence probabilities, by BERT and its like.

A line of text with [MASK] comes back filled; two texts with a tab between them give the probability that the
second follows the first. A JSON line, ``{"text": ...}`` or ``{"text": ..., "next": ...}``, gives a JSON line with
candidates and probabilities.
"""

import json
from typing import TYPE_CHECKING, Any

import torch

from ptk.models.checks import positions_of

if TYPE_CHECKING:
    from torch import nn

CANDIDATES = 5


def answer(model: "nn.Module", tokenizer: Any, line: str) -> str:
    if line.lstrip().startswith("{"):
        return answer_json(model, tokenizer, line)
    first, tab, second = line.partition("\t")
    if tab:
        return f"{is_next(model, tokenizer, first, second):.4f}"
    ids, found = fill(model, tokenizer, line)
    for position, candidates in found.items():
        ids[position] = candidates[0][0]
    return tokenizer.decode(ids, skip_special_tokens=True)


def answer_json(model: "nn.Module", tokenizer: Any, line: str) -> str:
    value = request(line)
    text = value["text"]
    if "next" in value:
        return json.dumps({"is_next": round(is_next(model, tokenizer, text, value["next"]), 6)})
    _, found = fill(model, tokenizer, text)
    masks = [
        [{"token": tokenizer.decode([i]), "probability": round(p, 6)} for i, p in candidates]
        for candidates in found.values()
    ]
    return json.dumps({"masks": masks}, ensure_ascii=False)


def request(line: str) -> dict[str, Any]:
    """A JSON line with a "text". Raises ValueError."""
    try:
        value = json.loads(line)
        value["text"].encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError('not JSON with a "text"; give {"text": "..."} or {"text": "...", "next": "..."}') from None
    return value


@torch.no_grad()
def run(model: "nn.Module", tokenizer: Any, *texts: str) -> tuple[list[int], Any]:
    """Ids of the text (or pair), with specials, and the model's output. Raises ValueError when it is too long."""
    encoded = tokenizer(*texts, return_tensors="pt")
    longest = positions_of(model)
    length = encoded["input_ids"].shape[1]
    if longest and length > longest:
        raise ValueError(f"{length} tokens are more than the model's {longest}; give shorter text")
    where = next(model.parameters()).device
    return encoded["input_ids"][0].tolist(), model(**{name: tensor.to(where) for name, tensor in encoded.items()})


def fill(model: "nn.Module", tokenizer: Any, text: str) -> tuple[list[int], dict[int, list[tuple[int, float]]]]:
    """Ids of the text, and for each mask its most probable entries with their probabilities."""
    ids, output = run(model, tokenizer, text)
    masks = [position for position, token in enumerate(ids) if token == tokenizer.mask_token_id]
    if not masks:
        raise ValueError(f"no {tokenizer.mask_token} in the line; put one where a word is missing")
    logits = getattr(output, "prediction_logits", None)
    logits = output.logits if logits is None else logits
    logits[..., len(tokenizer) :] = -torch.inf  # entries that only round the vocabulary up (ENG-5)
    best = logits[0, masks].float().softmax(-1).topk(CANDIDATES)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return ids, {position: list(zip(*both, strict=True)) for position, both in zip(masks, pairs, strict=True)}


def is_next(model: "nn.Module", tokenizer: Any, first: str, second: str) -> float:
    """The probability that ``second`` follows ``first`` (label 0 is "is next", NSP-10)."""
    _, output = run(model, tokenizer, first, second)
    logits = getattr(output, "seq_relationship_logits", None)
    if logits is None:
        raise ValueError("this model has no next-sentence head; give one text with a mask")
    return float(logits[0].float().softmax(-1)[0])
