"""What follows a text, by a model that reads from left to right, or sees a whole prompt at once (prefix LM)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ptk.prediction.sampling import Sampling
from ptk.prediction.writer import Writer

if TYPE_CHECKING:
    from torch import nn

MAX_TOKENS = 64


def answer(writer: Writer, text: str, sampling: Sampling, number: int) -> dict[str, Any]:
    """``{"text": prompt and continuation, "continuation": ...}``; nothing to nothing, where no token starts a text."""
    ids = writer.prompt(text) or start_of_text(writer)
    if not ids:
        return {"text": text, "continuation": ""}
    limit = writer.room(len(ids), sampling, MAX_TOKENS)
    seen = {"past_key_values": seen_at_once(writer.model, ids)} if getattr(writer.config, "prefix_lm", False) else {}
    continuation = writer.added(text, ids, writer.write(ids, sampling, number, limit, **seen))
    return {"text": text + continuation, "continuation": continuation}


def start_of_text(writer: Writer) -> list[int]:
    """The token that an empty text goes on from, in a list, or none."""
    ids = (writer.tokenizer.bos_token_id, writer.tokenizer.eos_token_id)
    return [id_ for id_ in ids if id_ is not None][:1]


@torch.no_grad()
def seen_at_once(model: "nn.Module", ids: Sequence[int]) -> Any:
    """Keys and values of a prompt [T] in which every position saw every other (LM-2), those of the last left out.

    ``generate`` computes the last position again, and it sees all the others either way: so the first new token is
    chosen like any other.
    """
    prompt = torch.tensor([list(ids)], device=model.device)  # type: ignore[arg-type]
    nothing_hidden = torch.zeros(1, 1, len(ids), len(ids), dtype=model.dtype, device=model.device)  # type: ignore[arg-type]
    cache = model(input_ids=prompt, attention_mask=nothing_hidden, use_cache=True).past_key_values
    cache.crop(-1)
    return cache
