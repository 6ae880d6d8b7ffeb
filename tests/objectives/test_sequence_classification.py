"""One label, several or a score: the loss is transformers' own, rows are what AutoTokenizer makes of the texts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled import encoded, ids, overfitted, settings, stacked, store, tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer

from ptk.data.batches import stack
from ptk.data.frames import eos_template
from ptk.data.split import documents_of
from ptk.data.tokenizer import from_library
from ptk.errors import DataError, RecipeError
from ptk.models import heads
from ptk.objectives.labelled_rows import shortened
from ptk.objectives.objective import IGNORE, Row
from ptk.objectives.sequence_classification import SequenceClassification
from ptk.recipe import EvaluateSpec

WORDS = ("red", "house", "cat")
DROP = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PAIRS = [("the cat sees", "a dog"), ("my friend", "the old river and her sister"), ("red", "house"), ("it", "likes it")]


def objective_of(problem="single_label", **more):
    labels = () if problem == "regression" else WORDS
    return SequenceClassification(problem=problem, labels=labels, fidelity="fixed", **more)


# Rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "most", "kept"),
    [
        ((10, 6), 9, (5, 4)),
        ((6, 10), 9, (5, 4)),
        ((5, 5), 9, (5, 4)),
        ((5, 5), 8, (4, 4)),
        ((9, 2), 20, (9, 2)),
        ((0, 7), 3, (0, 3)),
    ],
)
def test_the_longer_text_loses_its_end(sizes, most, kept):
    assert shortened(*sizes, most) == kept


def test_shortening_is_the_walk_of_the_rule():
    for first in range(9):
        for second in range(9):
            for most in range(17):
                a, b = first, second
                while a + b > most:  # one token at a time from the longer, of equals from the second
                    a, b = (a - 1, b) if a > b else (a, b - 1)
                assert shortened(first, second, most) == (a, b)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "char"])
@pytest.mark.parametrize("length", [64, 12])
def test_rows_are_what_auto_tokenizer_makes(kind, length, tmp_path):
    """Singles, cut too. transformers cuts a pair from the end as well, but of equals
    the first, so those are compared by hand below."""
    tokenizer(kind).save(tmp_path / "tokenizer", around="head")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    singles = [(text,) for pair in PAIRS for text in pair]
    for texts in [*singles, *(PAIRS if length == 64 else [])]:
        made = store(tmp_path / "-".join([kind, *texts]).replace(" ", "_"), [ids(kind, *texts)], np.array([2]))
        (found,) = encoded(objective_of(), made, kind, length)
        wanted = theirs(*texts, truncation=True, max_length=length)
        assert found["input_ids"].tolist() == wanted["input_ids"]
        types = found.get("token_type_ids", np.zeros(len(found["input_ids"]))).tolist()
        assert types == wanted.get("token_type_ids", types)
        assert "token_type_ids" in found or not any(types)
        assert (int(found["labels"]), int(found["example"])) == (2, 0)


ROBERTA = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
LAYOUTS = {  # names, the tokenizer's own template, and what one text and a pair become
    "roberta": ({"cls": "<s>", "sep": "</s>", "pad": "<pad>"}, ROBERTA, "<s> A </s>", "<s> A </s> </s> B </s>"),
    "own": ({"eos": "</s>", "pad": "<pad>"}, eos_template("</s>", 2), "A </s>", "A </s> B </s>"),
    "padded": ({"eos": "</s>", "pad": "<pad>"}, None, "A </s>", "A </s> B </s>"),
    "unpadded": ({"bos": "<s>", "eos": "</s>"}, processors.ByteLevel(), "A", "A </s> B"),
    "ends-with-padding": ({"eos": "</s>", "pad": "</s>"}, None, "A", "A </s> B"),
    "bert": ({"cls": "<s>", "sep": "</s>", "pad": "<pad>"}, None, "<s> A </s>", "<s> A </s> B </s>"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_stands_around_texts(layout, tmp_path):
    """What AutoTokenizer makes of the saved folder, token types included."""
    names, template, single, pair = LAYOUTS[layout]
    words = {word: number for number, word in enumerate(["<s>", "<pad>", "</s>", "A", "B", "?"])}
    library = Tokenizer(models.WordLevel(words, unk_token="?"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.add_special_tokens(["<s>", "<pad>", "</s>"])
    if template is not None:
        library.post_processor = template
    made = from_library(library, names)
    made.save(tmp_path, around="head")
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    a, b = (found.astype(np.int64) for found in made.encode_batch(["A", "B"]))
    for frame, texts, wanted in ((made.single, (a,), single), (made.pair, (a, b), pair)):
        found, types = frame.around(texts)
        assert " ".join(made.tokens(found)) == wanted
        by_them = theirs(*"AB"[: len(texts)])
        assert by_them["input_ids"] == found.tolist()
        assert by_them.get("token_type_ids", types.tolist()) == types.tolist()
        assert ("token_type_ids" in by_them) == made.head_segments == (layout == "bert")
    assert theirs.pad_token_id == made.filler


def test_a_pair_is_cut_to_the_length_with_what_stands_around_it(tmp_path):
    first, second = np.arange(20, 40), np.arange(60, 66)
    made = store(tmp_path / "s", [[first, second], [first[:4], second[:3]]], np.array([1, 0]))
    cut, whole = encoded(objective_of(), made, "wordpiece", 15)
    cls, sep = tokenizer().cls_id, tokenizer().sep_id
    assert cut["input_ids"].tolist() == [cls, *first[:6], sep, *second, sep]
    assert cut["token_type_ids"].tolist() == [0] * 8 + [1] * 7
    assert whole["input_ids"].tolist() == [cls, *first[:4], sep, *second[:3], sep]
    everything = documents_of(made, EvaluateSpec(), "all")
    assert objective_of().cut(everything, tokenizer(), 15) == 1
    assert [objective_of().cut(everything, tokenizer(), n) for n in (9, 10, 28, 29)] == [2, 1, 1, 0]


def test_no_room_and_nothing_between(tmp_path):
    everything = documents_of(store(tmp_path / "s", [ids("wordpiece", "a", "b")], np.array([1])), EvaluateSpec(), "all")
    with pytest.raises(RecipeError, match=r"train.length: 5 leaves no room for 2 texts"):
        objective_of().check(everything, tokenizer(), 5, held_out=False)
    objective_of().check(everything, tokenizer(), 8, held_out=False)
    with pytest.raises(RecipeError, match=r"objective.positive: maybe is none of the labels \(no, yes\); name one"):
        replace(objective_of(), labels=("no", "yes"), positive="maybe").check(
            everything, tokenizer(), 8, held_out=False
        )
    bare = from_library(Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")), {})
    assert bare.single.size == 0
    with pytest.raises(DataError, match="no token that could stand between"):
        objective_of().check(everything, bare, 8, held_out=False)


# Losses ----------------------------------------------------------------------------------------------------

LABELS = {
    "single_label": np.array([2, 0, 1, 1]),
    "multi_label": np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 1]], np.int8),
    "regression": np.array([0.5, 5.0, 2.4, 3.8], np.float32),
}


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return {p: objective_of(p).model(settings("bert"), tokenizer(), 64).eval() for p in LABELS}


def batch_of(problem, tmp_path, labels=None, **more):
    objective = objective_of(problem, **more)
    made = store(
        tmp_path / problem, [ids("wordpiece", *pair) for pair in PAIRS], LABELS[problem] if labels is None else labels
    )
    return objective, stacked(objective, encoded(objective, made, "wordpiece", 64), "wordpiece")


@pytest.mark.parametrize("problem", LABELS)
def test_the_loss_is_that_of_transformers(problem, fresh, tmp_path):
    objective, batch = batch_of(problem, tmp_path)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    labels = batch["labels"].float() if problem == "multi_label" else batch["labels"]
    theirs = fresh[problem](**inputs, labels=labels)
    parts, found = objective.evaluate(fresh[problem], batch)
    torch.testing.assert_close(parts["classification"].value, theirs.loss)
    assert objective.counts(batch) == {"classification": 12 if problem == "multi_label" else 4}
    assert {name: len(array) for name, array in found.items()} == dict.fromkeys(found, 4)
    assert found["example"].tolist() == [0, 1, 2, 3]
    if problem == "single_label":
        best = theirs.logits.softmax(-1).max(-1)
        torch.testing.assert_close(found["probability"], best.values)
        assert found["predicted"].equal(best.indices)
        assert float(parts["accuracy"].value) == float((best.indices == labels).float().mean())
    else:
        wanted = (theirs.logits > 0).long() if problem == "multi_label" else theirs.logits[:, 0]
        assert found["predicted"].equal(wanted)


def test_label_smoothing_is_that_of_torch(fresh, tmp_path):
    objective, batch = batch_of("single_label", tmp_path, label_smoothing=0.1)
    logits = heads.logits(fresh["single_label"], batch)
    wanted = torch.nn.functional.cross_entropy(logits, batch["labels"], label_smoothing=0.1)
    torch.testing.assert_close(objective.loss(fresh["single_label"], batch)["classification"].value, wanted)


def test_examples_without_a_label_count_nothing(fresh, tmp_path):
    for problem, missing in (("single_label", IGNORE), ("multi_label", IGNORE), ("regression", np.nan)):
        labels = LABELS[problem].copy()
        labels[1:] = missing
        objective, batch = batch_of(problem, tmp_path / "some", labels)
        _, whole = batch_of(problem, tmp_path / "whole")
        each = 3 if problem == "multi_label" else 1
        loss, count = objective.loss(fresh[problem], batch)["classification"]
        assert int(count) == objective.counts(batch)["classification"] == each
        first = {name: array[:1] for name, array in whole.items()}
        torch.testing.assert_close(loss, objective.loss(fresh[problem], first)["classification"].total)
        objective, none = batch_of(problem, tmp_path / "none", np.full_like(labels, missing))
        loss, count = objective.loss(fresh[problem], none)["classification"]
        assert float(loss.detach()) == 0
        assert int(count) == 0
        assert loss.requires_grad
        found = {name: array.detach().numpy() for name, array in objective.evaluate(fresh[problem], none)[1].items()}
        assert objective.score(found) == {}


def test_unit_scale_learns_shares_and_predicts_scores(fresh, tmp_path):
    objective, batch = batch_of("regression", tmp_path, scale="unit")
    torch.testing.assert_close(batch["labels"], torch.tensor([0.1, 1.0, 0.48, 0.76]))
    found = objective.evaluate(fresh["regression"], batch)[1]
    torch.testing.assert_close(found["gold"], torch.from_numpy(LABELS["regression"]))
    torch.testing.assert_close(found["predicted"], heads.logits(fresh["regression"], batch)[:, 0] * 5)
    assert "2.40" in objective.show({name: array[2].numpy() for name, array in batch.items()}, tokenizer())[0]


def test_scores_are_of_what_has_gold():
    found = {
        "example": np.array([3, 1, 2, 0]),
        "predicted": np.array([1, 1, 0, 2]),
        "gold": np.array([1, 0, 0, IGNORE]),
    }
    scores = objective_of(metrics=("accuracy", "macro_f1")).score(found)
    assert scores["accuracy"].value == pytest.approx(2 / 3)
    assert scores["score"].value == pytest.approx((scores["accuracy"].value + scores["macro_f1"].value) / 2)
    assert objective_of().rank({"score": 0.4, "loss": 9.0}) < objective_of().rank({"score": 0.3, "loss": 1.0})


def test_f1_is_of_the_positive_label():
    found = {"example": np.arange(4), "predicted": np.array([0, 0, 1, 1]), "gold": np.array([0, 0, 0, 1])}
    scores = {
        name: replace(objective_of(metrics=("f1",)), labels=("yes", "no"), positive=name).score(found)["f1"].value
        for name in (None, "yes", "no")
    }
    assert scores == pytest.approx({None: 2 / 3, "yes": 4 / 5, "no": 2 / 3})


def test_padding_changes_nothing(fresh, tmp_path):
    _objective, batch = batch_of("single_label", tmp_path)
    together = heads.logits(fresh["single_label"], batch)
    for number, row in enumerate(together):
        length = int(batch["attention_mask"][number].sum())
        alone = {name: batch[name][number : number + 1, :length] for name in ("input_ids", "token_type_ids")}
        torch.testing.assert_close(heads.logits(fresh["single_label"], alone)[0], row)


def test_eight_examples_can_be_overfitted(tmp_path):
    rng = np.random.default_rng(0)
    examples = [[rng.integers(10, 100, 6), rng.integers(10, 100, 5)] for _ in range(8)]
    objective = objective_of()
    made = store(tmp_path / "s", examples, rng.integers(0, 3, 8))
    batch = stacked(objective, encoded(objective, made, "wordpiece", 32), "wordpiece")
    torch.manual_seed(0)
    model = objective.model(settings("bert", **DROP), tokenizer(), 32)
    assert overfitted(objective, model, batch, 90) < 0.05
    found = {name: array.detach().numpy() for name, array in objective.evaluate(model, batch)[1].items()}
    assert objective.score(found)["score"].value == 1.0


def test_an_example_for_people(fresh):
    row = Row(ids("wordpiece", "the cat", "a dog"), {"label": 2, "example": 0})
    objective = objective_of()
    example = objective.encode(row, tokenizer(), np.random.default_rng(0))
    headline, pieces = objective.show(example, tokenizer())
    assert headline.endswith("tokens: cat")
    assert {role for _, role in pieces} == {"special", "first", "second"}
    answer = objective.answer(fresh["single_label"], stack([example], {}), tokenizer())
    assert "the cat" in answer
    assert answer.endswith(("[cat]", ", not cat]"))
