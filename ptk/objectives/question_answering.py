"""The part of a text that answers a question, or that there is none.

BERT's (arXiv 1810.04805, 4.2) by the rules of its code: a long context becomes windows that overlap (SQ-3); a window
without the whole answer points at its first position (SQ-4); an answer may begin only in the window where its first
token has most context (SQ-7). ``end``, ``no_answer`` and ``candidates`` make it ELECTRA's (SQ-6, SQ-9).

The first position stands for no answer whatever the family. An encoder's has read the whole row. That of a decoder
(GPT-2) has seen itself alone: its logits are the same in all windows of a question, and a row says that it holds no
answer only by what the other positions have less. ``cls_head`` reads a decoder's last position.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from ptk.corruption.windows import placed, windows
from ptk.errors import DataError, RecipeError
from ptk.metrics import Mean
from ptk.objectives.labelled_rows import LabelledRows, texts_of
from ptk.objectives.objective import IGNORE, Batch, Example, Row, Table
from ptk.objectives.segments import shown
from ptk.recipe import STRICT, Positive

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ptk.data.split import Documents
    from ptk.data.tokenizer import Tokenizer
    from ptk.models.answering import Spans
    from ptk.models.best_spans import Best

SETTINGS = ("max_question", "stride", "max_answer", "n_best")
NONE = -1  # of a window without the answer


@dataclass(frozen=True, kw_only=True)
class QuestionAnswering(LabelledRows):
    """The ``objective:`` section of ``name: question_answering``."""

    __pydantic_config__ = STRICT

    max_question: Positive = 64
    """Tokens that are kept of a question, where they are no more than half of a row."""
    stride: Positive = 128
    """Tokens from the beginning of a window to that of the next: the step, not the overlap as in transformers (SQ-3).
    In short rows it is half of a window, so that the windows overlap; in ``paper`` a whole one."""
    max_answer: Positive = 30
    """Most tokens of an answer."""
    n_best: Positive = 20
    """Best starts and best ends that are paired, and best pairs that are kept, of a window."""
    end: Literal["independent", "joint"] = "independent"
    """Whether the end is asked for knowing the start, as in ELECTRA."""
    no_answer: Literal["never", "null_span", "cls_head", "both"] | None = None
    """How a question without an answer is told: not at all, by the span of the first position, by a head of its own
    (ELECTRA's, which reads the first position and where an answer may begin), or by both (SQ-9). Left out, by the span
    in tasks that have such questions."""
    candidates: Literal["all", "context"] = "all"
    """What the softmax is over: every token of the row (BERT), or the context and the first position (ELECTRA)."""
    framing: Annotated[int, Ge(0)] = 3
    """Tokens around a question and its context; what the tokenizer puts there."""
    fidelity: Literal["fixed", "paper"] | None = None
    """``paper`` for BERT's truncated normal head (FT-1)."""

    part: ClassVar[str] = "answer"
    padding: ClassVar[Mapping[str, int]] = {}
    rows_depend_on: ClassVar[tuple[str, ...]] = ("max_question", "stride", "framing", "fidelity")
    legend: ClassVar[str] = "the answer is in brackets"

    @property
    def settings(self) -> dict[str, Any]:
        """What answers depend on, for whoever uses the model without its run."""
        return {name: getattr(self, name) for name in (*SETTINGS, "end", "no_answer", "candidates")}

    @property
    def has_head(self) -> bool:
        """Whether a head says that there is no answer."""
        return self.no_answer in ("cls_head", "both")

    @property
    def weights(self) -> Mapping[str, float]:  # type: ignore[override]
        return {self.part: 1.0, **({"impossible": 0.5} if self.has_head else {})}

    @property
    def scored_by(self) -> tuple[str, ...]:
        return self.metrics or ("f1",)

    # Rows --------------------------------------------------------------------------------------------------

    def rows(self, documents: "Documents", block: range, length: int, rng: np.random.Generator) -> Table:
        """A row of each window of each question: the question, cut, and the window.

        Columns: ``example``; ``first``, the number in the context of the window's first token; in the window
        ``scored`` and ``until``, the range of the tokens that have most context here, and ``start`` and ``end``, the
        answer's first and last token, both NONE where it is not whole here, IGNORE where the file says nothing;
        ``impossible``, 1 where the question has no answer, whatever the window. Raises RecipeError for windows without
        room.
        """
        _, spans = texts_of(documents, block)
        questions, contexts = spans[::2], spans[1::2]
        kept = np.minimum(questions[:, 1] - questions[:, 0], self.most(length))
        widths = length - self.framing - kept
        most = widths if self.fidelity == "paper" else (widths + 1) // 2
        found = windows(contexts[:, 1] - contexts[:, 0], widths, np.minimum(self.stride, most))
        where = contexts[found.text, 0]
        question = np.stack([questions[:, 0], questions[:, 0] + kept], axis=1)[found.text]
        window = np.stack([where + found.first, where + found.stop], axis=1)
        example = documents.parent[block.start : block.stop][found.text]
        answers = documents.store.labels[documents.parent[block.start : block.stop]]
        start, end = placed(found, answers).T
        columns = {
            "example": example,
            "first": found.first,
            "scored": found.scored - found.first,
            "until": found.until - found.first,
            "start": start,
            "end": end,
            "impossible": np.where(start == IGNORE, IGNORE, answers[found.text, 0] == NONE),
        }
        pairs = np.stack([question, window], axis=1).reshape(-1, 2)
        return Table(2 * np.arange(len(example) + 1), pairs, columns)

    def most(self, length: int) -> int:
        """Most tokens of a question in rows of ``length``: the context has half of the room or more.

        Raises RecipeError where there is no room.
        """
        room = (length - self.framing) // 2
        if room < 1:
            least = self.framing + 2
            raise RecipeError(
                f"train.length: {length} leaves no room for a question and its context; give {least} or more"
            )
        return min(self.max_question, room)

    def cut(self, documents: "Documents", tokenizer: "Tokenizer", length: int) -> int:
        """How many questions lose their end; long contexts become several rows."""
        _, spans = texts_of(documents, range(len(documents)))
        return int(((spans[:, 1] - spans[:, 0])[::2] > self.most(length)).sum())

    def too_long(self, length: int) -> str:
        return f"have a question of more than {self.most(length)} tokens"

    def check(self, documents: "Documents", tokenizer: "Tokenizer", length: int, held_out: bool) -> None:
        """Raises RecipeError for windows without room, DataError for a tokenizer that puts other tokens around a pair
        than ``framing`` says."""
        if tokenizer.pair.size != self.framing:
            raise DataError(
                f"the tokenizer puts {tokenizer.pair.size} tokens around a question and its context, "
                f"objective.framing says {self.framing}; leave it out"
            )
        self.most(length)

    def encode(self, row: Row, tokenizer: "Tokenizer", rng: np.random.Generator) -> Example:
        """input_ids [T], token_type_ids [T] of a pair; labels [2], the positions of the answer's first and last token,
        (0, 0) without one; context [2] and scored [2], the first position and the one behind the last of the context
        and of what has most context here; first, example, impossible."""
        ids, types = tokenizer.pair.around(row.segments)
        frame, (question, window), own = tokenizer.pair, row.segments, row.columns
        begin = len(frame.parts[0]) + len(question) + len(frame.parts[1])
        answer = np.array([own["start"], own["end"]])
        example = {
            "input_ids": ids,
            "labels": np.where(answer >= 0, answer + begin, np.where(answer == NONE, 0, answer)),
        }
        if types.any():
            example["token_type_ids"] = types
        example["context"] = np.array([begin, begin + len(window)])
        example["scored"] = begin + np.array([own["scored"], own["until"]])
        return example | {name: np.array(own[name]) for name in ("first", "example", "impossible")}

    # Model and losses --------------------------------------------------------------------------------------

    def model(self, settings: Mapping[str, Any], tokenizer: "Tokenizer", length: int) -> "nn.Module":
        """The ForQuestionAnswering class of the family, or its backbone with ptk's own head (models/answering.py)."""
        from ptk.models import heads

        own = {"ptk_end": "joint"} if self.end == "joint" else {}
        own |= {"ptk_impossible": True} if self.has_head else {}
        paper = self.fidelity == "paper"
        return heads.model("question_answering", settings, tokenizer, length, paper=paper, own=own)

    def counts(self, batch: Batch) -> dict[str, int]:
        return dict.fromkeys(self.weights, int((batch["labels"][:, 0] != IGNORE).sum()))

    def loss(self, model: "nn.Module", batch: Batch) -> dict[str, Mean]:
        """``answer``: the mean of the cross entropies of start and end, of a joint end given the right start.

        ``impossible``: the binary cross entropy of the head. Its label is the question's, as in ELECTRA's code: a
        window that lacks the answer of its question has 0, though its span is that of no answer.
        """
        return self.both(model, batch)[0]

    def both(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], Spans]":
        """The losses, the share of rows whose start and end are right, and what the model says."""
        from ptk.models import answering, heads
        from ptk.objectives import losses

        labels = batch["labels"]
        found = answering.spans(model, heads.inputs(model, batch), self.allowed(batch), labels[:, 0].clamp(min=0))
        parts = losses.spans(self.part, found.start, found.end, labels)
        if found.impossible is not None:
            parts |= losses.yes_or_no("impossible", found.impossible, batch["impossible"])
        return parts, found

    def allowed(self, batch: Batch) -> "torch.Tensor":
        """bool [B, T]: what the softmax is over; never padding."""
        import torch

        from ptk.models.answering import within

        if self.candidates == "all":
            real = batch.get("attention_mask")
            return torch.ones_like(batch["input_ids"], dtype=torch.bool) if real is None else real.bool()
        allowed = within(batch["context"], batch["input_ids"])
        allowed[:, 0] = True
        return allowed

    # Answers -----------------------------------------------------------------------------------------------

    def evaluate(self, model: "nn.Module", batch: Batch) -> "tuple[dict[str, Mean], dict[str, torch.Tensor]]":
        """The losses; ``example`` [B]; ``null`` [B], the score of the span of the first position; ``impossible`` [B],
        with a head; of the ``n_best`` candidates, the best first, ``start`` and ``end`` [B, N], tokens of the context,
        ``start_logit`` and ``end_logit`` [B, N], minus infinity (and -1) where there are fewer.

        Of a joint end both are logarithms of probabilities, as in ELECTRA.
        """
        parts, found = self.both(model, batch)
        best = self.decoded(model, found, batch)
        shift = (batch["first"] - batch["context"][:, 0])[:, None]
        lacks = best.start_logit.isneginf()
        answers = {"example": batch["example"], "null": best.null}
        answers |= {name: (getattr(best, name) + shift).masked_fill(lacks, NONE) for name in ("start", "end")}
        answers |= {name: getattr(best, name) for name in ("start_logit", "end_logit")}
        return parts, answers if found.impossible is None else answers | {"impossible": found.impossible}

    def decoded(self, model: Any, found: "Spans", batch: Batch) -> "Best":
        """The best spans, by positions: beginning where the context is most in this window (SQ-7), ending in it."""
        from ptk.models import answering, best_spans

        may_start, may_end = (answering.within(batch[name], batch["input_ids"]) for name in ("scored", "context"))
        search = best_spans.Search(may_start, may_end, self.n_best, self.max_answer)
        if self.end == "independent":
            return best_spans.independent(found, search)
        return best_spans.joint(model, found, self.allowed(batch), search)

    def score(self, predictions: Mapping[str, np.ndarray]) -> dict[str, Mean]:
        """Nothing: official scores are of texts."""
        return {}

    # For people --------------------------------------------------------------------------------------------

    def show(self, example: Example, tokenizer: "Tokenizer") -> tuple[str, list[tuple[str, str]]]:
        pieces = shown(example, {}, tokenizer)
        start, end = example["labels"].tolist()
        for place in range(start, end + 1) if start > 0 else ():
            pieces[place] = (f"{'[' * (place == start)}{pieces[place][0]}{']' * (place == end)}", "kept")
        (begin, stop), first = example["context"].tolist(), int(example["first"])
        said = f"{len(pieces)} tokens, {first} to {first + stop - begin} of the context: "
        if start == IGNORE:
            return said + "no label", pieces
        if start:
            return said + "the answer is in it", pieces
        return said + ("the question has no answer" if example["impossible"] else "the answer is elsewhere"), pieces

    def answer(self, model: "nn.Module", batch: Batch, tokenizer: "Tokenizer") -> str:
        _, found = self.both(model, batch)
        best, ids = self.decoded(model, found, batch), batch["input_ids"][0].tolist()
        lead = 0.0 if found.impossible is None else float(found.impossible[0])
        if self.no_answer in ("null_span", "both"):
            lead += float(best.null[0] - best.start_logit[0, 0] - best.end_logit[0, 0])

        def said(start: int, end: int) -> str:
            return "no label" if start < 0 else tokenizer.decode(ids[start : end + 1]) if start else "no answer"

        guess = said(0, 0) if lead > 0 else said(int(best.start[0, 0]), int(best.end[0, 0]))
        right = said(*batch["labels"][0].tolist())
        return f"{tokenizer.decode(ids)} [{guess if guess == right else f'{guess}, not {right}'}]"

    def epoch(self, examples: int, rows: int) -> float:
        """All windows; in ``paper`` as many as there are questions, which BERT's code counts and ELECTRA's does not
        (SQ-5)."""
        return examples / rows if self.fidelity == "paper" and self.end == "independent" else 1.0

    def cautions(self, length: int) -> list[str]:
        question = self.most(length)
        width = length - self.framing - question
        step = min(self.stride, width if self.fidelity == "paper" else (width + 1) // 2)
        if (longest := (width - step) // 2 + 1) >= self.max_answer:
            return []
        return [
            f"train.length: in rows of {length}, beside a question of {question} tokens, an answer of more than "
            f"{longest} may begin where its end is in the next window only (SQ-7), and is then not found; give more"
        ]

    def notes(self, fidelity: str, model_type: str) -> list[str]:
        if fidelity != "paper":
            return []
        rules = ["FT-1: a fresh head is drawn from a truncated normal distribution"]
        return rules + ["SQ-5: an epoch is as many windows as there are questions"] * (self.end == "independent")


OBJECTIVE = QuestionAnswering
