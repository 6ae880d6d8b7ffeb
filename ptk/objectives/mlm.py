"""Masked language modelling, with next-sentence or sentence-order prediction beside it, or alone.

BERT (arXiv 1810.04805), ALBERT (1909.11942), RoBERTa (1907.11692). ``encode`` masks a row anew in every epoch; the
vocabulary head runs only at the positions that have a label (MLM-6).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ptk.corruption import following, masking, pairs
from ptk.errors import DataError
from ptk.metrics import Mean
from ptk.objectives.objective import IGNORE, Batch, Example, Objective, Row, Table
from ptk.objectives.segments import RandomDocument, labels_of, lay_out, shown, special_ids
from ptk.recipe import STRICT, Fraction, Positive

if TYPE_CHECKING:
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer

RUNS = {
    "whole_word": masking.choose_words,
    "ngram": partial(masking.choose_runs, weights=masking.NGRAMS),
    "span": partial(masking.choose_runs, weights=masking.SPANS),
}
FEWEST_DOCUMENTS = 20  # for a random second segment (NSP-6)
Ends = Literal["from", "to"]


@dataclass(frozen=True, kw_only=True)
class MaskedLanguageModelling(Objective):
    """The ``objective:`` section of ``name: mlm``."""

    __pydantic_config__ = STRICT

    second_segment: Literal["next", "order", "none"] = "next"
    """Next-sentence prediction, sentence-order prediction, or one segment and no second loss."""
    packing: Literal["document", "full_sentences"] = "document"
    """Of one segment: whole sentences of one document, or of as many as fill the row, a [SEP] behind each (RoBERTa)."""
    mask_rate: Fraction | Mapping[Ends, Fraction] = 0.15
    """Share of the positions to predict, specials counted in the length (MLM-2); ``{from: 0.3, to: 0.15}`` goes in a
    straight line from one to the other over the run (arXiv 2305.15096)."""
    max_predictions: Positive | None = None
    """Most positions of one row; the originals used 20 at 128 and 80 at 512."""
    masked: Fraction = 0.8
    """Of the chosen positions, how many become [MASK] ..."""
    random: Fraction = 0.1
    """... and how many a random entry; the rest stays as it is (MLM-4)."""
    random_from: Literal["vocabulary", "pieces"] = "vocabulary"
    """Random entries are any of the vocabulary (MLM-4), or any but special tokens (ROB-1)."""
    masking: Literal["token", "whole_word", "ngram", "span"] = "token"
    """Positions one by one; whole words (MLM-3); 1 to 3 words in a row (ALBERT, ALB-2); 1 to 10 (SpanBERT). Words are
    those of the text, whatever the tokenizer; the rate is one of tokens."""
    rounding: Literal["nearest", "random"] = "nearest"
    """Of the number of positions in a row (MLM-2), or right on average (RoBERTa, ROB-1)."""
    short_rows: Fraction = 0.1
    """Share of the documents (of the rows, with ``full_sentences``) that aim at a shorter, random length (NSP-2)."""
    fidelity: Literal["fixed", "paper"] | None = None
    """``paper`` for the oddities NSP-5, NSP-6, MLM-3 and ALB-1; the recipe's ``fidelity`` when left out."""

    rows_depend_on: ClassVar[tuple[str, ...]] = ("second_segment", "packing", "short_rows", "fidelity")
    padding: ClassVar[Mapping[str, int]] = {"masked_labels": IGNORE}
    around: ClassVar[Literal["segments"]] = "segments"
    perplexity: ClassVar[str] = "pseudo_perplexity"
    legend: ClassVar[str] = (
        "piece=label: [MASK]=right is masked, other=right a random piece, same=right is kept; "
        "the second segment has another colour"
    )

    def __post_init__(self) -> None:
        if self.masked + self.random > 1:
            raise ValueError(f"masked {self.masked} and random {self.random} are more than 1 together")
        if self.packing == "full_sentences" and self.second_segment != "none":
            raise ValueError(
                "packing: full_sentences has no second segment; set second_segment=none, or packing=document"
            )
        if isinstance(self.mask_rate, Mapping) and len(self.mask_rate) < 2:
            raise ValueError("mask_rate: a rate that changes has both ends; give {from: 0.3, to: 0.15}")

    @property
    def leaves_out(self) -> str:  # type: ignore[override]
        ordered = self.second_segment == "order"
        return "chunks of one sentence" + (" (ALB-1)" if ordered else " that no true pair balances (NSP-5)")

    @property
    def weights(self) -> Mapping[str, float]:  # type: ignore[override]
        """Both losses count the same (MLM-5)."""
        second = {"next": {"nsp": 1.0}, "order": {"sop": 1.0}, "none": {}}[self.second_segment]
        return {"mlm": 1.0, **second}

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """Pairs (or single segments) of whole sentences, cut to ``length`` less the special tokens."""
        numbered = ((piece, documents.boundaries(piece)) for piece in block)
        if self.packing == "full_sentences":
            shuffled = (documents.boundaries(piece) for piece in rng.permutation(block))
            return spans_table(following.full_sentences(shuffled, length - 2, rng, self.short_rows))
        if self.second_segment == "none":
            found, left_out = following.single_segments(numbered, length - 2, rng, self.short_rows)
        else:
            make = {"next": pairs.next_sentence_pairs, "order": pairs.sentence_order_pairs}[self.second_segment]
            draw = RandomDocument(documents, tries=10 if self.fidelity == "paper" else None)
            found, left_out = make(numbered, draw, length - 3, rng, self.fidelity or "fixed", self.short_rows)
        return table(np.array(found, np.int64).reshape(-1, 5), self.second_segment != "none", left_out)

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        """Too few documents make a "random" segment one of the same text (NSP-6)."""
        special_ids(tokenizer)
        fewest = 1 if self.fidelity == "paper" else 2 if held_out else FEWEST_DOCUMENTS
        number = len(np.unique(documents.split.parent))
        if self.second_segment == "next" and number < fewest:
            side = "held-out text has" if held_out else "training text has"
            raise DataError(
                "objective.second_segment: next-sentence prediction draws segments from other documents, and the "
                f"{side} {number} (at least {fewest} are needed); give more documents, "
                "corpus.split_documents=blank_line, or objective.second_segment=order or none"
            )

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids, token_type_ids [T]; masked_positions, masked_labels [K]; next_sentence_label []."""
        cls, sep, mask = special_ids(tokenizer)
        layout = lay_out(row.segments, cls, sep)
        ids, text = layout.ids, layout.text
        rounding = rng.random() if self.rounding == "random" else None
        count = masking.mask_count(len(ids), self.mask_rate, self.max_predictions, rounding)  # type: ignore[arg-type]
        if self.masking != "token":
            starts = tokenizer.word_starts[ids]
            if self.fidelity != "paper":
                starts[layout.ends[:-1] + 1] = True  # a piece that goes on with a word of B never joins one of A
            positions = RUNS[self.masking](text, starts[text], count, rng)
        else:
            positions = masking.choose_tokens(text, count, rng)
        entries = tokenizer.vocab_size if self.random_from == "vocabulary" else tokenizer.piece_ids
        example = {
            "input_ids": masking.corrupt(ids, positions, mask, entries, rng, self.masked, self.random),
            "masked_positions": positions,
            "masked_labels": ids[positions],
        }
        if self.second_segment != "none":
            example["token_type_ids"] = layout.token_type_ids
            example["next_sentence_label"] = np.array(row.columns["label"])
        return example

    def model(self, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> "nn.Module":
        """The ForPreTraining class of the family with a second segment, its ForMaskedLM class without."""
        from ptk.models import build

        head = "masked_lm" if self.second_segment == "none" else "two_segments"
        return build.model(head, settings, tokenizer, length, truncated_init=self.fidelity == "paper")

    def counts(self, batch: Batch) -> dict[str, int]:
        counts = {"mlm": int((batch["masked_labels"] != IGNORE).sum())}
        for name in self.weights.keys() - {"mlm"}:
            counts[name] = len(batch["next_sentence_label"])
        return counts

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        """Summed cross entropies and right answers of both heads, each with its own count (MLM-5)."""
        from ptk.models.labelled import forward_at
        from ptk.models.vocabulary import scored
        from ptk.objectives.losses import classification, summed

        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        labels, positions = batch["masked_labels"], batch["masked_positions"]
        scores, output = scored(model, labels, lambda: forward_at(model, positions, **inputs))
        parts = summed("mlm", scores, labels)
        for name in self.weights.keys() - {"mlm"}:
            second = getattr(output, "seq_relationship_logits", None)
            second = output.sop_logits if second is None else second
            parts |= classification(name, second, batch["next_sentence_label"])
        return parts

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        labels = labels_of(example)
        headline = f"{len(example['input_ids'])} tokens, {len(labels)} to predict"
        if "next_sentence_label" in example:
            names = {"next": ("is next", "random"), "order": ("in order", "swapped")}[self.second_segment]
            headline += f", {names[int(example['next_sentence_label'])]}"
        return headline, shown(example, labels, tokenizer)

    def answer(self, model: "nn.Module", batch: Batch, tokenizer: "Tokenizer") -> str:
        inputs = {name: batch[name] for name in ("input_ids", "token_type_ids") if name in batch}
        output = model(**inputs)
        logits = output.logits if self.second_segment == "none" else output.prediction_logits
        best = logits[0, batch["masked_positions"][0]].argmax(-1).tolist()
        words = tokenizer.tokens(batch["input_ids"][0].tolist())
        right = tokenizer.tokens(batch["masked_labels"][0].tolist())
        for position, guess, answer in zip(
            batch["masked_positions"][0].tolist(), tokenizer.tokens(best), right, strict=True
        ):
            words[position] = f"[{guess}]" if guess == answer else f"[{guess}, not {answer}]"
        return " ".join(words).replace(" ##", "")

    def predicts(self, documents: "Documents") -> int:
        return int(documents.lengths().sum())

    def at(self, length: int, progress: float) -> "MaskedLanguageModelling":
        if not isinstance(self.mask_rate, Mapping):
            return self
        first, last = self.mask_rate["from"], self.mask_rate["to"]
        return replace(self, mask_rate=first + (last - first) * progress)

    def for_validation(self, mask_rate: float) -> "MaskedLanguageModelling":
        return replace(self, mask_rate=mask_rate, max_predictions=None)

    def cautions(self, length: int) -> list[str]:
        rates = (self.at(length, progress).mask_rate for progress in (0.0, 1.0))
        wanted = masking.mask_count(length, max(rates))  # type: ignore[type-var,arg-type]
        if self.max_predictions is None or self.max_predictions >= wanted:
            return []
        return [
            f"objective.max_predictions: {self.max_predictions} of the {wanted} positions that mask_rate wants in rows "
            f"of {length}: {self.max_predictions / length:.1%} are predicted (ALB-4)"
        ]

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        if fidelity != "paper":
            return []
        rules = ["MLM-7: weights from a truncated normal distribution"]
        if self.second_segment == "next":
            rules += ["NSP-5: a chunk of one sentence always gets a random second segment"]
            rules += ["NSP-6: the random document may be the same one after ten tries"]
        if self.second_segment == "order":
            rules += ["ALB-1: a chunk of one sentence gets a random second segment and label 1"]
        if self.masking != "token" and self.second_segment != "none":
            rules += ["MLM-3: a piece at the start of B may join the last word of A"]
        return rules


OBJECTIVE = MaskedLanguageModelling


def table(found: np.ndarray, two_segments: bool, left_out: int) -> Table:
    """Rows [R, 5] of (a, a_stop, b, b_stop, label) as spans."""
    spans = found[:, :4].reshape(-1, 2) if two_segments else found[:, :2]
    each = 2 if two_segments else 1
    columns = {"label": found[:, 4].astype(np.int8)} if two_segments else {}
    return Table(np.arange(len(found) + 1) * each, spans, columns, left_out)


def spans_table(rows: list[list[tuple[int, int]]]) -> Table:
    """Rows of any number of spans."""
    offsets = np.cumsum([0, *map(len, rows)])
    return Table(offsets, np.array([span for row in rows for span in row], np.int64).reshape(-1, 2), {})
