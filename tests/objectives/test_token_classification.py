"""Labels of words and characters: the first token speaks, what has none goes on, and every word is scored once."""

import numpy as np
import pytest
import torch
from labelled import encoded, ids, overfitted, settings, stacked, store, tokenizer
from tokenizers import Tokenizer, processors

from ptk.data.split import documents_of
from ptk.data.tokenizer import from_library
from ptk.errors import DataError
from ptk.models import heads
from ptk.objectives.objective import IGNORE
from ptk.objectives.token_classification import TokenClassification, windows
from ptk.recipe import EvaluateSpec

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
DROP = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def objective_of(labels=TAGS, **more):
    return TokenClassification(labels=labels, fidelity="fixed", **more)


# Windows ---------------------------------------------------------------------------------------------------


def test_a_text_that_fits_is_one_window():
    assert windows(np.array([2, 0, 3]), 5) == [(0, 3, 0, 3)]
    assert windows(np.array([0, 0]), 5) == [(0, 2, 0, 2)]


def test_a_long_text_by_hand():
    """Ten words of one token in windows of four: 0-4, 2-6, 4-8, 6-10. Word 3 has nothing on its right in the first and
    one on its left in the second; word 2 has one on its right in the first; in the last, the right side is the end."""
    assert [tuple(window) for window in windows(np.ones(10, int), 4)] == [
        (0, 4, 0, 3),
        (2, 6, 3, 5),
        (4, 8, 5, 7),
        (6, 10, 7, 10),
    ]


def test_a_word_longer_than_a_window_has_one():
    assert [tuple(window) for window in windows(np.array([1, 9, 0, 1]), 4)] == [
        (0, 1, 0, 1),
        (1, 3, 1, 3),
        (3, 4, 3, 4),
    ]


def test_every_word_is_scored_once_where_it_has_most_context():
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes = rng.integers(0, 4, rng.integers(1, 40))
        width = int(rng.integers(4, 12))
        found = windows(sizes, width)
        scored = [word for window in found for word in range(window.scored, window.until)]
        assert scored == list(range(len(sizes)))
        ends = np.cumsum(sizes)
        starts = ends - sizes
        own = np.flatnonzero(sizes)

        def context(word, window, ends=ends, starts=starts, sizes=sizes):
            left = np.inf if window.first == 0 else starts[word] - starts[window.first]
            right = np.inf if window.stop == len(sizes) else ends[window.stop - 1] - ends[word]
            return min(left, right)

        for window in found:
            assert window.first <= window.scored <= window.until <= window.stop
            assert ends[window.stop - 1] - starts[window.first] <= width
            for word in range(window.scored, window.until):
                here = [other for other in found if other.first <= word < other.stop]
                if sizes[word]:
                    assert context(word, window) == max(context(word, other) for other in here)
                elif len(own) and word > own[0]:  # with the word that it goes on with
                    assert window.scored <= own[own < word][-1]


# Rows ------------------------------------------------------------------------------------------------------


def test_a_row_by_hand(tmp_path):
    """Two words of two and one tokens, a character without one between them, and another text."""
    words = [np.array([20, 21]), np.zeros(0, int), np.array([30])]
    made = store(tmp_path / "s", [words, [np.array([40])]], np.array([1, 2, 0, 3]))
    first, second = encoded(objective_of(), made, "wordpiece", 16)
    cls, sep = tokenizer().cls_id, tokenizer().sep_id
    assert first["input_ids"].tolist() == [cls, 20, 21, 30, sep]
    assert first["positions"].tolist() == [1, -1, 3]
    assert first["labels"].tolist() == [1, 2, 0]
    assert first["unit"].tolist() == [0, 1, 2]
    assert (second["unit"].tolist(), int(second["example"])) == ([3], 1)
    batch = stacked(objective_of(), [first, second], "wordpiece")
    assert objective_of().counts(batch) == {"tagging": 3}  # the character without a token has no loss


def test_windows_of_a_long_text_share_out_its_words(tmp_path):
    words = [np.array([20 + n % 50]) for n in range(30)]
    made = store(tmp_path / "s", [words], np.arange(30) % 5)
    found = encoded(objective_of(), made, "wordpiece", 12)
    assert len(found) > 3
    assert all(len(example["input_ids"]) <= 12 for example in found)
    units = np.concatenate([example["unit"] for example in found])
    assert sorted(units[units >= 0].tolist()) == list(range(30))
    for example in found:
        here = example["unit"] >= 0
        assert (example["labels"][here] == example["unit"][here] % 5).all()
        assert (example["labels"][~here] == IGNORE).all()
        first = example["input_ids"][example["positions"]]
        assert (first[here] == 20 + example["unit"][here] % 50).all()


def test_a_tokenizer_that_puts_too_much_around(tmp_path):
    made = store(tmp_path / "s", [[np.array([20])]], np.array([1]))
    everything = documents_of(made, EvaluateSpec(), "all")
    objective_of().check(everything, tokenizer(), 16, held_out=False)
    library = Tokenizer.from_str(tokenizer().spec)
    library.post_processor = processors.TemplateProcessing("[CLS] [CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    with pytest.raises(DataError, match="3 tokens around a text"):
        objective_of().check(everything, from_library(library, dict(tokenizer().names)), 16, held_out=False)


# Predictions -----------------------------------------------------------------------------------------------


def test_what_has_no_token_goes_on():
    """Of two rows: B-PER, nothing, nothing, I-LOC, nothing, O, nothing; and nothing, B-LOC."""
    positions = torch.tensor([[1, -1, -1, 2, -1, 3, -1], [-1, 1, -1, -1, -1, -1, -1]])
    said = torch.tensor([[1, 3, 3, 4, 3, 0, 3], [2, 3, 0, 0, 0, 0, 0]])
    logits = torch.nn.functional.one_hot(said, 5).float() * 9
    predicted, probability = objective_of().of_words(logits, positions)
    assert predicted[0].tolist() == [1, 2, 2, 4, 4, 0, 0]
    assert predicted[1, :3].tolist() == [0, 3, 4]
    assert float(probability[1, 0]) == 1.0
    assert probability[0, 1] == probability[0, 0]


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return objective_of().model(settings("bert", **DROP), tokenizer(), 64).eval()


def batch_of(tmp_path, kind="wordpiece"):
    texts = ["the cat sees", "my friend forgets the old river", "a red house"]
    made = store(tmp_path / "s", [ids(kind, *text.split()) for text in texts], np.arange(12) % 5)
    return made, stacked(objective_of(), encoded(objective_of(), made, kind, 40), kind)


def test_the_loss_is_that_of_transformers(fresh, tmp_path):
    _, batch = batch_of(tmp_path)
    labels = torch.full_like(batch["input_ids"], IGNORE)
    for row, (positions, of_words) in enumerate(zip(batch["positions"], batch["labels"], strict=True)):
        for position, label in zip(positions.tolist(), of_words.tolist(), strict=True):
            if position >= 0:
                labels[row, position] = label
    theirs = fresh(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels)
    parts, found = objective_of().evaluate(fresh, batch)
    torch.testing.assert_close(parts["tagging"].value, theirs.loss)
    assert int(parts["tagging"].count) == objective_of().counts(batch)["tagging"] == 12
    assert found["unit"].tolist() == list(range(12))
    assert found["example"].tolist() == [0] * 3 + [1] * 6 + [2] * 3
    assert found["gold"].tolist() == [n % 5 for n in range(12)]
    wanted = theirs.logits[labels != IGNORE].softmax(-1).max(-1)
    assert found["predicted"].equal(wanted.indices)
    torch.testing.assert_close(found["probability"], wanted.values)


def test_scores_are_in_reading_order(fresh, tmp_path):
    gold = np.array([1, 2, 0, 3, 4, 0, IGNORE])
    shuffled = np.random.default_rng(0).permutation(7)
    found = {"unit": np.arange(7), "example": np.array([0, 0, 0, 0, 1, 1, 1]), "gold": gold, "predicted": gold.clip(0)}
    found = {name: array[shuffled] for name, array in found.items()}
    assert objective_of().with_gold(found)["gold"].tolist() == gold[:6].tolist()
    assert objective_of().with_gold(found)["sentences"].tolist() == [0, 0, 0, 0, 1, 1]
    assert objective_of().score(found)["entity_f1"].value == objective_of().score(found)["score"].value == 1.0
    assert set(objective_of(labels=("NOUN", "VERB", "X", "Y", "Z")).score(found)) == {"accuracy", "score"}


def test_padding_changes_nothing(fresh, tmp_path):
    made, batch = batch_of(tmp_path)
    together = heads.logits(fresh, batch)
    for number, example in enumerate(encoded(objective_of(), made, "wordpiece", 40)):
        alone = heads.logits(fresh, stacked(objective_of(), [example], "wordpiece"))[0]
        torch.testing.assert_close(alone, together[number, : len(alone)])


def test_eight_examples_can_be_overfitted(tmp_path):
    rng = np.random.default_rng(0)
    examples = [[rng.integers(10, 100, rng.integers(1, 3)) for _ in range(6)] for _ in range(8)]
    made = store(tmp_path / "s", examples, rng.integers(0, 5, 48))
    batch = stacked(objective_of(), encoded(objective_of(), made, "wordpiece", 32), "wordpiece")
    torch.manual_seed(0)
    model = objective_of().model(settings("bert", **DROP), tokenizer(), 32)
    assert overfitted(objective_of(), model, batch, 100, lr=5e-3) < 0.05
    found = {name: array.detach().numpy() for name, array in objective_of().evaluate(model, batch)[1].items()}
    assert objective_of(metrics=("accuracy",)).score(found)["score"].value == 1.0


def test_an_example_for_people(fresh, tmp_path):
    made, _ = batch_of(tmp_path)
    example = encoded(objective_of(), made, "wordpiece", 40)[0]
    headline, pieces = objective_of().show(example, tokenizer())
    assert "3 of 3 words scored" in headline
    assert ("the=O", "first") in pieces
    assert [role for _, role in pieces].count("kept") == 2
    batch = stacked(objective_of(), [example], "wordpiece")
    assert "not B-PER]" in objective_of().answer(fresh, batch, tokenizer()) or "[B-PER]" in objective_of().answer(
        fresh, batch, tokenizer()
    )
