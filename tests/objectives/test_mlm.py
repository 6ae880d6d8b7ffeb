"""Masked language modelling against transformers' own losses, and the rules of its rows."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from running import session
from transformers import AlbertConfig, AlbertForPreTraining, BertConfig, BertForMaskedLM, BertForPreTraining

from ptk import inspection, recipe_file
from ptk.data import batches, prepare, rows, tokenizer_training
from ptk.data.split import Documents, split
from ptk.errors import DataError
from ptk.objectives.mlm import MaskedLanguageModelling, RandomDocument
from ptk.objectives.objective import IGNORE, Row
from ptk.pretraining import make_plan
from ptk.progress import Talk
from ptk.recipe import TokenizerSpec
from ptk.session import objective_of

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
    piece_ids = np.arange(5, 128)
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


DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ALBERT = AlbertConfig(**SMALL, **DROPOUT, classifier_dropout_prob=0.0, embedding_size=16)


@pytest.mark.parametrize(
    ("second_segment", "part", "family", "config", "label"),
    [
        ("next", "nsp", BertForPreTraining, BertConfig(**SMALL, **DROPOUT), "next_sentence_label"),
        ("order", "sop", AlbertForPreTraining, ALBERT, "sentence_order_label"),
    ],
)
def test_loss_and_gradients_equal_those_of_transformers(second_segment, part, family, config, label):
    objective = MaskedLanguageModelling(second_segment=second_segment, fidelity="fixed")
    batch = batch_of(objective, [61, 40, 17, 61])
    torch.manual_seed(0)
    model = family(config)
    losses = objective.loss(model, batch)
    assert {name: int(losses[name].count) for name in ("mlm", part)} == objective.counts(batch)
    ours = losses["mlm"].total / losses["mlm"].count + losses[part].total / losses[part].count
    ours.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    output = model(**inputs, **{label: batch["next_sentence_label"]}, labels=their_labels(batch))
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


def test_rows_of_several_documents_have_a_separator_behind_each():
    objective = MaskedLanguageModelling(
        second_segment="none",
        packing="full_sentences",
        fidelity="fixed",
        masked=0.0,
        random=0.0,
        masking="whole_word",
        mask_rate=0.1,
    )
    made = Row([np.array([7, 8]), np.array([9, 10, 11]), np.array([6])], {})
    example = objective.encode(made, Words(), np.random.default_rng(0))
    assert example["input_ids"].tolist() == [2, 7, 8, 3, 9, 10, 11, 3, 6, 3]
    assert "token_type_ids" not in example
    found = (objective.encode(made, Words(), np.random.default_rng(s))["masked_positions"] for s in range(99))
    assert (8,) in {
        tuple(positions.tolist()) for positions in found
    }  # 6 goes on with a word, but not with one of another document


def test_full_sentences_have_no_second_segment():
    with pytest.raises(ValueError, match="full_sentences has no second segment; set second_segment=none"):
        MaskedLanguageModelling(packing="full_sentences")


def test_the_mask_rate_goes_from_one_end_to_the_other():
    objective = MaskedLanguageModelling(mask_rate={"from": 0.3, "to": 0.15}, fidelity="fixed")
    assert [objective.at(128, progress).mask_rate for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.3, 0.225, 0.15])
    constant = MaskedLanguageModelling(fidelity="fixed")
    assert constant.at(128, 0.5) is constant
    assert objective.for_validation(0.15).at(128, 0.0).mask_rate == 0.15
    with pytest.raises(ValueError, match="has both ends"):
        MaskedLanguageModelling(mask_rate={"from": 0.3})


def test_a_run_masks_less_and_less(tiny):
    path = tiny(objective="{name: mlm, mask_rate: {from: 0.5, to: 0.1}}")
    made = session(path)
    masked = []
    for step in range(made.plan.steps):
        (batch,) = made.batches()[step]
        real = batch["attention_mask"].sum() if "attention_mask" in batch else batch["input_ids"].numel()
        masked.append(float((batch["masked_labels"] != IGNORE).sum() / real))
    assert masked == pytest.approx([0.5 - 0.4 * step / 8 for step in range(8)], abs=0.015)
    (shown,) = itertools.islice(inspection.examples(made.objective, made.plan, made.data.tokenizer, 1), 1)
    assert "to predict" in shown.plain


@pytest.mark.parametrize(("pool", "specials"), [("vocabulary", True), ("pieces", False)])
def test_random_entries_are_any_or_any_but_special_tokens(pool, specials):
    objective = MaskedLanguageModelling(fidelity="fixed", masked=0.0, random=1.0, mask_rate=0.9, random_from=pool)
    drawn = np.concatenate(
        [
            example["input_ids"][example["masked_positions"]]
            for seed in range(100)
            for example in [objective.encode(row(125), Words(), np.random.default_rng(seed))]
        ]
    )
    assert bool(set(drawn.tolist()) & Words.special_ids) == specials
    assert set(range(5, 128)) <= set(drawn.tolist())


# Of a text: letters and digits between blanks and punctuation; each ideograph.
WORD = re.compile(r"[一-鿿]|[^\W_一-鿿]+")
LINES = [
    "The function's return-value (an int_32) isn't checked: see foo.bar(baz), please!",
    "그 함수는 값을(정수) 돌려준다. 예: 파이토치_모델.학습()을 부르세요!",
    "机器学习 模型,学习。",
    "Ein Wörterbuch, naïve façades; 3.14 and 1,000,000 or x=y**2 ...",
] * 8


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "char"])
@pytest.mark.parametrize("how", ["whole_word", "ngram", "span"])
def test_words_of_the_text_are_masked_whole_whatever_the_tokenizer(kind, how):
    """Checked against the text, not the pieces: of each word either every character is to be predicted or none."""
    spec = TokenizerSpec(
        kind=kind, vocab_size=400 if kind == "bpe" else 260, special_tokens=("[CLS]", "[SEP]", "[MASK]")
    )
    trained = tokenizer_training.train(replace(spec, special_tokens=()), LINES).extended(spec.special_tokens)
    objective = MaskedLanguageModelling(second_segment="none", masking=how, mask_rate=0.3, fidelity="fixed")
    masked_words = whole = 0
    for number, line in enumerate(LINES):
        encoding = trained._library.encode(line, add_special_tokens=False)
        ids = np.array(encoding.ids)
        example = objective.encode(Row([ids], {}), trained, np.random.default_rng(number))
        chosen = set((example["masked_positions"] - 1).tolist())  # [CLS] is in front
        hidden = {place for index in chosen for place in range(*encoding.offsets[index])}
        for word in WORD.finditer(line):
            covered = hidden & set(range(*word.span()))
            assert len(covered) in (0, len(word[0])), (word[0], encoding.tokens)
            masked_words += bool(covered)
        whole += len(chosen) > 0
    assert whole == len(LINES)
    assert masked_words > len(LINES)


def test_a_cap_below_the_mask_rate_is_said():
    capped = MaskedLanguageModelling(max_predictions=20)
    (caution,) = capped.cautions(512)
    assert "20 of the 77 positions" in caution
    assert "3.9% are predicted" in caution
    rising = MaskedLanguageModelling(max_predictions=20, mask_rate={"from": 0.1, "to": 0.3})
    assert "20 of the 38 positions" in rising.cautions(128)[0]
    assert capped.cautions(128) == MaskedLanguageModelling().cautions(512) == []
