"""Span corruption: T5's own loss, rows of solved lengths, refusals, and what `paper` changes."""

import numpy as np
import pytest
import torch
from conftest import T5, sections_of
from running import session
from transformers import T5Config, T5ForConditionalGeneration

from ptk.data import batches
from ptk.errors import RecipeError
from ptk.objectives.objective import IGNORE, Row
from ptk.objectives.span_corruption import SpanCorruption

SMALL = {"vocab_size": 128, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}


class Words:
    """As much of a tokenizer as encode needs: T5's layout, end-of-text 1, 28 sentinels from the last id down."""

    vocab_size, pad_id, bos_id, end = 128, 0, None, ("</s>", 1)
    special_ids = frozenset({0, 1, 2, *range(100, 128)})
    sentinel_ids = np.arange(127, 99, -1)

    def id_of(self, token: str) -> int | None:
        return {"[X]": 3}.get(token)


def example(objective: SpanCorruption, ids: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    return objective.encode(Row([ids], {}, [0]), Words(), np.random.default_rng(seed))


@pytest.mark.parametrize("mode", [None, "[X]"])
@pytest.mark.parametrize("roll", [False, True])
def test_rows_fill_the_encoder(mode, roll):
    objective = SpanCorruption(mode_token=mode, random_roll=roll)
    lengths = objective.lengths(64)
    for seed in range(20):
        found = example(objective, np.random.default_rng(seed).integers(4, 100, lengths.row), seed)
        assert len(found["input_ids"]) in ((63, 64) if roll else (64,))
        assert len(found["labels"]) <= lengths.targets
        assert found["input_ids"][-1] == found["labels"][-1] == 1
        assert (found["input_ids"][0] == 3) == (mode is not None)
        read = [i for i in found["input_ids"] if i >= 100]
        written = [i for i in found["labels"] if i >= 100]
        assert read == written == list(range(127, 127 - len(read), -1))
        assert found["labels"][-2] < 100 or roll  # no closing sentinel


def test_an_epoch_reads_or_writes_every_token_once(tiny):
    from collections import Counter

    made = session(tiny(**sections_of("span_corruption", 0.0)))
    table = made.plan.rows(0, 0, 0)
    end, special = made.data.tokenizer.eos_id, set(made.data.tokenizer.sentinel_ids.tolist())
    seen = Counter()
    for number in range(len(table)):
        found = batches.encode(table, number, made.data.tokenizer, 0)
        seen.update(found["input_ids"][:-1].tolist())
        seen.update(found["labels"][:-1].tolist())
    text = Counter()
    documents = table.source.documents
    for piece in range(len(documents)):
        bounds = documents.boundaries(piece)
        text.update([*documents.store.tokens[bounds[0] : bounds[-1]].tolist(), end])
    assert Counter({i: n for i, n in seen.items() if i not in special}) == text


def test_loss_and_gradients_are_transformers_own():
    for more in ({}, {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}):  # 1.0 and 1.1
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(
            T5Config(**SMALL, **more, dropout_rate=0.0, pad_token_id=0, decoder_start_token_id=0)
        )
        objective = SpanCorruption()
        rng = np.random.default_rng(0)
        made = [example(objective, rng.integers(4, 100, size), size) for size in (60, 33, 17)]
        batch = batches.stack(made, {"input_ids": 0, **objective.padding})
        part = objective.loss(model, batch)["span"]
        assert int(part.count) == objective.counts(batch)["span"] == sum(len(e["labels"]) for e in made)
        ours = part.total / part.count
        ours.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        theirs = model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        theirs.backward()
        for name, p in model.named_parameters():
            torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_normaliser_is_held_near_one():
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(**SMALL, pad_token_id=0, decoder_start_token_id=0)).eval()
    objective = SpanCorruption(z_loss=1e-4)
    batch = batches.stack(
        [example(objective, np.arange(4, 64)), example(objective, np.arange(4, 24))], {"labels": IGNORE}
    )
    parts = objective.loss(model, batch)
    logits = model(
        batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"].clamp(min=0)
    ).logits
    squares = logits.double().exp().sum(-1).log() ** 2
    expected = sum(float(squares[i, : int((batch["labels"][i] != IGNORE).sum())].sum()) for i in range(2))
    assert float(parts["z"].total) == pytest.approx(expected, rel=1e-4)
    assert objective.weights == {"span": 1.0, "z": 1e-4}
    assert objective.counts(batch) == {"span": int(parts["span"].count), "z": int(parts["z"].count)}


def test_more_spans_than_sentinels_are_refused(tiny):
    made = session(tiny(**sections_of("span_corruption", 0.0)))
    documents, tokenizer = made.plan.stages[0].members[0].documents, made.data.tokenizer
    SpanCorruption().check(documents, tokenizer, 512, held_out=False)
    with pytest.raises(RecipeError, match=r"train.length: 2048 tokens hold 114 spans of noise.* 100 sentinels"):
        SpanCorruption().check(documents, tokenizer, 2048, held_out=False)
    SpanCorruption(mean_span_length=10).check(documents, tokenizer, 2048, held_out=False)
    SpanCorruption(noise="iid").check(documents, tokenizer, 512, held_out=False)
    with pytest.raises(RecipeError, match="hold 159 spans"):
        SpanCorruption(noise="iid").check(documents, tokenizer, 1100, held_out=False)
    SpanCorruption(noise="mass").check(documents, tokenizer, 2048, held_out=False)
    with pytest.raises(RecipeError, match=r"mode_token \[X\] is no token.*tokenizer.special_tokens"):
        SpanCorruption(mode_token="[X]").check(documents, tokenizer, 512, held_out=False)


def test_one_by_one_and_all_written():
    ids = np.random.default_rng(0).integers(4, 100, 63)
    found = example(SpanCorruption(noise="mass"), ids)
    assert found["labels"].tolist() == [*ids.tolist(), 1]
    changed = found["input_ids"][:-1] != ids
    shares = [example(SpanCorruption(noise="mass"), ids, seed)["input_ids"][:-1] for seed in range(400)]
    same_sentinel = np.mean([(row == 127).mean() for row in shares])
    assert same_sentinel == pytest.approx(0.15 * 0.9, abs=0.01)
    assert changed.any()
    found = example(SpanCorruption(noise="iid"), ids)
    assert len(found["input_ids"]) <= 64


def test_paper_has_no_separator_between_documents(tiny):
    ends = {}
    for fidelity in ("fixed", "paper"):
        made = session(tiny(**sections_of("span_corruption", 0.0)), f"fidelity={fidelity}")
        table, end = made.plan.rows(0, 0, 0), made.data.tokenizer.eos_id
        found = [batches.encode(table, number, made.data.tokenizer, 0) for number in range(len(table))]
        ends[fidelity] = sum((e["input_ids"][:-1] == end).sum() + (e["labels"][:-1] == end).sum() for e in found)
    assert ends == {"fixed": len(table.source.documents), "paper": 0}
    assert "T5-1" in SpanCorruption().notes("paper", "t5")[0]
    assert SpanCorruption().notes("fixed", "t5") == []


def test_paper_writes_what_the_originals_rule_gives_when_a_mask_is_rolled():
    ids = np.arange(10, 60)
    for seed in range(30):
        fixed, paper = (
            example(SpanCorruption(random_roll=True, fidelity=fidelity), ids, seed) for fidelity in ("fixed", "paper")
        )
        assert fixed["input_ids"].tolist() == paper["input_ids"].tolist()
        assert fixed["labels"][0] >= 100  # each span behind its own sentinel
        if fixed["input_ids"][0] >= 100:  # noise at the first token: the original names the kept runs instead
            assert paper["labels"][0] < 100


def test_bart_has_room_for_what_is_written(tiny):
    bart = "{type: bart, d_model: 32, encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 2, "
    bart += "decoder_attention_heads: 2, encoder_ffn_dim: 64, decoder_ffn_dim: 64, max_position_embeddings: 40}"
    sections = sections_of("span_corruption", 0.0) | {
        "objective": "{name: span_corruption, noise: mass}",
        "model": bart,
    }
    made = session(tiny(**sections))
    model = made.fresh_model()
    assert model.config.decoder_start_token_id == model.config.eos_token_id == made.data.tokenizer.eos_id
    assert model.config.forced_eos_token_id == made.data.tokenizer.eos_id
    with pytest.raises(RecipeError, match="max_position_embeddings"):
        session(tiny(**sections), "train.length=41").fresh_model()


def test_a_decoder_is_refused(tiny):
    sections = sections_of("span_corruption", 0.0)
    with pytest.raises(RecipeError, match=r"model.type: gpt2 is no encoder-decoder"):
        session(tiny(**{**sections, "model": "{type: gpt2}"})).fresh_model()
    with pytest.raises(RecipeError, match=r"model.type: t5 has an encoder"):
        session(
            tiny(**{**sections, "model": T5.replace("DROP", "0.0"), "objective": "{name: causal_lm}"})
        ).fresh_model()
