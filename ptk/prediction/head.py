"""Which head a model was fine-tuned with: the objective that reads texts and answers for it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ptk import recipe_file
from ptk.data import tokenizer as tokenizers
from ptk.models import load
from ptk.models.transfer import PROBLEMS

LENGTH = 512  # tokens of a row, of a model that no run says them of; fewer where it has fewer positions
HEADS = {  # end of an architecture's name -> the objective that is its head
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForMultipleChoice": "multiple_choice",
    "ForQuestionAnswering": "question_answering",
}


def head_of(config: Any) -> str | None:
    """The name of the objective, by a model's configuration; None of a model without such a head."""
    architecture = (config.architectures or [""])[0]
    own = getattr(config, "ptk_head", None)
    return own or next((head for end, head in HEADS.items() if architecture.endswith(end)), None)


def objective_of(name: str, config: Any) -> tuple[Any, int]:
    """The objective of a fine-tuned model, and how many tokens its rows had at most.

    The settings are those of its run where it has one; the labels are the configuration's (transformers: a single
    label without a ``problem_type`` is a score).
    """
    head = head_of(config)
    labels = tuple(config.id2label[number] for number in sorted(config.id2label))
    recipe = recipe_of(name)
    if recipe is not None:
        objective: Any = recipe_file.build_objective(recipe)
        length = max([phase.length for phase in recipe.train.phases or ()], default=recipe.train.length)
        return (replace(objective, labels=labels) if objective.labels else objective), length
    kind: Any = recipe_file.objective_class(head or "")
    length = getattr(config, "ptk_length", LENGTH)
    if head == "question_answering":
        own = {key: value for key, value in getattr(config, "ptk_questions", {}).items() if key != "rule"}
        return kind(**own, framing=tokenizers.load(load.folder_of(name)).pair.size), length
    if head == "multiple_choice":
        return kind(), length
    if head == "token_classification":
        return kind(labels=labels), length
    problems = {theirs: ours for ours, theirs in PROBLEMS.items()}
    problem = problems.get(config.problem_type, "regression" if len(labels) == 1 else "single_label")
    scores = getattr(config, "ptk_score_range", None)  # of a head that learned them as 0 to 1
    unit = {"scale": "unit", "score_range": tuple(scores)} if scores else {}
    return kind(problem=problem, labels=() if problem == "regression" else labels, **unit), length


def recipe_of(name: str) -> Any:
    """The recipe of the run that a model is of: a run is named, or the folder ``model`` in one; else None."""
    folder = Path(load.folder_of(name))
    path = folder.parent / "recipe.yaml"
    return recipe_file.load(str(path)).recipe if folder.name == "model" and path.exists() else None
