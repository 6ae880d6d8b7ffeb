"""Causal language modelling: every token and every end once, transformers' own loss, documents kept apart."""

from collections import Counter

import numpy as np
import pytest
import torch
from conftest import sections_of
from running import session
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from ptk.data import batches
from ptk.errors import DataError
from ptk.objectives.causal_lm import CausalLanguageModelling
from ptk.objectives.generation import BEGINS, ENDS
from ptk.objectives.objective import IGNORE, Row

SMALL = {"vocab_size": 128, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
DRY = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


class Words:
    """As much of a tokenizer as encode needs."""

    vocab_size, pad_id, bos_id, end = 128, 0, None, ("</s>", 1)
    special_ids = frozenset({0, 1})


def example(objective, *spans: tuple[list[int], int]) -> dict[str, np.ndarray]:
    row = Row([np.array(ids) for ids, _ in spans], {}, [mark for _, mark in spans])
    return objective.encode(row, Words(), np.random.default_rng(0))


def test_inputs_and_labels():
    """The end of one document, a whole one, the beginning of a third, whose next token is the last label."""
    spans = ([5, 6], ENDS), ([7, 8, 9], BEGINS | ENDS), ([10, 11], BEGINS)
    found = example(CausalLanguageModelling(), *spans)
    assert found["input_ids"].tolist() == [5, 6, 1, 7, 8, 9, 1, 10]
    assert found["labels"].tolist() == [6, 1, 7, 8, 9, 1, 10, 11]
    assert found.keys() == {"input_ids", "labels"}
    apart = example(CausalLanguageModelling(isolate_documents=True), *spans)
    assert apart["document"].tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert apart["position_ids"].tolist() == [0, 1, 0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize("name", ["causal_lm", "causal_lm-packed"])
def test_every_token_and_every_end_is_predicted_once_an_epoch(tiny, name):
    made = session(tiny(**sections_of(name, 0.0)))
    table = made.plan.rows(0, 0, 0)
    documents, end = table.source.documents, made.data.tokenizer.eos_id
    read, predicted, pairs = Counter(), Counter(), Counter()
    for number in range(len(table)):
        found = batches.encode(table, number, made.data.tokenizer, 0)
        assert len(found["input_ids"]) <= 32
        read.update(found["input_ids"].tolist())
        predicted.update(found["labels"].tolist())
        pairs.update(zip(found["input_ids"].tolist(), found["labels"].tolist(), strict=True))
    text = Counter()
    expected = Counter()
    for piece in range(len(documents)):
        bounds = documents.boundaries(piece)
        ids = documents.store.tokens[bounds[0] : bounds[-1]].tolist()
        text.update([*ids, end])
        expected.update(zip([end, *ids], [*ids, end], strict=True))
    assert read == predicted == text
    assert pairs == expected


@pytest.mark.parametrize("kind", ["openai-gpt", "gpt2"])
def test_loss_and_gradients_are_transformers_own(kind):
    torch.manual_seed(0)
    family, config = {"gpt2": (GPT2LMHeadModel, GPT2Config), "openai-gpt": (OpenAIGPTLMHeadModel, OpenAIGPTConfig)}[
        kind
    ]
    model = family(config(**SMALL, **DRY))
    objective = CausalLanguageModelling()
    rng = np.random.default_rng(0)
    spans = [rng.integers(2, 128, size).tolist() for size in (60, 41, 12)]
    made = [example(objective, (ids, BEGINS)) for ids in spans]
    batch = batches.stack(made, {"input_ids": 0, **objective.padding})
    part = objective.loss(model, batch)["clm"]
    assert int(part.count) == objective.counts(batch)["clm"] == 60 + 41 + 12
    ours = part.total / part.count
    ours.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    # transformers shifts labels by itself: the whole row, one token longer.
    whole = torch.full((3, 61), IGNORE)
    for number, ids in enumerate(spans):
        whole[number, : len(ids) + 1] = torch.tensor([1, *ids])
    theirs = model(input_ids=whole.clamp(min=0), labels=whole).loss
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    theirs.backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["causal_lm-packed"])
@torch.no_grad()
def test_documents_of_a_packed_row_have_the_loss_of_the_documents_alone(tiny, name):
    made = session(tiny(**sections_of(name, 0.0)), "train.length=64")
    model, table = made.fresh_model().eval(), made.plan.rows(0, 0, 0)
    row = next(i for i in range(len(table)) if len(table[i].segments) >= 2)
    whole = batches.stack([batches.encode(table, row, made.data.tokenizer, 0)], made.objective.padding)
    marked = table[row]
    total = 0.0
    for segment, mark in zip(marked.segments, marked.marks, strict=True):
        alone = made.objective.encode(Row([segment], {}, [mark]), made.data.tokenizer, np.random.default_rng(0))
        total += float(made.objective.loss(model, batches.stack([alone], made.objective.padding))["clm"].total)
    assert float(made.objective.loss(model, whole)["clm"].total) == pytest.approx(total, rel=1e-5)


def test_the_original_gpt_chooses_among_positions_too():
    """GPT1-2: tokens and positions are rows of one matrix; only `paper` reproduces that."""
    torch.manual_seed(0)
    model = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**SMALL, **DRY))
    batch = batches.stack([example(CausalLanguageModelling(), (list(range(2, 40)), BEGINS))], {})
    hidden = model.transformer(batch["input_ids"]).last_hidden_state
    both = torch.cat([model.transformer.tokens_embed.weight, model.transformer.positions_embed.weight])
    expected = torch.nn.functional.cross_entropy((hidden @ both.T)[0], batch["labels"][0], reduction="sum")
    found = CausalLanguageModelling(fidelity="paper").loss(model, batch)["clm"].total
    torch.testing.assert_close(found, expected)
    assert found > CausalLanguageModelling(fidelity="fixed").loss(model, batch)["clm"].total
    gpt2 = GPT2LMHeadModel(GPT2Config(**SMALL, **DRY))
    one, other = (CausalLanguageModelling(fidelity=f).loss(gpt2, batch)["clm"].total for f in ("paper", "fixed"))
    assert torch.equal(one, other)
    notes = CausalLanguageModelling().notes
    assert notes("fixed", "openai-gpt") == notes("paper", "gpt2") == []
    assert "GPT1-2" in notes("paper", "openai-gpt")[0]


def test_a_tokenizer_without_an_end_of_text_is_refused():
    words = Words()
    words.end = None
    with pytest.raises(DataError, match=r"no end-of-text token.*tokenizer.kind=bpe"):
        CausalLanguageModelling().encode(Row([np.array([5])], {}, [BEGINS]), words, np.random.default_rng(0))
