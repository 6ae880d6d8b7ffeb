"""A score for each choice: transformers' own loss, choices that only fill up are never chosen, padding is nothing."""

import numpy as np
import pytest
import torch
from labelled import encoded, ids, overfitted, settings, stacked, store, tokenizer

from ptk.data.split import documents_of
from ptk.errors import RecipeError
from ptk.models import heads
from ptk.objectives.multiple_choice import MultipleChoice
from ptk.objectives.objective import IGNORE
from ptk.recipe import EvaluateSpec

DROP = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
QUESTIONS = [("the cat sees", "a dog", "the old river and her sister"), ("my friend", "forgets", "likes it")]
OBJECTIVE = MultipleChoice(fidelity="fixed")


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return OBJECTIVE.model(settings("bert", **DROP), tokenizer(), 64).eval()


def batch_of(tmp_path, questions=QUESTIONS, labels=(1, 0)):
    made = store(tmp_path / "s", [ids("wordpiece", *texts) for texts in questions], np.array(labels))
    examples = encoded(OBJECTIVE, made, "wordpiece", 64)
    return examples, stacked(OBJECTIVE, examples, "wordpiece")


def test_a_row_by_hand(tmp_path):
    context, first, second = np.arange(20, 26), np.arange(40, 42), np.arange(60, 69)
    made = store(tmp_path / "s", [[context, first, second]], np.array([1]))
    cls, sep, pad = (getattr(tokenizer(), f"{name}_id") for name in ("cls", "sep", "pad"))
    (example,) = encoded(OBJECTIVE, made, "wordpiece", 13)
    short = [cls, *context, sep, *first, sep]  # 11
    assert example["input_ids"][0].tolist() == [*short, pad, pad]
    assert example["input_ids"][1].tolist() == [cls, *context[:5], sep, *second[:5], sep]  # the longer first, then both
    assert example["attention_mask"].sum(1).tolist() == [11, 13]
    assert example["token_type_ids"][0].tolist() == [0] * 8 + [1] * 3 + [0] * 2
    assert (int(example["labels"]), int(example["example"])) == (1, 0)
    everything = documents_of(made, EvaluateSpec(), "all")
    assert [OBJECTIVE.cut(everything, tokenizer(), n) for n in (13, 17, 18)] == [1, 1, 0]
    with pytest.raises(RecipeError, match="no room for two texts"):
        OBJECTIVE.check(everything, tokenizer(), 5, held_out=False)


def test_the_loss_is_that_of_transformers(fresh, tmp_path):
    _, batch = batch_of(tmp_path)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    theirs = fresh(**inputs, labels=batch["labels"])
    parts, found = OBJECTIVE.evaluate(fresh, batch)
    torch.testing.assert_close(parts["choice"].value, theirs.loss)
    assert int(parts["choice"].count) == OBJECTIVE.counts(batch)["choice"] == 2
    assert found["predicted"].equal(theirs.logits.argmax(-1))
    torch.testing.assert_close(found["probability"], theirs.logits.softmax(-1).amax(-1))
    assert (found["example"].tolist(), found["gold"].tolist()) == ([0, 1], [1, 0])


def test_choices_that_only_fill_up_are_never_chosen(fresh, tmp_path):
    three = ("a red house", "my friend", "a dog", "the river")
    _, batch = batch_of(tmp_path, [*QUESTIONS, three], (1, 0, 2))
    parts, found = OBJECTIVE.evaluate(fresh, batch)
    _, two = batch_of(tmp_path / "two")
    assert OBJECTIVE.evaluate(fresh, two)[1]["predicted"].equal(found["predicted"][:2])
    torch.testing.assert_close(OBJECTIVE.evaluate(fresh, two)[1]["probability"], found["probability"][:2])
    assert torch.isfinite(parts["choice"].total)


def test_an_example_without_a_label_counts_nothing(fresh, tmp_path):
    _, batch = batch_of(tmp_path, labels=(1, IGNORE))
    assert OBJECTIVE.counts(batch) == {"choice": 1}
    _, first = batch_of(tmp_path / "first", QUESTIONS[:1], (1,))
    torch.testing.assert_close(OBJECTIVE.loss(fresh, batch)["choice"], OBJECTIVE.loss(fresh, first)["choice"])


def test_padding_changes_nothing(fresh, tmp_path):
    examples, batch = batch_of(tmp_path)
    for example, row in zip(examples, heads.logits(fresh, batch), strict=True):
        torch.testing.assert_close(heads.logits(fresh, stacked(OBJECTIVE, [example], "wordpiece"))[0], row)


def test_eight_examples_can_be_overfitted(tmp_path):
    rng = np.random.default_rng(0)
    examples = [[rng.integers(10, 100, 4) for _ in range(4)] for _ in range(8)]
    made = store(tmp_path / "s", examples, rng.integers(0, 3, 8))
    batch = stacked(OBJECTIVE, encoded(OBJECTIVE, made, "wordpiece", 32), "wordpiece")
    torch.manual_seed(0)
    model = OBJECTIVE.model(settings("bert", **DROP), tokenizer(), 32)
    assert overfitted(OBJECTIVE, model, batch, 80) < 0.05
    found = {name: array.detach().numpy() for name, array in OBJECTIVE.evaluate(model, batch)[1].items()}
    assert OBJECTIVE.score(found)["score"].value == 1.0


def test_an_example_for_people(fresh, tmp_path):
    examples, _ = batch_of(tmp_path)
    headline, pieces = OBJECTIVE.show(examples[0], tokenizer())
    assert headline.startswith("2 choices")
    assert headline.endswith("1 is right")
    assert sum(role == "kept" for _, role in pieces) > 3
    assert not any("[PAD]" in piece for piece, _ in pieces)
    assert OBJECTIVE.answer(fresh, stacked(OBJECTIVE, examples[:1], "wordpiece"), tokenizer()).endswith(
        ("[1]", "[0, not 1]")
    )
