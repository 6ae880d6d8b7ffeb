"""Each quicker piece beside torch's own, and that all families come to them."""

import copy
import ctypes
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    BertConfig,
    BertForPreTraining,
    ElectraConfig,
    ElectraForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.activations import NewGELUActivation

from ptk import step
from ptk.quick import Quick, activations, memory
from ptk.quick.dropout import STEPS, drawn

V, D = 120, 32
NEXT_TO_NONE = 1e-9  # of dropout: rounds to none, and takes the way of some


def test_dropout_keeps_its_share_and_scales_by_just_that():
    torch.manual_seed(0)
    kept = drawn(torch.Size([1000, 1000]), round(0.1 * STEPS))
    assert kept.unique().tolist() == [-1, 0]
    assert -kept.float().mean().item() == pytest.approx(0.9, abs=5 * (0.09 / 1e6) ** 0.5)
    x = torch.full((1000,), 2.0, requires_grad=True)
    with Quick():
        y = F.dropout(x, 0.1)
    y.sum().backward()
    scale = STEPS / (STEPS - round(0.1 * STEPS))
    assert sorted(set(y.tolist())) == pytest.approx([0.0, 2 * scale])
    assert torch.equal(x.grad, (y > 0) * scale)


def test_a_second_derivative_of_dropout_is_an_error():
    x = torch.ones(1000, requires_grad=True)
    with Quick():
        y = F.dropout(x, 0.1)
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("shape", [(3,), (5, 7), (0, 4), ()])
def test_dropout_of_any_shape(shape):
    with Quick():
        assert F.dropout(torch.ones(shape), 0.5).shape == shape


def test_dropout_is_seeded_by_torch_and_differs_from_call_to_call():
    x = torch.ones(500)
    with Quick():
        torch.manual_seed(1)
        first, second = F.dropout(x, 0.3), F.dropout(x, 0.3)
        torch.manual_seed(1)
        assert torch.equal(first, F.dropout(x, 0.3))
    assert not torch.equal(first, second)


def test_what_drops_nothing_or_all_is_torchs_own():
    x = torch.ones(10)
    with Quick():
        assert F.dropout(x, 0.3, training=False) is x
        assert F.dropout(x, 0.0) is x
        assert not F.dropout(x, 1.0).any()
        assert nn.Dropout(0.4, inplace=True)(x) is x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", ["none", "causal", "bool", "bias"])
def test_attention_is_torchs(dtype, mask):
    torch.manual_seed(0)
    shape = (2, 3, 7, 8)
    inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]
    more: dict = {"is_causal": True} if mask == "causal" else {}
    if mask == "bool":
        more["attn_mask"] = torch.ones(2, 1, 7, 7, dtype=torch.bool).tril()
    if mask == "bias":
        inputs.append(torch.randn(1, 3, 7, 7, dtype=dtype, requires_grad=True))
    weights = torch.randn(shape, dtype=dtype)

    def both(function):
        found = function(*inputs, scale=0.3, **more)
        return found, torch.autograd.grad((found * weights).sum(), inputs)

    expected, gradients = both(F.scaled_dot_product_attention)
    with Quick():
        found, own = both(F.scaled_dot_product_attention)
    near = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(found, expected, **near)
    torch.testing.assert_close(own, gradients, **near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", ["bool", "-inf", "lowest of fp32"])
def test_a_row_that_sees_nothing_answers_nothing(dtype, mask):
    torch.manual_seed(0)
    query = torch.randn(2, 3, 5, 8, dtype=dtype, requires_grad=True)
    seen = torch.ones(2, 1, 5, 5, dtype=torch.bool).tril()
    seen[1, 0, 2] = False
    masks = {"bool": seen, "-inf": torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -torch.inf)}
    lowest = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    masks["lowest of fp32"] = lowest.to(dtype) if dtype == torch.bfloat16 else masks["-inf"]
    with Quick():
        found = F.scaled_dot_product_attention(query, query, query, masks[mask], dropout_p=1e-9)
        found = F.scaled_dot_product_attention(query, query, query, masks[mask], dropout_p=0.5) * 0 + found
    assert not found[1, :, 2].any()
    (gradient,) = torch.autograd.grad(found.float().square().sum(), query)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


def test_attention_with_dropout_is_an_average_of_the_values_that_are_kept():
    torch.manual_seed(0)
    query = torch.zeros(1, 1, 4000, 8)
    value = torch.ones(1, 1, 50, 8)
    with Quick():
        found = F.scaled_dot_product_attention(query, torch.randn(1, 1, 50, 8), value, dropout_p=0.2)
    assert found.mean().item() == pytest.approx(1, abs=0.01)
    assert found.std().item() == pytest.approx((0.25 / 50) ** 0.5, rel=0.1)


@pytest.mark.parametrize("padding", [None, 3])
def test_gradients_of_embeddings_are_torchs_and_add_up(padding, monkeypatch):
    monkeypatch.setattr("ptk.quick.embedding.LEAST", 1)
    ids = [torch.tensor([[3, 1, 1], [0, 3, 2]]), torch.tensor([[1, 5, 5]])]
    ours, theirs = (nn.Embedding(6, 4, padding_idx=padding) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    weights = [torch.randn(2, 3, 4), torch.randn(1, 3, 4)]
    for each, weight in zip(ids, weights, strict=True):
        (theirs(each) * weight).sum().backward()
        with Quick():
            (ours(each) * weight).sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_padding_may_be_counted_from_the_end(monkeypatch):
    monkeypatch.setattr("ptk.quick.embedding.LEAST", 1)
    weight = nn.Parameter(torch.ones(6, 4))
    with Quick():
        F.embedding(torch.tensor([5, 4]), weight, padding_idx=-1).sum().backward()
    assert weight.grad.sum(1).tolist() == [0, 0, 0, 0, 4, 0]


def test_frozen_embeddings_get_no_gradient(monkeypatch):
    monkeypatch.setattr("ptk.quick.embedding.LEAST", 1)
    table = nn.Embedding(6, 4)
    table.weight.requires_grad_(False)
    with Quick():
        assert not table(torch.tensor([1])).requires_grad
    assert table.weight.grad is None


def families():
    """Without dropout, but for the weights of attention, of which so little drops none: torch's own has no dropout."""
    few = {"hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    few |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": NEXT_TO_NONE}
    yield BertForPreTraining(BertConfig(vocab_size=V, **few))
    yield AlbertForPreTraining(AlbertConfig(vocab_size=V, embedding_size=D, **few))
    yield ElectraForMaskedLM(ElectraConfig(vocab_size=V, embedding_size=D, **few))
    gpt = {"n_embd": D, "n_layer": 1, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1, "attn_pdrop": NEXT_TO_NONE}
    yield GPT2LMHeadModel(GPT2Config(vocab_size=V, resid_pdrop=0.0, embd_pdrop=0.0, **gpt))
    t5 = {"d_model": D, "num_layers": 1, "d_ff": 64, "d_kv": 16, "num_heads": 2, "decoder_start_token_id": 0}
    t5 |= {"dropout_rate": NEXT_TO_NONE}
    yield T5ForConditionalGeneration(T5Config(vocab_size=V, feed_forward_proj="gated-gelu", **t5))


@pytest.mark.parametrize("model", list(families()), ids=lambda model: type(model).__name__)
def test_every_family_has_the_same_losses_and_gradients(model, monkeypatch):
    monkeypatch.setattr("ptk.quick.embedding.LEAST", 1)
    model.train()
    called = []
    ids = torch.randint(5, V, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}

    def run():
        output = model(input_ids=ids, attention_mask=mask, **more)
        logits = output.prediction_logits if "prediction_logits" in output else output.logits
        F.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return found

    saved, expected, pieces = model.state_dict().keys(), run(), Quick()
    activations.fuse(model)
    model = copy.deepcopy(model)  # as fast as it was
    assert model.state_dict().keys() == saved
    for function, own in list(pieces.ours.items()):
        pieces.ours[function] = lambda *args, own=own, **kw: called.append(own.__name__) or own(*args, **kw)
    with monkeypatch.context() as there, pieces:
        there.setattr(NewGELUActivation, "forward", None)  # nobody comes to it
        found = run()
    assert {"attention", "embedding", "dropout"} == set(called)
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("asked", [True, False])
def test_a_model_that_is_run_has_its_activations_as_one_operation_where_asked(asked):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=D, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1))
    step.Wrapped(None, model, Quick() if asked else step.NO_PIECES)
    assert ("forward" in vars(model.transformer.h[0].mlp.act)) == asked


FAULTS = """
import resource, torch
from ptk import quick
quick.pieces(torch.device("cpu"))
for turn in range(20):
    if turn == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    a = torch.zeros(4 << 20)
    b = a + 1
    c = b * 2
    del a, b, c
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_memory_that_was_freed_is_taken_again():
    """Given back, as a user may ask for, each of 15 turns takes 48 MB anew, which are 12,000 pages of 4 KB."""
    clean = {name: value for name, value in os.environ.items() if name not in memory.OF_THE_USER}

    def faults(**settings):
        command = [sys.executable, "-c", FAULTS]
        return int(subprocess.run(command, check=True, capture_output=True, env=clean | settings).stdout)

    assert faults() < 3 * 10_000  # now and then one does not fit where another was
    assert faults(MALLOC_TRIM_THRESHOLD_="1000000") > 15 * 10_000


def test_without_glibc_memory_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _name: object())
    assert not memory.keep_freed.__wrapped__()
    monkeypatch.setattr(memory.sys, "platform", "win32")
    monkeypatch.setattr(memory.ctypes, "CDLL", None)
    assert not memory.keep_freed.__wrapped__()
