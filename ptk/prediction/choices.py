"""Which of several choices goes with a text.

a line                                                  its answer
text<TAB>choice<TAB>choice                              the choice<TAB>its probability
{"text": "...", "choices": ["...", "..."]}              {"choice": 0, "text": "...", "probabilities": [0.7, 0.3]}

Beside them "question", of a model whose task asks one (COPA: cause or effect): each choice begins with the words that
it stands for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ptk.prediction import asked

if TYPE_CHECKING:
    from torch import nn

    from ptk.objectives.multiple_choice import MultipleChoice
    from ptk.objectives.objective import Batch


@dataclass(frozen=True)
class Choices:
    objective: "MultipleChoice"
    starts: Mapping[str, str] = field(default_factory=dict)  # question -> the words that a choice begins with
    form = '{"text": "...", "choices": ["...", "..."]}'

    def of_line(self, line: str) -> dict[str, Any]:
        text, *choices = line.split("\t")
        return {"text": text, "choices": choices}

    def read(self, value: dict[str, Any]) -> tuple[str, ...]:
        """What comes before, then each choice. Raises ValueError."""
        text, choices = asked.text(value, "text", self.form), asked.texts(value, "choices", self.form)
        if len(choices) < 2:
            said = "1 choice" if choices else "no choices"
            raise ValueError(f"{said}; give two or more: text<TAB>choice<TAB>choice, or {self.form}")
        return text, *(f"{self.start(value)}{choice}" for choice in choices)

    def start(self, value: dict[str, Any]) -> str:
        question = value.get("question")
        if question is None or not self.starts:
            return ""
        if question not in self.starts:
            raise ValueError(f'"question" is {question!r}; this model knows {", ".join(self.starts)}')
        return f"{self.starts[question]} "

    def found(self, model: "nn.Module", batch: "Batch") -> Iterator[tuple[int, list[float]]]:
        """Of each example the probability of each choice, and 0 for those that only fill up."""
        _, logits = self.objective.both(model, batch)
        yield from zip(batch["example"].tolist(), logits.softmax(-1).tolist(), strict=True)

    def plain(self, texts: tuple[str, ...], found: list[list[float]]) -> str:
        (probabilities,) = found
        choice = probabilities.index(max(probabilities))
        return f"{texts[1 + choice]}\t{probabilities[choice]:.4f}"

    def full(self, value: dict[str, Any], texts: tuple[str, ...], found: list[list[float]]) -> dict[str, Any]:
        (probabilities,) = found
        choice = probabilities.index(max(probabilities))
        shares = [round(share, 6) for share in probabilities[: len(texts) - 1]]
        return {"choice": choice, "text": texts[1 + choice], "probabilities": shares}
