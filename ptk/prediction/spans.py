"""What an encoder-decoder writes: the spans that a text with sentinels leaves out, or an answer to the whole text.

The <extra_id_0> walks in <extra_id_1> park      the line
<extra_id_0> cute dog <extra_id_1> the           what the decoder writes (T5-4)
The cute dog walks in the park                   the answer
"""

import re
from collections.abc import Sequence
from typing import Any

from ptk.prediction.sampling import Sampling
from ptk.prediction.writer import Writer

SENTINEL = re.compile(r"<extra_id_\d+>")
MAX_TOKENS = 64
SPAN_TOKENS = 16  # room for one span: training's are 3 tokens on average (T5-3)


def answer(writer: Writer, text: str, sampling: Sampling, number: int) -> dict[str, Any]:
    """``{"text", "spans"}`` of a text with sentinels, ``{"text"}`` of another; nothing to a blank one.

    A model whose ``continues`` is true has learned to go on from its input: ``text`` then begins with the prompt, and
    ``continuation`` is the rest.
    """
    names = sentinels(text, writer.tokenizer.get_vocab())
    ids = writer.prompt(text, closed=True, mode="span_mode_id" if names else "prefix_mode_id")
    if not text.strip() or not ids:
        return {"text": ""}
    if names:
        return filled(writer, text, names, ids, sampling, number)
    new = writer.write(ids, sampling, number, room(writer, ids, sampling, MAX_TOKENS))
    if not getattr(writer.config, "continues", False):
        return {"text": writer.added("", [], new)}
    continuation = writer.added(text, ids, new)
    return {"text": text + continuation, "continuation": continuation}


def filled(
    writer: Writer, text: str, names: list[str], ids: list[int], sampling: Sampling, number: int
) -> dict[str, Any]:
    """The text with each span in the place of its sentinel; a sentinel to which the model wrote nothing stays."""
    vocabulary = writer.tokenizer.get_vocab()
    marks = [vocabulary[name] for name in names]
    limit = room(writer, ids, sampling, max(MAX_TOKENS, SPAN_TOKENS * len(names)))
    # Models of others close the last span with the next sentinel (T5-4).
    closing = vocabulary.get(f"<extra_id_{len(names)}>")
    new = writer.write(ids, sampling, number, limit, allowed=marks, stop=closing)
    whole, *rest = SENTINEL.split(text)
    before, found = whole, []
    for name, mark, span, after in zip(names, marks, spans(new, marks), rest, strict=True):
        words = writer.added(before, ids[: ids.index(mark)], span)
        whole += (words if words.strip() else name) + after
        before = after
        found.append(words.strip())
    return {"text": whole, "spans": found}


def room(writer: Writer, ids: Sequence[int], sampling: Sampling, default: int) -> int:
    """New tokens behind the decoder's start. Raises ValueError when the text is longer than the encoder's positions."""
    positions = getattr(writer.config, "max_position_embeddings", None)
    if positions is not None and len(ids) > positions:
        raise ValueError(f"{len(ids):,} tokens are more than the model's {positions:,} positions; give a shorter text")
    return writer.room(1, sampling, default)


def sentinels(text: str, vocabulary: dict[str, int]) -> list[str]:
    """The sentinels of a text, none where the tokenizer has none. Raises ValueError unless they count up from 0."""
    names = SENTINEL.findall(text) if "<extra_id_0>" in vocabulary else []
    if names != [f"<extra_id_{n}>" for n in range(len(names))]:
        raise ValueError(f"sentinels {', '.join(names)}: count them up from <extra_id_0>, each once")
    known = sum(name in vocabulary for name in names)
    if known < len(names):
        raise ValueError(
            f"{len(names)} sentinels, and the tokenizer has {known}; leave out less, or give several lines"
        )
    return names


def spans(ids: Sequence[int], marks: Sequence[int]) -> list[list[int]]:
    """The ids behind each mark, up to the next one; those of its first time where it comes twice."""
    found: dict[int, list[int]] = {}
    current: list[int] = []  # ids before any mark belong nowhere
    for id_ in ids:
        if id_ in marks:
            current = []
            found.setdefault(id_, current)
        else:
            current.append(id_)
    return [found.get(mark, []) for mark in marks]
