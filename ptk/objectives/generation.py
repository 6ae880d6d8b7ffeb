"""What the objectives share whose model writes text: one loss over next tokens, by a decoder or an encoder-decoder.

An example has ``input_ids`` [T] and ``labels`` [K]; ``models/next_token.py`` says which positions the labels are of.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ptk.errors import DataError
from ptk.metrics import Mean
from ptk.objectives.objective import IGNORE, Batch, Objective, Table

if TYPE_CHECKING:
    from torch import nn

    from ptk.data.frames import Around
    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer

BEGINS, ENDS = 1, 2  # marks of a span: a separator stands before it, behind it
MARKS = ("document_start_id", "prefix_lm", "continues", "span_mode_id", "prefix_mode_id")
Architecture = Literal["decoder", "encoder_decoder"]


class Generation(Objective):
    """One loss, ``part``, over the tokens that the model writes."""

    part: ClassVar[str]
    padding: ClassVar[Mapping[str, int]] = {"labels": IGNORE}
    written: ClassVar[str | None] = "labels"
    legend: ClassVar[str] = "what is predicted is in colour"

    @property
    @abstractmethod
    def architecture(self) -> Architecture:
        """Which kind of model it is for."""

    @property
    def mixes(self) -> bool:
        """Whether one forward pass of a mixture, and the plain loss, do for its rows too."""
        return type(self).loss is Generation.loss

    @property
    def around(self) -> "Around":  # type: ignore[override]
        return "end" if self.architecture == "encoder_decoder" else "nothing"

    @property
    def weights(self) -> Mapping[str, float]:  # type: ignore[override]
        return {self.part: 1.0}

    def model(self, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> "nn.Module":
        """The ForCausalLM class of the family, or its class for text to text."""
        from ptk.models import build

        head = {"decoder": "causal_lm", "encoder_decoder": "seq2seq_lm"}[self.architecture]
        made = build.model(head, settings, tokenizer, self.longest(length))  # type: ignore[arg-type]
        self.check_model(made)
        for name in MARKS:
            vars(made.config).pop(name, None)  # what init was trained for is over
        vars(made.config).update(self.marks(tokenizer))
        return made

    def longest(self, length: int) -> int:
        """Tokens that the model has to take at once, read or written, when ``train.length`` is ``length``."""
        return length

    def check_model(self, model: "nn.Module") -> None:
        """Raises RecipeError when tokens would see what they must not."""

    def marks(self, tokenizer: "Tokenizer") -> dict[str, Any]:
        """Those of ``MARKS`` that the model's configuration keeps, for ``ptk predict`` to read text as rows had it."""
        return {}

    def counts(self, batch: Batch) -> dict[str, int]:
        return dict.fromkeys(self.weights, int((batch["labels"] != IGNORE).sum()))

    def tokens(self, batch: Batch) -> int:
        """Tokens read, and those that an encoder-decoder writes."""
        read = super().tokens(batch)
        return read + int((batch["labels"] != IGNORE).sum()) if self.architecture == "encoder_decoder" else read

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        """Summed cross entropy of the labels, and how many of them are the most probable token."""
        from ptk.models.next_token import scores
        from ptk.objectives.losses import summed

        return summed(self.part, scores(model, batch), batch["labels"])

    def answer(self, model: "nn.Module", batch: Batch, tokenizer: "Tokenizer") -> str:
        """Each label beside what the model thinks most probable there, having seen the right ones before."""
        from ptk.models.next_token import logits

        labels = batch["labels"][0]
        kept = labels != IGNORE
        guesses = tokenizer.tokens(logits(model, batch)[0][kept].argmax(-1).tolist())
        right = tokenizer.tokens(labels[kept].tolist())
        read = tokenizer.decode(batch["input_ids"][0].tolist())
        pairs = (f"[{g}]" if g == r else f"[{g}, not {r}]" for g, r in zip(guesses, right, strict=True))
        return f"{read}\n  -> {' '.join(pairs)}"


def separator(tokenizer: "Tokenizer") -> int:
    """The id that ends a document (LM-1). Raises DataError when the tokenizer has none."""
    if tokenizer.end is not None:
        return tokenizer.end[1]
    raise DataError("the tokenizer has no end-of-text token to stand between documents; use tokenizer.kind=bpe")


def start(tokenizer: "Tokenizer") -> int:
    """The id that a decoder's documents begin with: its own where the tokenizer has one, else that of their end."""
    return separator(tokenizer) if tokenizer.bos_id is None else tokenizer.bos_id


def bounds(documents: "Documents", block: range) -> tuple[np.ndarray, np.ndarray]:
    """Where each piece of the block begins and ends in the store, in tokens, [D] and [D]."""
    where = slice(block.start, block.stop)
    sentences = documents.store.sentences
    return sentences[documents.first[where]], sentences[documents.stop[where]]


def table(starts: np.ndarray, stops: np.ndarray, cuts: np.ndarray, ahead: bool, left_out: int = 0) -> Table:
    """Cuts [C, 4] of documents that begin with a separator (packing.py) as spans with marks.

    ``ahead``: a span holds one position more, the label of its last; behind a document that is the next separator.
    """
    document, first, last = cuts[:, 0], cuts[:, 1], cuts[:, 2] + ahead
    size = (stops - starts)[document]
    begins = first == 0
    ends = last == size + 2  # tokens at 1 .. size, the next separator at size + 1
    spans = np.stack(
        [
            starts[document] + np.maximum(first - 1, 0),
            starts[document] + np.minimum(last - 1, size),
            begins * BEGINS + ends * ENDS,
        ],
        axis=1,
    )
    rows = int(cuts[-1, 3]) + 1 if len(cuts) else 0
    return Table(np.searchsorted(cuts[:, 3], np.arange(rows + 1)), spans, {}, left_out)


def with_separators(segment: np.ndarray, mark: int, start: int, end: int) -> np.ndarray:
    """The ids of one span, with the separators that its mark tells of."""
    before, behind = [start] * bool(mark & BEGINS), [end] * bool(mark & ENDS)
    return np.concatenate([before, segment, behind]).astype(np.int64)
