"""Encoders without padding give the same losses and gradients as transformers' own, and leave alone what may not."""

import contextlib
import copy

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from ptk.quick import Quick, unpadded

SIZES = {"vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
SIZES |= {"max_position_embeddings": 40, "embedding_size": 32, "pad_token_id": 1, "type_vocab_size": 2}
LENGTHS = [20, 3, 11, 1]
HEADS = {"tokens": AutoModelForTokenClassification, "rows": AutoModelForSequenceClassification}


def config(model_type: str, dropout: float = 0.0, **more):
    rates = {f"{name}_dropout_prob": dropout for name in ("hidden", "attention_probs", "classifier")}
    found = AutoConfig.for_model(model_type, **SIZES, **rates, **more)
    found.num_labels = 3
    return found


def model_and_hooked(model_type: str, head: str = "tokens", **more):
    torch.manual_seed(0)
    model = HEADS[head].from_config(config(model_type, **more)).train()
    hooked = copy.deepcopy(model)
    unpadded.hook(hooked)
    unpadded.hook(hooked)  # as a model is that is trained and then scored
    return model, hooked


def batch(head: str = "tokens", lengths=LENGTHS):
    generator = torch.Generator().manual_seed(1)
    shape = len(lengths), max(lengths)
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    ids = torch.randint(2, 90, shape, generator=generator).masked_fill(~mask, 1)
    labels = torch.randint(3, shape, generator=generator).masked_fill(~mask, -100)
    return {"input_ids": ids, "attention_mask": mask.long(), "labels": labels if head == "tokens" else labels[:, 0]}


@pytest.fixture
def seen(monkeypatch):
    """How many tokens each layer of feed-forward got, from here on."""
    found = []
    linear = nn.functional.linear
    monkeypatch.setattr(
        nn.functional, "linear", lambda x, w, b=None: found.append(x.shape[:-1].numel()) or linear(x, w, b)
    )
    return found


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("model_type", unpadded.LAYERS)
def test_losses_and_gradients_are_those_of_transformers(model_type, head, seen):
    model, hooked = model_and_hooked(model_type, head)
    given = batch(head)
    expected = model(**given)
    expected.loss.backward()
    del seen[:]
    with Quick():
        found = hooked(**given)
    found.loss.backward()
    assert seen.count(sum(LENGTHS)) >= 2 * 6  # the products of two layers
    assert found.loss.item() == pytest.approx(expected.loss.item(), rel=1e-6)
    real = given["attention_mask"].bool() if head == "tokens" else slice(None)
    torch.testing.assert_close(found.logits[real], expected.logits[real])
    for (name, ours), theirs in zip(hooked.named_parameters(), model.parameters(), strict=True):
        none = torch.zeros_like(theirs)
        ours, theirs = ours.grad if ours.grad is not None else none, theirs.grad if theirs.grad is not None else none
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)


def test_rows_do_not_see_each_other():
    _, hooked = model_and_hooked("bert")
    given = batch()
    with Quick(), torch.no_grad():
        before = hooked(**given).logits
        given["input_ids"][1:] = 5
        after = hooked(**given).logits
    torch.testing.assert_close(before[0], after[0])


def test_dropout_and_bf16_go_the_same_way(seen):
    _, hooked = model_and_hooked("bert", dropout=0.1)
    with torch.autocast("cpu", torch.bfloat16), Quick():
        loss = hooked(**batch()).loss
    loss.backward()
    assert sum(LENGTHS) in seen
    assert loss.isfinite()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in hooked.parameters())


@pytest.mark.parametrize(
    ("change", "lengths"),
    [
        (lambda model: None, [20, 20, 20]),
        (lambda model: None, [20, 20, 19]),  # too little padding
        (lambda model: model.set_attn_implementation("eager"), LENGTHS),
    ],
)
def test_what_keeps_its_padding(change, lengths, seen):
    model, hooked = model_and_hooked("bert")
    change(hooked)
    given = batch(lengths=lengths)
    with Quick():
        loss = hooked(**given).loss
    assert sum(lengths) == 60 or sum(lengths) not in seen
    loss.backward()
    assert loss.item() == pytest.approx(model(**given).loss.item(), rel=1e-6)


def test_outside_of_quick_nothing_changes(seen):
    model, hooked = model_and_hooked("bert")
    assert torch.equal(hooked(**batch()).logits, model(**batch()).logits)
    assert sum(LENGTHS) not in seen


def test_rows_that_see_differently_stay():
    """A mask of its own for each position, as packed rows have."""
    model, hooked = model_and_hooked("bert")
    given = batch(lengths=[20, 20])
    given["attention_mask"] = torch.ones(2, 1, 20, 20, dtype=torch.bool).tril()
    with Quick():
        found = hooked(**given).logits
    torch.testing.assert_close(found, model(**given).logits)


def test_layers_that_run_again_on_the_way_back(seen):
    model, hooked = model_and_hooked("bert")
    pieces = Quick()
    again = {"use_reentrant": False, "context_fn": lambda: (contextlib.nullcontext(), pieces)}
    hooked.activation_checkpointing_enable(again)
    with pieces:
        found = hooked(**batch()).loss
    found.backward()
    expected = model(**batch()).loss
    expected.backward()
    assert seen.count(sum(LENGTHS)) >= 2 * 2 * 6
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for ours, theirs in zip(hooked.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_who_wants_all_hidden_states_gets_them_padded():
    assert not unpadded.can(config("bert", output_hidden_states=True))
    assert not unpadded.can(config("bert", is_decoder=True))
    assert not unpadded.can(transformers.GPT2Config())


def test_layers_have_the_names_of_transformers():
    for model_type, name in unpadded.LAYERS.items():
        model = AutoModelForTokenClassification.from_config(config(model_type))
        assert [type(each).__name__ for each in model.modules()].count(name) == 1
