"""Masked language modelling against transformers' own losses, and the rules of its rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

from ptk import recipe_file
from ptk.data import batches, prepare, rows
from ptk.data.split import Documents, split
from ptk.errors import DataError
from ptk.objectives.mlm import MaskedLanguageModelling, RandomDocument
from ptk.objectives.objective import IGNORE, Row
from ptk.progress import Talk
from ptk.session import make_plan, objective_of

SMALL = {
    "vocab_size": 128,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


class Words:
    """As much of a tokenizer as encode needs."""

    vocab_size, cls_id, sep_id, mask_id, pad_id = 128, 2, 3, 4, 0
    special_ids = frozenset({0, 1, 2, 3, 4})
    word_starts = np.arange(128) % 3 != 0  # every third entry continues a word


def row(length: int, seed: int = 0, label: int = 0) -> Row:
    ids = np.random.default_rng(seed).integers(5, 128, size=length)
    return Row([ids[: length // 3], ids[length // 3 :]], {"label": label})


def batch_of(objective: MaskedLanguageModelling, lengths: list[int]) -> dict[str, torch.Tensor]:
    examples = []
    for number, length in enumerate(lengths):
        made = row(length, number, number % 2)
        made = made if objective.second_segment != "none" else Row(made.segments[:1], {})
        examples.append(objective.encode(made, Words(), np.random.default_rng(number)))
    return batches.stack(examples, {"input_ids": 0, **objective.padding})


def their_labels(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    labels = torch.full_like(batch["input_ids"], IGNORE)
    for i, (positions, values) in enumerate(zip(batch["masked_positions"], batch["masked_labels"], strict=True)):
        for position, value in zip(positions.tolist(), values.tolist(), strict=True):
            if value != IGNORE:
                labels[i, position] = value
    return labels


def test_loss_and_gradients_equal_bert_for_pretraining():
    objective = MaskedLanguageModelling(fidelity="fixed")
    batch = batch_of(objective, [61, 40, 17, 61])
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    losses = objective.loss(model, batch)
    assert {name: int(losses[name].count) for name in ("mlm", "nsp")} == objective.counts(batch)
    ours = losses["mlm"].total / losses["mlm"].count + losses["nsp"].total / losses["nsp"].count
    ours.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids", "next_sentence_label")}
    output = model(**inputs, labels=their_labels(batch))
    torch.testing.assert_close(ours, output.loss, rtol=1e-5, atol=1e-5)
    output.loss.backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-5)


def test_without_a_second_segment_it_equals_bert_for_masked_lm_and_has_no_pooler():
    objective = MaskedLanguageModelling(second_segment="none", fidelity="fixed")
    batch = batch_of(objective, [60, 33])
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SMALL, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    losses = objective.loss(model, batch)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    output = model(**inputs, labels=their_labels(batch))
    torch.testing.assert_close(losses["mlm"].total / losses["mlm"].count, output.loss, rtol=1e-5, atol=1e-5)
    assert "token_type_ids" not in batch
    assert not any("pooler" in name for name, _ in model.named_parameters())


def test_accuracies_count_right_answers():
    objective = MaskedLanguageModelling(fidelity="fixed")
    batch = batch_of(objective, [61, 40])
    model = BertForPreTraining(BertConfig(**SMALL)).eval()
    with torch.no_grad():
        losses = objective.loss(model, batch)
        logits = model(**{n: batch[n] for n in ("input_ids", "attention_mask", "token_type_ids")}).prediction_logits
    labels = their_labels(batch)
    right = ((logits.argmax(-1) == labels) & (labels != IGNORE)).sum()
    assert int(losses["mlm_accuracy"].total) == int(right)
    assert int(losses["mlm_accuracy"].count) == int((labels != IGNORE).sum())


@pytest.mark.parametrize("length", [10, 64, 125])
def test_a_row_is_laid_out_as_cls_a_sep_b_sep(length):
    made = row(length)
    example = MaskedLanguageModelling(fidelity="fixed").encode(made, Words(), np.random.default_rng(1))
    restored = example["input_ids"].copy()
    restored[example["masked_positions"]] = example["masked_labels"]
    a, b = made.segments
    assert restored.tolist() == [2, *a.tolist(), 3, *b.tolist(), 3]
    assert example["token_type_ids"].tolist() == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert not set(example["masked_positions"].tolist()) & {0, len(a) + 1, len(a) + len(b) + 2}
    assert len(example["masked_positions"]) == max(1, round((length + 3) * 0.15))


def test_19_positions_at_128_and_the_cap():
    objective = MaskedLanguageModelling(fidelity="fixed")
    assert len(objective.encode(row(125), Words(), np.random.default_rng(0))["masked_labels"]) == 19
    capped = replace(objective, max_predictions=10).encode(row(125), Words(), np.random.default_rng(0))
    assert len(capped["masked_labels"]) == 10


def test_masks_are_a_function_of_the_seed():
    objective = MaskedLanguageModelling(fidelity="fixed")
    one, same, other = (objective.encode(row(60), Words(), np.random.default_rng(s)) for s in (1, 1, 2))
    assert one["input_ids"].tolist() == same["input_ids"].tolist()
    assert one["masked_positions"].tolist() != other["masked_positions"].tolist()


@pytest.mark.parametrize(("fidelity", "joins"), [("fixed", False), ("paper", True)])
def test_a_piece_that_continues_a_word_never_joins_one_of_a(fidelity, joins):
    objective = MaskedLanguageModelling(masking="whole_word", fidelity=fidelity, mask_rate=0.15)
    made = Row([np.array([7, 7, 7, 7]), np.array([6, 7, 7, 7])], {"label": 0})  # B begins with a continuation (6)
    chosen = [
        set(objective.encode(made, Words(), np.random.default_rng(seed))["masked_positions"].tolist())
        for seed in range(300)
    ]
    of_b = [positions for positions in chosen if 6 in positions]  # position 6 is B's first, 4 is A's last
    assert of_b
    assert all(4 in positions for positions in of_b) == joins


def ready(tiny, *overrides: str):
    recipe = recipe_file.load(str(tiny()), overrides).recipe
    data = prepare.prepare(recipe.corpus, recipe.tokenizer, Talk(quiet=True))
    return recipe, data, objective_of(recipe)


def test_a_random_segment_never_comes_from_the_same_document_nor_from_held_out_text(tiny):
    recipe, data, objective = ready(tiny)
    train, held = split(data.store, recipe.evaluate)
    inside = np.zeros(data.store.manifest["tokens"], bool)
    for start, stop in zip(data.store.sentences[train.first], data.store.sentences[train.stop], strict=True):
        inside[start:stop] = True
    document = np.repeat(np.arange(len(data.store.documents) - 1), np.diff(data.store.sentences[data.store.documents]))
    table = make_plan(recipe, objective, data).rows(0, 0, 0).table
    pairs = table.spans.reshape(-1, 2, 2)
    for (a, b), label in zip(pairs.tolist(), table.columns["label"].tolist(), strict=True):
        assert inside[a[0] : a[1]].all()
        assert inside[b[0] : b[1]].all()
        assert (document[a[0]] == document[b[0]]) == (label == 0)
    draw, rng = RandomDocument(held, None), np.random.default_rng(0)
    starts = {int(draw(0, rng)[0]) for _ in range(100)}
    assert not inside[list(starts)].any()


def test_one_document_is_too_few(tiny):
    recipe, data, objective = ready(tiny)
    train, _ = split(data.store, recipe.evaluate)

    def first(number: int) -> Documents:
        return replace(train, first=train.first[:number], stop=train.stop[:number], parent=train.parent[:number])

    objective.check(first(20), Words(), 32, held_out=False)
    with pytest.raises(DataError, match="training text has 19"):
        objective.check(first(19), Words(), 32, held_out=False)
    objective.check(first(2), Words(), 32, held_out=True)
    with pytest.raises(DataError, match="held-out text has 1"):
        objective.check(first(1), Words(), 32, held_out=True)
    replace(objective, fidelity="paper").check(first(1), Words(), 32, held_out=False)
    replace(objective, second_segment="order").check(first(1), Words(), 32, held_out=False)


def test_validation_masks_at_15_percent_whatever_the_training_rate(tiny):
    _, _, objective = ready(tiny, "objective.mask_rate=0.4", "objective.max_predictions=3")
    scored = objective.for_validation(0.15)
    assert (scored.mask_rate, scored.max_predictions) == (0.15, None)


def test_rows_of_every_epoch_differ_and_repeat(tiny):
    recipe, data, objective = ready(tiny)
    source = make_plan(recipe, objective, data).stages[0].members[0]
    first, second = rows.rows(source, 0).table, rows.rows(source, 1).table
    assert first.spans.tolist() != second.spans.tolist()
    again = rows.build_block(source, 0, 0, rows.blocks(source.documents)[0])
    assert again.spans.tolist() == first.spans.tolist()


def test_more_masked_and_random_than_there_are_is_refused(tiny):
    with pytest.raises(ValueError, match="more than 1"):
        MaskedLanguageModelling(masked=0.9, random=0.2)


@pytest.mark.parametrize("how", ["whole_word", "ngram", "span"])
def test_words_are_masked_whole_however_they_are_chosen(how):
    objective = MaskedLanguageModelling(second_segment="none", masking=how, rounding="random", fidelity="fixed")
    for seed in range(50):
        made = Row(row(120, seed).segments[1:], {})
        example = objective.encode(made, Words(), np.random.default_rng(seed))
        ids = np.array([2, *made.segments[0], 3])
        edges = np.isin(np.arange(len(ids)), [0, 1, len(ids) - 1])  # no word reaches over [CLS] or [SEP]
        words = np.cumsum(Words.word_starts[ids] | edges)
        chosen = set(words[example["masked_positions"]].tolist())
        assert np.flatnonzero(np.isin(words, list(chosen))).tolist() == example["masked_positions"].tolist()
        assert len(example["masked_positions"]) <= int(len(ids) * 0.15 + 1)
