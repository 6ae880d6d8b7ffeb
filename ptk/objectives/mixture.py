"""Several objectives in one run, each giving its share of the rows: UL2's denoisers (arXiv 2205.05131), or your own.

All members write text with the same kind of model, so a batch is run once, whatever is mixed in it. What is trained
on is the mean over all tokens of the batch; each member's own loss is reported by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ptk import objectives
from ptk.metrics import Mean
from ptk.objectives.generation import Architecture, Generation
from ptk.objectives.objective import Batch, Example, Objective, Row, Table
from ptk.recipe import STRICT

if TYPE_CHECKING:
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer


TAKEN = {"mixture", "loss", "z", "perplexity", "pseudo_perplexity", "bits_per_byte", "step", "split", "lr"}
TAKEN |= {"grad_norm", "tokens", "tokens_per_second", "seconds"}


@dataclass(frozen=True, kw_only=True)
class Mixture(Generation):
    """The ``objective:`` section of ``name: mixture``."""

    __pydantic_config__ = STRICT

    members: Mapping[str, Mapping[str, Any]]
    """A name of yours -> ``name`` of the objective, ``weight`` (share of the rows, 1 when left out), its settings."""
    fidelity: Literal["fixed", "paper"] | None = None
    """Of members that leave it out; the recipe's ``fidelity`` when left out."""

    part: ClassVar[str] = "mixture"

    def __post_init__(self) -> None:
        for name, settings in self.members.items():
            weight = settings.get("weight", 1.0)
            if type(weight) not in (int, float) or not 0 < weight < float("inf"):
                raise ValueError(f"members.{name}.weight: {weight!r} is not a number above 0")
            if name in TAKEN or name.endswith("_accuracy"):
                raise ValueError(f"members.{name}: a name that results have already; choose another")
        kinds = {name: self.kind(member) for name, member in self.parts.items()}
        if len(self.members) < 2 or len(set(kinds.values())) > 1 or None in kinds.values():
            said = ", ".join(f"{name} {kind or 'not for one'}" for name, kind in kinds.items())
            raise ValueError(
                f"members: {said or 'none'}; a mixture has two or more, all for a decoder or all for an "
                "encoder_decoder, none a mixture itself or with isolate_documents or z_loss"
            )

    @staticmethod
    def kind(member: Objective) -> Architecture | None:
        """The kind of model that one forward pass of a mixture needs; None for what cannot be mixed."""
        return member.architecture if isinstance(member, Generation) and member.mixes else None

    @cached_property
    def parts(self) -> dict[str, Generation]:
        """The members by name."""
        made: dict[str, Generation] = {}
        for name, settings in self.members.items():
            kind = objectives.find(settings["name"])
            own = {key: value for key, value in settings.items() if key not in ("name", "weight")}
            if any(f.name == "fidelity" for f in fields(kind)):
                own["fidelity"] = own.get("fidelity") or self.fidelity
            made[name] = kind(**own)
        return made

    @property
    def architecture(self) -> Architecture:
        return next(iter(self.parts.values())).architecture

    def weighted(self) -> dict[str, tuple[float, Objective]]:
        weights = {name: float(settings.get("weight", 1.0)) for name, settings in self.members.items()}
        return {name: (weights[name] / sum(weights.values()), member) for name, member in self.parts.items()}

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        raise TypeError("a mixture has no rows of its own; its members have")

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        raise TypeError("a mixture encodes no rows of its own; its members do")

    def longest(self, length: int) -> int:
        return max(member.longest(length) for member in self.parts.values())

    def marks(self, tokenizer: "Tokenizer") -> dict[str, Any]:
        """Those of all members; of two that differ the first one's."""
        members = reversed(self.parts.values())
        return {name: value for member in members for name, value in member.marks(tokenizer).items()}

    def check_model(self, model: "nn.Module") -> None:
        for member in self.parts.values():
            member.check_model(model)

    @property
    def mixes(self) -> bool:
        return False

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        """``mixture``, over all rows, and each member's by its name; ``member`` [B] tells whose a row is."""
        from ptk.models.next_token import scores
        from ptk.objectives.losses import by_member

        own = by_member(list(self.parts), scores(model, batch), batch["labels"], batch["member"])
        ends = ("", "_accuracy")
        return {self.part + end: reduce(add, (own[name + end] for name in self.parts)) for end in ends} | own

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        name = list(self.parts)[int(example["member"])]
        headline, pieces = self.parts[name].show(example, tokenizer)
        return f"{name}: {headline}", pieces

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        return [f"{name}: {rule}" for name, member in self.parts.items() for rule in member.notes(fidelity, model_type)]

    def remarks(self) -> list[str]:
        return list(dict.fromkeys(remark for member in self.parts.values() for remark in member.remarks()))


OBJECTIVE = Mixture
