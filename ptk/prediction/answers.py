"""The answer to a question, a part of the text that it is asked about.

a line                                     its answer
question<TAB>context                       the answer; empty where there is none
{"question": "...", "context": "..."}      {"answer": "...", "score": 0.9, "start": 10, "end": 18, "n_best": [...]}

``start`` and ``end`` (not included) are characters of the context, -1 where there is no answer; ``score`` is the
probability among the n-best. A model that was fine-tuned on questions without answers says ``null_odds`` too, and gives
no answer where they exceed the threshold of its configuration (``ptk_threshold``, SQ-9).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ptk.evaluation import answering
from ptk.prediction import asked
from ptk.tasks import store
from ptk.tasks.answer_files import Said
from ptk.tasks.examples import IGNORE, Questions

if TYPE_CHECKING:
    from torch import nn

    from ptk.data.tokenizer import Tokenizer
    from ptk.objectives.objective import Batch
    from ptk.objectives.question_answering import QuestionAnswering

Window = dict[str, np.ndarray]
"""What the head says of one window: null, start, end ..., as ``evaluate`` of the objective has them of a batch."""


@dataclass(frozen=True)
class Answers:
    objective: "QuestionAnswering"
    tokenizer: "Tokenizer"
    threshold: float = 0.0
    form = '{"question": "...", "context": "..."}, or question<TAB>context'

    def of_line(self, line: str) -> dict[str, Any]:
        question, tab, context = line.partition("\t")
        return {"question": question, **({"context": context} if tab else {})}

    def read(self, value: dict[str, Any]) -> tuple[str, ...]:
        """The question, and the context as it is. Raises ValueError."""
        question, context = asked.text(value, "question", self.form), asked.verbatim(value, "context", self.form)
        if not context.strip():
            raise ValueError(f'"context" is empty; give {self.form}')
        return question, context

    def found(self, model: "nn.Module", batch: "Batch") -> Iterator[tuple[int, Window]]:
        """Of each window its example, and what the head says of it."""
        _, said = self.objective.evaluate(model, batch)
        arrays = {name: array.cpu().numpy() for name, array in said.items()}
        for row, example in enumerate(arrays.pop("example").tolist()):
            yield example, {name: array[row] for name, array in arrays.items()}

    def plain(self, texts: tuple[str, ...], found: list[Window]) -> str:
        return self.said(texts, found).text

    def full(self, value: dict[str, Any], texts: tuple[str, ...], found: list[Window]) -> dict[str, Any]:
        said = self.said(texts, found)
        about: dict[str, Any] = {"answer": said.text, "score": round(said.score, 6)}
        about |= {"start": said.start, "end": said.end}
        if said.null_odds is not None:
            about["null_odds"] = round(said.null_odds, 6)
        others = [{"text": other.text, "probability": round(other.probability, 6)} for other in said.n_best]
        return {**about, "n_best": others}

    def said(self, texts: tuple[str, ...], found: list[Window]) -> Said:
        """The answer, of all windows of the question."""
        asked_here = questions([texts], np.ones(1, np.int64))
        arrays = {name: np.stack([window[name] for window in found]) for name in found[0]}
        arrays["example"] = np.zeros(len(found), np.int64)
        made = store.in_memory(asked_here, self.tokenizer)
        return answering.said(arrays, asked_here, made, self.objective.no_answer or "never", self.threshold)[0]


def questions(texts: list[tuple[str, ...]], lines: np.ndarray) -> Questions:
    """Questions and contexts of ``lines`` as a task's examples, whose answers nobody knows."""
    names = tuple(map(str, lines.tolist()))
    unknown = np.full((len(texts), 2), IGNORE)
    return Questions(texts, unknown, (), "stdin", lines, ids=names, answers=((),) * len(texts), articles=names)
