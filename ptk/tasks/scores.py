"""What predictions are worth, as the tasks' official scripts count it; fractions, never per cent.

=================== ================================================================================================
accuracy            share of right answers; of multi-label, of examples with every label right; of tagging, of words
f1                  of the positive label (GLUE's scripts for MRPC and QQP), id 1 if none is; of multi-label, micro
macro_f1, micro_f1  scikit-learn's; macro is the mean over the labels that are in the gold or the predictions
matthews            0 where the predictions or the gold are all one label
pearson, spearman   undefined where the predictions or the gold are constant: 0
f1_from_3           of a regression: F1 of "at least 3", KLUE-STS's second metric
entity_f1           micro over entities, with entity_precision and entity_recall: conlleval's, which is seqeval's
                    default mode and not its strict one. An entity is right when its type and both ends are; ``I-X``
                    after ``O`` or after another type begins one. No entity crosses two examples
entity_macro_f1     KLUE-NER's: mean of the types' F1, seqeval's strict mode in IOB2 (``I-X`` after ``O`` is none)
character_macro_f1  KLUE-NER's: mean of the F1 of every label, ``O`` among them; a label in neither gold nor
                    predictions counts as 1
=================== ================================================================================================

KLUE's own scorer leaves blank characters out, and adds for each sentence what the model says of [CLS] and [SEP] as two
more ``O``: the first is done by giving blanks no gold label, the second is not done here.

What is not NumPy comes from scikit-learn, scipy and seqeval (``pip install 'ptk[eval]'``), imported when it is needed.
seqeval reads the 285,929 characters of KLUE-NER's dev set in 0.5 s, strictly in 0.8 s (one core): little beside the
model, so it stays seqeval.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import ModuleType

import numpy as np

from ptk.errors import RecipeError

NO_SPREAD = 0.01
"""A regression whose predictions lie within this share of their mean (of 1, where that is smaller) has collapsed."""
_PACKAGES = {"sklearn": "scikit-learn", "scipy": "scipy", "seqeval": "seqeval"}
_DETAILS = ("entity_precision", "entity_recall")


def scored(
    metrics: Sequence[str],
    predicted: np.ndarray,
    gold: np.ndarray,
    names: Sequence[str] = (),
    sentences: np.ndarray | None = None,
    positive: str | None = None,
) -> dict[str, float]:
    """Each metric by its name.

    ``predicted`` and ``gold`` are of one shape: label ids [N], scores [N] of regression, 0 and 1 [N, L] of
    multi-label. ``names`` are the labels by id. Tagging is flat, in reading order, ``sentences`` [N] the example of
    each. ``positive`` names the label that ``f1`` is of. Raises ValueError for rows without gold (below 0, nan) and for
    predictions that are not numbers, RecipeError for a package that is not installed and a positive label that is none.
    """
    predicted, gold = _checked(predicted, gold)
    scores: dict[str, float] = {}
    for metric in metrics:
        if metric == "entity_f1":
            scores |= _entity_scores(predicted, gold, names, sentences)
        elif metric == "entity_macro_f1":
            scores[metric] = _entity_macro_f1(predicted, gold, names, sentences)
        elif metric == "character_macro_f1":
            labels = range(len(names))
            scores[metric] = _f1(predicted, gold, labels=labels, average="macro", zero_division=1)
        elif metric == "f1":
            scores[metric] = _f1_of_the_task(predicted, gold, _id_of(positive, names))
        elif metric in _METRICS:
            scores[metric] = float(_METRICS[metric](predicted, gold))
        else:
            raise ValueError(f"no metric {metric!r}; there are {', '.join(NAMES)}")
    return scores


def mean_score(scores: Mapping[str, float]) -> float:
    """The mean of a task's metrics (GLUE-2), without what only explains one of them: entity precision and recall."""
    return float(np.mean([value for name, value in scores.items() if name not in _DETAILS]))


def majority(
    metrics: Sequence[str],
    gold: np.ndarray,
    names: Sequence[str] = (),
    sentences: np.ndarray | None = None,
    positive: str | None = None,
) -> dict[str, float]:
    """What is scored without looking at the text: always the most frequent label, of regression the mean.

    Of multi-label, each label or its absence, whichever is more frequent. Arguments as of ``scored``.
    """
    if np.issubdtype(gold.dtype, np.floating):
        answer = gold.mean(dtype=np.float64)
    elif gold.ndim == 2:
        answer = (gold.mean(axis=0) > 0.5).astype(gold.dtype)
    else:
        labels, counts = np.unique(gold, return_counts=True)
        answer = labels[counts.argmax()]
    return scored(metrics, np.broadcast_to(answer, gold.shape), gold, names, sentences, positive)


def collapsed(predicted: np.ndarray, names: Sequence[str] = ()) -> str | None:
    """What to say of predictions that do not depend on the text; None of all others.

    >>> collapsed(np.zeros(277, int), ("entailment", "not_entailment"))
    'every one of 277 predictions is entailment'
    """
    if len(predicted) < 2:
        return None
    if np.issubdtype(predicted.dtype, np.floating):
        mean = float(predicted.mean())
        if np.ptp(predicted) < NO_SPREAD * max(1, abs(mean)):
            return f"every one of {len(predicted):,} predictions is about {mean:.2f}"
    elif (predicted == predicted[0]).all():
        answer = np.flatnonzero(predicted[0]) if predicted.ndim == 2 else predicted[:1]
        said = ", ".join(names[label] for label in answer.tolist())
        return f"every one of {len(predicted):,} predictions is {said or 'no label'}"
    return None


def _checked(predicted: np.ndarray, gold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if predicted.shape != gold.shape or not len(gold):
        raise ValueError(f"predictions {predicted.shape} and gold {gold.shape}; they must be of one shape, not empty")
    without = np.isnan(gold) if np.issubdtype(gold.dtype, np.floating) else gold < 0
    if without.any():
        raise ValueError(f"{int(without.sum()):,} of {gold.size:,} have no gold label; leave them out")
    if not np.isfinite(predicted).all():
        raise ValueError(f"{int((~np.isfinite(predicted)).sum()):,} of {gold.size:,} predictions are not numbers")
    if np.issubdtype(gold.dtype, np.floating):
        return predicted.astype(np.float64), gold.astype(np.float64)
    return predicted, gold


def _accuracy(predicted: np.ndarray, gold: np.ndarray) -> float:
    right = predicted == gold
    return float((right.all(axis=1) if right.ndim == 2 else right).mean())


def _f1(predicted: np.ndarray, gold: np.ndarray, **options: object) -> float:
    return _library("sklearn.metrics").f1_score(gold, predicted, **{"zero_division": 0, **options})


def _id_of(positive: str | None, names: Sequence[str]) -> int:
    """Of the label that f1 is of. Raises RecipeError for one that is none of them."""
    if positive is None:
        return 1
    if positive not in names:
        raise RecipeError(f"objective.positive: {positive} is none of the labels {', '.join(names)}; name one of them")
    return list(names).index(positive)


def _f1_of_the_task(predicted: np.ndarray, gold: np.ndarray, positive: int = 1) -> float:
    if gold.ndim == 2:
        return _f1(predicted, gold, average="micro")
    if max(predicted.max(), gold.max()) > 1:
        raise ValueError("f1 is of two labels; of more, ask for macro_f1 or micro_f1")
    return _f1(predicted, gold, average="binary", pos_label=positive)


def _matthews(predicted: np.ndarray, gold: np.ndarray) -> float:
    return _library("sklearn.metrics").matthews_corrcoef(gold, predicted)


def _correlation(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    def correlation(predicted: np.ndarray, gold: np.ndarray) -> float:
        if np.ptp(predicted) == 0 or np.ptp(gold) == 0:
            return 0.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nearly constant: ``collapsed`` says it
            return getattr(_library("scipy.stats"), name)(predicted, gold).statistic

    return correlation


_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "f1": _f1_of_the_task,
    "macro_f1": lambda predicted, gold: _f1(predicted, gold, average="macro"),
    "micro_f1": lambda predicted, gold: _f1(predicted, gold, average="micro"),
    "matthews": _matthews,
    "pearson": _correlation("pearsonr"),
    "spearman": _correlation("spearmanr"),
    "f1_from_3": lambda predicted, gold: _f1(predicted >= 3, gold >= 3),
}
NAMES = (*_METRICS, "entity_f1", "entity_macro_f1", "character_macro_f1")


def _entity_scores(
    predicted: np.ndarray, gold: np.ndarray, names: Sequence[str], sentences: np.ndarray | None
) -> dict[str, float]:
    report = _library("seqeval.metrics.sequence_labeling").precision_recall_fscore_support
    tags = (_tags(labels, names, sentences) for labels in (gold, predicted))
    precision, recall, f1, _ = report(*tags, average="micro", zero_division=0)
    return {"entity_f1": float(f1), "entity_precision": float(precision), "entity_recall": float(recall)}


def _entity_macro_f1(
    predicted: np.ndarray, gold: np.ndarray, names: Sequence[str], sentences: np.ndarray | None
) -> float:
    report = _library("seqeval.metrics.v1").precision_recall_fscore_support
    tags = (_tags(labels, names, sentences) for labels in (gold, predicted))
    scheme = _library("seqeval.scheme").IOB2
    of_types = report(*tags, average=None, zero_division=0, scheme=scheme)[2]
    return float(np.mean(of_types)) if len(of_types) else 0.0


def _tags(labels: np.ndarray, names: Sequence[str], sentences: np.ndarray | None) -> list[list[str]]:
    """Label ids [N] -> the tags of each example."""
    prefixed = np.array([name if name == "O" or name[1:2] == "-" else f"I-{name}" for name in names], dtype=object)
    cuts = [] if sentences is None else np.flatnonzero(np.diff(sentences)) + 1
    return [part.tolist() for part in np.split(prefixed[labels], cuts)]


def _library(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = _PACKAGES[module.partition(".")[0]]
        raise RecipeError(f"the scores of this task need {package}: pip install 'ptk[eval]'") from error


ONE_LABEL = ("classification", "multiple_choice", "tagging")
FITS: Mapping[str, tuple[str, ...]] = {
    "accuracy": (*ONE_LABEL, "multi_label"),
    "f1": ("classification", "multi_label"),
    "macro_f1": (*ONE_LABEL, "multi_label"),
    "micro_f1": (*ONE_LABEL, "multi_label"),
    "matthews": ONE_LABEL,
    "pearson": ("regression",),
    "spearman": ("regression",),
    "f1_from_3": ("regression",),
    "entity_f1": ("tagging",),
    "entity_macro_f1": ("tagging",),
    "character_macro_f1": ("tagging",),
}
"""The kinds of task (ptk/tasks/task.py) that each metric can score."""


def check(metrics: Sequence[str], kind: str, names: Sequence[str]) -> None:
    """Raises RecipeError for a metric that there is not, or that cannot score a task of that kind and these labels."""
    fitting = [name for name, kinds in FITS.items() if kind in kinds and (name != "f1" or f1_fits(kind, names))]
    for metric in metrics:
        if metric not in FITS:
            near = get_close_matches(metric, fitting, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(fitting)}"
            raise RecipeError(f"objective.metrics: {metric} is no metric; {hint}")
        if metric not in fitting:
            of = f"{kind} with {len(names)} labels" if kind in FITS[metric] else kind
            raise RecipeError(f"objective.metrics: {metric} is not of {of}; choose from {', '.join(fitting)}")


def f1_fits(kind: str, names: Sequence[str]) -> bool:
    """Of one label an example, F1 is that of the positive one of two."""
    return kind == "multi_label" or len(names) == 2
