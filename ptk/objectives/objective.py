"""What an objective is: it makes rows of the store, encodes them, builds its model and gives its losses.

To add one, copy ``mlm.py``: the file's name is the word of the recipe, its frozen dataclass (``OBJECTIVE``) has
the keys of the recipe's ``objective:`` section as fields. Nothing here or in an objective knows the engine, a run
or the command line. torch is imported by the methods that need it, not by the module: building rows needs none.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ptk.metrics import Mean

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ptk.data.frames import Around
    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer

IGNORE = -100
Example = dict[str, np.ndarray]
Batch = dict[str, "torch.Tensor"]


class Row(NamedTuple):
    """One stored, uncorrupted row: its token spans in the store, their ids, and the row's own numbers."""

    segments: list[np.ndarray]  # ids of each span, int64
    columns: dict[str, Any]  # a number each, or a list of numbers
    marks: Sequence[int] = ()  # of each span, where the objective marks them


class Table(NamedTuple):
    """Rows as pointers into the store: row i has the spans ``spans[offsets[i]:offsets[i + 1]]``."""

    offsets: np.ndarray  # [R + 1]
    spans: np.ndarray  # [S, 2] token offsets, first and after the last; [S, 3] with a mark of the objective's own
    columns: dict[str, np.ndarray]  # name -> [R], or [R, N]
    left_out: int = 0  # stretches of text that no row holds, counted

    def __len__(self) -> int:
        return len(self.offsets) - 1


class Objective(ABC):
    """Frozen settings of one objective, and what follows from them."""

    fidelity: str | None
    # Settings that rows depend on: a table is made anew when one of them changes.
    rows_depend_on: ClassVar[tuple[str, ...]] = ()
    # Whether each epoch has rows of its own, drawn anew; else the first table serves all of them.
    rows_change: ClassVar[bool] = True
    # Values that pad each axis of each array of an example, beside the tokenizer's own for ids.
    padding: ClassVar[Mapping[str, int]] = {}
    # The array of an example that the model writes: its unigram entropy is the score to beat. None: the text's own.
    written: ClassVar[str | None] = None
    # What the model's tokenizer puts around a text: what its rows had there. None: whatever it does already.
    around: "Around | None" = None
    # What exp(loss) is called; pseudo_perplexity where tokens on both sides are seen.
    perplexity: ClassVar[str] = "perplexity"
    # What a table's count of left-out text counts, and how to read `show`, for people.
    leaves_out: ClassVar[str] = "stretches of text"
    legend: ClassVar[str] = ""
    # The losses that are trained on and the weight of each; what `loss` returns beside them is only reported.
    weights: Mapping[str, float]

    @abstractmethod
    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """The rows of one block of documents, for rows of ``length`` tokens, specials included."""

    def check(  # noqa: B027 - many have nothing to refuse
        self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool
    ) -> None:
        """Raises DataError or RecipeError when rows of these documents would not be what the objective says."""

    @abstractmethod
    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """One row to one example; all randomness of the data is here and comes from ``rng``."""

    @abstractmethod
    def model(self, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> "nn.Module":
        """A fresh model: a transformers class wherever one exists."""

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, int]:
        """How many labels each loss of ``weights`` has in the batch; no synchronisation with a device."""

    def tokens(self, batch: Batch) -> int:
        """Tokens that the model works on, padding left out: what tokens a second counts."""
        mask = batch.get("attention_mask")
        return batch["input_ids"].numel() if mask is None else int(mask.sum())

    def reads(self, stored: np.ndarray) -> np.ndarray:
        """Tokens that are read of rows with so many ``stored`` ones [R], for ``train.batch_tokens``."""
        return stored

    @abstractmethod
    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        """Every loss, and what is reported beside it, as (total, count)."""

    def evaluate(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], dict[str, torch.Tensor]]":
        """The losses, and what ``score`` needs of all batches together: arrays by name, [N] each."""
        return self.loss(model, batch), {}

    def score(self, predictions: Mapping[str, np.ndarray]) -> dict[str, Mean]:
        """Metrics that are no sum over batches, of the arrays of all of them."""
        return {}

    @abstractmethod
    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        """An example for people: a headline, and its pieces, each with a role that has a colour:
        ``first``, ``second``, ``special``, ``masked``, ``random``, ``kept``."""

    @abstractmethod
    def answer(self, model: "nn.Module", batch: Batch, tokenizer: "Tokenizer") -> str:
        """What the model says of a batch of one row, beside what is right."""

    def weighted(self) -> "dict[str, tuple[float, Objective]]":
        """Name -> share of the rows and objective of a mixture's members; any other is its own only one, unnamed."""
        return {"": (1.0, self)}

    def predicts(self, documents: "Documents") -> int | None:
        """How many tokens a loss for the whole text is the sum of; None where most of it is never predicted."""
        return None

    def at(self, length: int, progress: float) -> "Objective":
        """The same objective for rows of ``length`` tokens at this share of the run, for settings that follow them."""
        return self

    def rank(self, line: Mapping[str, Any]) -> float:
        """How good a validation was, of its logged ``line``: the lower the better."""
        return line["loss"]

    def for_validation(self, mask_rate: float) -> "Objective":
        """The same objective as it is scored on held-out text (ENG-4)."""
        return self

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        """The oddities of the original that ``fidelity: paper`` reproduces, for the model card."""
        return []

    def kept(self, model: "nn.Module") -> list[str]:
        """What the weights of ``init`` have otherwise than these settings say, and keep."""
        return []

    def cautions(self, length: int) -> list[str]:
        """What to tell, before the first step, whoever trains rows of ``length`` tokens."""
        return []

    def remarks(self) -> list[str]:
        """What whoever uses the model has to know, for its card."""
        return []
