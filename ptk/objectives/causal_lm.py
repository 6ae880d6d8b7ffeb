"""Causal language modelling: the next token, and nothing of what follows (GPT; LM-1, LM-3, LM-4).

Documents stand end to end with a separator before each; every token of every document, and its end, is predicted
once an epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ptk.corruption import packing
from ptk.metrics import Mean
from ptk.objectives.generation import Architecture, Generation, bounds, separator, start, table, with_separators
from ptk.objectives.objective import IGNORE, Batch, Example, Row, Table
from ptk.recipe import STRICT

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class CausalLanguageModelling(Generation):
    """The ``objective:`` section of ``name: causal_lm``."""

    __pydantic_config__ = STRICT

    packing: Literal["stream", "best_fit"] = "stream"
    """Rows cut from all text end to end, or documents packed whole, only those longer than a row cut (LM-3)."""
    isolate_documents: bool = False
    """Documents of one row do not see each other, and positions restart with each (LM-4)."""
    fidelity: Literal["fixed", "paper"] | None = None
    """``paper`` for GPT-1's softmax over positions too (GPT1-2); the recipe's ``fidelity`` when left out."""

    part: ClassVar[str] = "clm"
    rows_depend_on: ClassVar[tuple[str, ...]] = ("packing",)
    padding: ClassVar[Mapping[str, int]] = {"labels": IGNORE, "document": -1}
    legend: ClassVar[str] = "documents of one row take turns in colour; every token is predicted from those before it"

    @property
    def architecture(self) -> Architecture:
        return "decoder"

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        separator(tokenizer)

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """Rows of ``length`` positions; a separator is the first position of each document."""
        starts, stops = bounds(documents, block)
        pack = {"stream": packing.stream, "best_fit": packing.best_fit}[self.packing]
        return table(starts, stops, pack(stops - starts + 1, length, rng), ahead=True)

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids, labels [T]; to isolate documents also document and position_ids [T]."""
        edges = start(tokenizer), separator(tokenizer)
        parts = [with_separators(*both, *edges) for both in zip(row.segments, row.marks, strict=True)]
        example = {
            "input_ids": np.concatenate([part[:-1] for part in parts]),
            "labels": np.concatenate([part[1:] for part in parts]),
        }
        if self.isolate_documents:
            sizes = [len(part) - 1 for part in parts]
            example["document"] = np.repeat(np.arange(len(parts)), sizes)
            example["position_ids"] = np.concatenate([np.arange(size) for size in sizes])
        return example

    def check_model(self, model: "nn.Module") -> None:
        import torch

        from ptk.models.next_token import check_visibility

        asked = {"input_ids": torch.arange(4)[None]}
        check_visibility(model, asked, "name a decoder such as gpt2 or llama (of bert: model.is_decoder=true)")
        if self.isolate_documents:
            asked |= {"document": torch.tensor([[0, 0, 1, 1]]), "position_ids": torch.tensor([[0, 1, 0, 1]])}
            check_visibility(model, asked, "set objective.isolate_documents=false, or name gpt2 or llama")

    def marks(self, tokenizer: "Tokenizer") -> dict[str, Any]:
        return {"document_start_id": start(tokenizer)}

    @property
    def mixes(self) -> bool:
        return not self.isolate_documents

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        if self.over_positions(model):
            from ptk.objectives.losses import classification

            return classification(self.part, logits_and_positions(model, batch), batch["labels"])
        return super().loss(model, batch)

    def over_positions(self, model: "nn.Module") -> bool:
        return self.fidelity == "paper" and model.config.model_type == "openai-gpt"  # type: ignore[union-attr]

    def predicts(self, documents: "Documents") -> int:
        return int(documents.lengths().sum()) + len(documents)

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        ids, mark = example["input_ids"], start(tokenizer)
        document = np.cumsum(ids == mark)
        roles = ["special" if i == mark else ("first", "second")[d % 2] for i, d in zip(ids, document, strict=True)]
        apart = ", kept apart" if self.isolate_documents else ""
        headline = f"{len(ids)} tokens of {len(set(document.tolist()))} documents{apart}"
        return headline, list(zip(tokenizer.tokens(ids.tolist()), roles, strict=True))

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        if fidelity != "paper" or model_type != "openai-gpt":
            return []
        return [
            "GPT1-2: the softmax runs over vocabulary and positions, in the scores above too; that dropout acts on the "
            "whole embedding matrix is not reproduced"
        ]


OBJECTIVE = CausalLanguageModelling


def logits_and_positions(model: "nn.Module", batch: Batch) -> "torch.Tensor":
    """Logits [B, T, V + positions]: in GPT-1 positions are rows of the matrix that the softmax is tied to (GPT1-2)."""
    import torch

    hidden = model.base_model(input_ids=batch["input_ids"]).last_hidden_state  # type: ignore[operator,union-attr]
    positions = hidden @ model.base_model.positions_embed.weight.T  # type: ignore[union-attr]
    return torch.cat([model.lm_head(hidden), positions], dim=-1)  # type: ignore[operator]
