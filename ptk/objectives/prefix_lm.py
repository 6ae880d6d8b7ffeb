"""Prefix language modelling: a random beginning is given and seen both ways, the rest is written (LM-2).

With an encoder-decoder (T5) the prefix goes into the encoder; with a decoder it stands before the rest, and its
tokens see each other. The prefix itself is never predicted. Rows never hold more than one document.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ptk.corruption import packing
from ptk.objectives.generation import Architecture, Generation, bounds, separator, start, table, with_separators
from ptk.objectives.objective import Example, Row, Table
from ptk.objectives.span_corruption import mode_id
from ptk.recipe import STRICT

if TYPE_CHECKING:
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer

SHORTEST = 2  # tokens: one to read, one to write


@dataclass(frozen=True, kw_only=True)
class PrefixLanguageModelling(Generation):
    """The ``objective:`` section of ``name: prefix_lm``."""

    __pydantic_config__ = STRICT

    prefix_in: Literal["encoder", "decoder"] = "encoder"
    """Where the prefix is read: by an encoder, or by the one decoder that goes on from it."""
    mode_token: str | None = None
    """A token of the tokenizer that stands before the prefix and says what is to be done (UL2, arXiv 2205.05131)."""
    fidelity: Literal["fixed", "paper"] | None = None
    """Nothing here differs; the recipe's ``fidelity`` when left out."""

    part: ClassVar[str] = "prefix"
    rows_depend_on: ClassVar[tuple[str, ...]] = ("prefix_in", "mode_token")
    leaves_out: ClassVar[str] = "ends of documents of one token, which has no prefix"
    legend: ClassVar[str] = "the prefix is plain, what is written is in colour"

    @property
    def architecture(self) -> Architecture:
        return "encoder_decoder" if self.prefix_in == "encoder" else "decoder"

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        separator(tokenizer)
        if self.mode_token is not None:
            mode_id(tokenizer, self.mode_token)

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """Each document cut to rows that fit wherever the prefix ends."""
        starts, stops = bounds(documents, block)
        alone = int(self.prefix_in == "decoder")  # a separator, which is read first
        length -= self.mode_token is not None
        cuts = packing.pieces(stops - starts + alone, length, rng)
        enough = cuts[:, 2] - cuts[:, 1] >= SHORTEST
        kept = cuts[enough]
        kept[:, 3] = np.arange(len(kept))
        shifted = kept + np.array([0, 1 - alone, 1 - alone, 0])
        return table(starts, stops, shifted, ahead=bool(alone), left_out=int((~enough).sum()))

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids [T], labels [K]; in a decoder also prefix [], the last position that is seen both ways.

        The prefix has 1 to n - 1 of the n tokens, each length as probable as any other. An encoder-decoder reads and
        writes an end-of-text behind every piece, as T5's own tasks do; a decoder only where the document ends.
        """
        end = separator(tokenizer)
        mode = [] if self.mode_token is None else [mode_id(tokenizer, self.mode_token)]
        ids = with_separators(row.segments[0], row.marks[0], start(tokenizer), end)
        if self.prefix_in == "encoder":
            split = int(rng.integers(1, len(ids)))
            read = np.concatenate([mode, ids[:split], [end]]).astype(np.int64)
            return {"input_ids": read, "labels": np.append(ids[split:], end)}
        # ids[0] is read only, ids[1:] are the n tokens: token i is read at position i and predicted at i - 1.
        split = int(rng.integers(1, len(ids) - 1)) + len(mode)
        ids = np.concatenate([mode, ids]).astype(np.int64)
        return {"input_ids": ids[:-1], "labels": ids[split + 1 :], "prefix": np.array(split)}

    def check_model(self, model: "nn.Module") -> None:
        if self.prefix_in == "decoder":
            import torch

            from ptk.models.next_token import check_visibility

            asked = {"input_ids": torch.arange(4)[None]}
            remedy = "name gpt2 or llama, or set objective.prefix_in=encoder with a t5"
            check_visibility(model, asked, remedy)  # by itself it is causal, as the prefix is its mask's affair alone
            check_visibility(model, asked | {"prefix": torch.tensor([1])}, remedy)

    def marks(self, tokenizer: "Tokenizer") -> dict[str, Any]:
        mode = {} if self.mode_token is None else {"prefix_mode_id": mode_id(tokenizer, self.mode_token)}
        if self.prefix_in == "encoder":
            return {"continues": True, **mode}
        return {"prefix_lm": True, "document_start_id": start(tokenizer), **mode}

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        ids, labels = example["input_ids"].tolist(), example["labels"].tolist()
        read = ids[: int(example["prefix"]) + 1] if "prefix" in example else ids
        roles = [("special" if i in tokenizer.special_ids else "first") for i in read] + ["masked"] * len(labels)
        pieces = zip(tokenizer.tokens([*read, *labels]), roles, strict=True)
        return f"a prefix of {len(read)} tokens, {len(labels)} to write", list(pieces)

    def remarks(self) -> list[str]:
        if self.prefix_in == "encoder":
            return []
        return ["It was trained with prompts that see themselves both ways (LM-2); loaded plainly it is causal."]


OBJECTIVE = PrefixLanguageModelling
