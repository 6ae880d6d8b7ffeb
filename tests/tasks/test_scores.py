"""Metrics against the official scripts' own formulas, and by hand."""

import math
import re
import sys

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.scheme import IOB2
from sklearn.metrics import f1_score, matthews_corrcoef

from ptk import tasks
from ptk.errors import RecipeError
from ptk.tasks.scores import FITS, NAMES, check, collapsed, majority, mean_score, scored

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def ids(text: str) -> np.ndarray:
    return np.array([TAGS.index(tag) for tag in text.split()])


def test_glue_by_hand():
    gold, predicted = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 0, 1, 1])
    found = scored(("accuracy", "f1", "matthews", "macro_f1"), predicted, gold)
    # True positives 2, false positives 1, false negatives 1, true negatives 1.
    assert found == pytest.approx(
        {"accuracy": 3 / 5, "f1": 2 / 3, "matthews": (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2), "macro_f1": 7 / 12}
    )
    assert list(found) == ["accuracy", "f1", "matthews", "macro_f1"]
    assert scored(("f1",), 1 - predicted, 1 - gold)["f1"] == pytest.approx(1 / 2)  # of the label with id 1
    assert scored(("f1",), 1 - predicted, 1 - gold, ("yes", "no"), None, "yes")["f1"] == pytest.approx(found["f1"])
    assert majority(("f1",), np.array([0, 0, 0, 1]), ("yes", "no"), None, "yes")["f1"] == pytest.approx(6 / 7)
    with pytest.raises(RecipeError, match=r"objective.positive: maybe is none of the labels yes, no"):
        scored(("f1",), predicted, gold, ("yes", "no"), None, "maybe")


def test_as_the_official_scripts():
    random = np.random.default_rng(0)
    gold, predicted = random.integers(0, 3, 200), random.integers(0, 3, 200)
    found = scored(("accuracy", "macro_f1", "micro_f1", "matthews"), predicted, gold)
    assert found == pytest.approx(
        {
            "accuracy": (predicted == gold).mean(),  # GLUE's simple_accuracy, KLUE's klue_nli_acc
            "macro_f1": f1_score(gold, predicted, average="macro"),  # KLUE's ynat_macro_f1
            "micro_f1": f1_score(gold, predicted, average="micro"),
            "matthews": matthews_corrcoef(gold, predicted),
        }
    )
    real, guess = random.uniform(0, 5, 200).astype(np.float32), random.uniform(-1, 6, 200).astype(np.float32)
    found = scored(("pearson", "spearman", "f1_from_3"), guess, real)
    assert found == pytest.approx(
        {
            "pearson": pearsonr(guess, real)[0],  # not clipped to [0, 5] here (FT-5)
            "spearman": spearmanr(guess, real)[0],
            "f1_from_3": f1_score(np.where(real >= 3, 1, 0), np.where(guess >= 3, 1, 0), average="binary"),
        },
        abs=1e-6,
    )


def test_correlations_by_hand():
    gold, predicted = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 10.0])
    # Ranks 1 3 2 4: 1 - 6 * 2 / (4 * 15); products of the deviations 14, of the squares 5 and 50.
    found = scored(("spearman", "pearson"), predicted, gold)
    assert found == pytest.approx({"spearman": 0.8, "pearson": 13 / math.sqrt(5 * 50)})


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_constant_predictions_correlate_with_nothing(metric: str):
    gold = np.array([1.0, 2.0, 3.0])
    assert scored((metric,), np.full(3, 2.5), gold) == {metric: 0.0}
    assert scored((metric,), gold, np.full(3, 2.5)) == {metric: 0.0}
    assert scored((metric,), gold[:1], gold[:1]) == {metric: 0.0}
    assert scored((metric,), np.array([2.0, 2.0, 2.0 + 1e-15]), gold)[metric] == pytest.approx(0.8, abs=0.1)


def test_one_label_only():
    assert scored(("matthews",), np.zeros(4, int), np.array([0, 1, 0, 1])) == {"matthews": 0.0}
    assert scored(("f1",), np.zeros(4, int), np.array([0, 1, 0, 1])) == {"f1": 0.0}
    assert scored(("f1",), np.zeros(4, int), np.zeros(4, int)) == {"f1": 0.0}


def test_multi_label():
    gold = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]], np.int8)
    predicted = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1]], np.int8)
    found = scored(("accuracy", "f1", "macro_f1"), predicted, gold)
    assert found == pytest.approx({"accuracy": 1 / 3, "f1": 2 * 3 / (2 * 3 + 1 + 1), "macro_f1": 2 / 3})


# gold, predicted, entities of the gold, of the predictions, and those that are the same (conlleval.pl)
CONLLEVAL = [
    ("B-PER I-PER O", "B-PER I-PER O", 1, 1, 1),
    ("O B-PER I-PER", "O I-PER I-PER", 1, 1, 1),  # I- after O begins one
    ("I-PER I-PER O", "B-PER I-PER O", 1, 1, 1),  # IO tags are read as BIO
    ("B-PER I-PER I-PER", "B-PER I-PER I-LOC", 1, 2, 0),  # another type inside begins one
    ("B-PER I-LOC I-LOC", "B-PER B-LOC I-LOC", 2, 2, 2),
    ("B-PER I-PER O", "B-PER B-PER O", 1, 2, 0),
    ("B-PER B-PER O", "B-PER I-PER O", 2, 1, 0),
    ("B-PER I-PER O", "B-LOC I-LOC O", 1, 1, 0),  # the ends alone are not enough
    ("B-PER I-PER I-PER", "B-PER I-PER O", 1, 1, 0),
]


@pytest.mark.parametrize(("gold", "predicted", "of_gold", "of_predicted", "same"), CONLLEVAL)
def test_entities_as_conlleval_reads_them(gold: str, predicted: str, of_gold: int, of_predicted: int, same: int):
    found = scored(("entity_f1",), ids(predicted), ids(gold), TAGS, np.zeros(3, int))
    assert found == pytest.approx(
        {
            "entity_f1": 2 * same / (of_gold + of_predicted),
            "entity_precision": same / of_predicted,
            "entity_recall": same / of_gold,
        }
    )


def test_entities_do_not_cross_examples():
    gold, predicted = ids("O B-PER I-PER O"), ids("O B-PER I-PER O")
    assert scored(("entity_f1",), predicted, gold, TAGS, np.array([0, 0, 1, 1]))["entity_f1"] == 1
    predicted = ids("O B-PER B-PER O")
    assert scored(("entity_f1",), predicted, gold, TAGS, np.array([4, 4, 9, 9]))["entity_f1"] == 1
    assert scored(("entity_f1",), predicted, gold, TAGS, np.zeros(4))["entity_f1"] == 0


def test_tags_without_a_prefix_are_inside():
    names = ("O", "PER", "LOC")
    gold, predicted = np.array([0, 1, 1, 2, 0]), np.array([0, 1, 1, 0, 0])
    assert scored(("entity_f1",), predicted, gold, names)["entity_recall"] == 1 / 2


def test_no_entity_anywhere():
    nothing = np.zeros(3, int)
    assert scored(("entity_f1",), nothing, nothing, TAGS) == dict.fromkeys(
        ("entity_f1", "entity_precision", "entity_recall"), 0.0
    )
    assert scored(("entity_macro_f1",), nothing, nothing, TAGS) == {"entity_macro_f1": 0.0}


def test_as_klue_counts():
    random = np.random.default_rng(1)
    gold = random.integers(0, len(TAGS), 400)
    predicted = np.where(random.random(400) < 0.3, random.integers(0, len(TAGS), 400), gold)
    names = [[TAGS[label] for label in labels] for labels in (gold, predicted)]
    found = scored(("entity_macro_f1", "character_macro_f1"), predicted, gold, TAGS)
    strict = seqeval_f1([names[0]], [names[1]], average="macro", mode="strict", scheme=IOB2)
    characters = f1_score(gold, predicted, labels=[*range(len(TAGS))], average="macro", zero_division=True)
    assert found == pytest.approx({"entity_macro_f1": strict, "character_macro_f1": characters})
    loose = scored(("entity_f1",), predicted, gold, TAGS)
    assert loose["entity_f1"] == pytest.approx(seqeval_f1([names[0]], [names[1]]))
    assert abs(loose["entity_f1"] - strict) > 0.01


def test_characters_count_o_and_absent_labels():
    gold, predicted = ids("O O B-PER I-PER"), ids("O O B-PER O")
    # O 4/5, B-PER 1, I-PER 0, and the two of LOC, which are nowhere, 1 each.
    found = scored(("character_macro_f1",), predicted, gold, TAGS)
    assert found["character_macro_f1"] == pytest.approx((4 / 5 + 1 + 0 + 1 + 1) / 5)


@pytest.mark.parametrize(
    ("metrics", "predicted", "gold", "message"),
    [
        (("accuracy",), [0, 1], [0, -100], "1 of 2 have no gold label; leave them out"),
        (("pearson",), [0.5, 1.0], [np.nan, 1.0], "1 of 2 have no gold label; leave them out"),
        (("pearson",), [np.nan, np.inf], [0.5, 1.0], "2 of 2 predictions are not numbers"),
        (("accuracy",), [0, 1], [0], "predictions (2,) and gold (1,); they must be of one shape, not empty"),
        (("accuracy",), [], [], "predictions (0,) and gold (0,); they must be of one shape, not empty"),
        (("f1",), [0, 1], [0, 2], "f1 is of two labels; of more, ask for macro_f1 or micro_f1"),
        (
            ("mcc",),
            [0, 1],
            [0, 1],
            "no metric 'mcc'; there are accuracy, f1, macro_f1, micro_f1, matthews, pearson, spearman, f1_from_3, "
            "entity_f1, entity_macro_f1, character_macro_f1",
        ),
    ],
)
def test_what_cannot_be_scored(metrics: tuple[str, ...], predicted: list, gold: list, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        scored(metrics, np.array(predicted), np.array(gold))


def test_minus_100_may_be_a_score():
    assert scored(("pearson",), np.array([-100.0, 2.0]), np.array([-100.0, 2.0]))["pearson"] == pytest.approx(1)


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "seqeval.metrics.sequence_labeling", None)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(RecipeError) as raised:
        scored(("f1",), np.array([0, 1]), np.array([0, 1]))
    assert str(raised.value) == "the scores of this task need scikit-learn: pip install 'ptk[eval]'"
    with pytest.raises(RecipeError) as raised:
        scored(("entity_f1",), ids("O"), ids("O"), TAGS)
    assert str(raised.value) == "the scores of this task need seqeval: pip install 'ptk[eval]'"
    assert scored(("accuracy",), np.array([0, 1]), np.array([0, 1])) == {"accuracy": 1.0}  # needs none of them


def test_mean_score():
    assert mean_score({"accuracy": 0.8, "f1": 0.9}) == pytest.approx(0.85)
    assert mean_score({"entity_f1": 0.5, "entity_precision": 0.9, "entity_recall": 0.1, "accuracy": 0.7}) == 0.6


def test_majority():
    assert majority(("accuracy", "f1"), np.array([1, 1, 0])) == pytest.approx({"accuracy": 2 / 3, "f1": 0.8})
    assert majority(("pearson", "spearman"), np.array([1.0, 4.0], np.float32)) == {"pearson": 0.0, "spearman": 0.0}
    gold = ids("O O B-PER I-PER O")
    found = majority(("accuracy", "entity_f1"), gold, TAGS, np.zeros(5))
    assert found == {"accuracy": 3 / 5, "entity_f1": 0.0, "entity_precision": 0.0, "entity_recall": 0.0}
    gold = np.array([[1, 0], [1, 0], [0, 1]])
    assert majority(("f1",), gold) == {"f1": pytest.approx(2 * 2 / (2 * 2 + 1 + 1))}


def test_collapsed():
    names = ("entailment", "not_entailment")
    assert collapsed(np.zeros(1277, int), names) == "every one of 1,277 predictions is entailment"
    assert collapsed(np.array([0, 0, 1]), names) is None
    assert collapsed(np.zeros(1, int), names) is None
    assert collapsed(np.array([2.70, 2.71, 2.69])) == "every one of 3 predictions is about 2.70"
    assert collapsed(np.array([2.7, 2.7, 3.2])) is None
    assert collapsed(np.array([[1, 1], [1, 1]]), names) == ("every one of 2 predictions is entailment, not_entailment")
    assert collapsed(np.zeros((2, 2), int), names) == "every one of 2 predictions is no label"
    assert collapsed(np.array([[1, 1], [0, 1]]), names) is None


@pytest.mark.parametrize(
    ("metric", "kind", "message"),
    [
        ("acuracy", "classification", "acuracy is no metric; did you mean accuracy?"),
        ("mcc", "regression", "mcc is no metric; choose from pearson, spearman, f1_from_3"),
        ("matthews", "regression", "matthews is not of regression; choose from pearson, spearman, f1_from_3"),
        (
            "f1",
            "classification",
            "f1 is not of classification with 3 labels; choose from accuracy, macro_f1, micro_f1, matthews",
        ),
    ],
)
def test_metrics_that_do_not_fit(metric: str, kind: str, message: str):
    with pytest.raises(RecipeError, match=f"^objective.metrics: {re.escape(message)}$"):
        check(("accuracy", metric) if kind == "classification" else (metric,), kind, ("a", "b", "c"))


def test_metrics_that_fit():
    check(("f1",), "classification", ("no", "yes"))
    check(("f1",), "multi_label", ("a", "b", "c"))
    assert FITS.keys() == set(NAMES)
    for task in tasks.entries().values():
        if task.kind != "answering":  # answers are scored by ptk/tasks/answer_scores.py
            check(task.metrics, task.kind, task.names)


@pytest.mark.parametrize(("metric", "kind"), [(name, kind) for name, kinds in FITS.items() for kind in kinds])
def test_a_metric_scores_what_it_fits(metric: str, kind: str):
    names = ("O", "B-X") if kind == "tagging" else ("no", "yes")
    gold = np.array([0, 1, 1, 0])
    gold = (
        gold.astype(np.float32) * 4
        if kind == "regression"
        else np.eye(2, dtype=int)[gold]
        if kind == "multi_label"
        else gold
    )
    check((metric,), kind, names)
    assert scored((metric,), gold, gold, names)[metric] == pytest.approx(1)
