"""Muon: which weights it takes, steps with equal singular values, and AdamW for the rest."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel, T5Config
from transformers import T5ForConditionalGeneration as T5

from ptk import optim
from ptk.optim import muon

LR, BETAS, EPS = 0.01, (0.9, 0.999), 1e-6
SMALL = {"num_layers": 1, "num_heads": 2}
BERT = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
BERT_LAYER = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
BERT_LAYER += ["intermediate.dense", "output.dense"]


def names(model):
    chosen = muon.matrices(model)
    return [name.removesuffix(".weight") for name, p in model.named_parameters() if p in chosen]


def test_matrices_are_those_of_layers():
    """Neither embeddings, position tables, nor the words' scores, tied or not; a Conv1D is a linear layer."""
    heads = ["bert.pooler.dense", "cls.predictions.transform.dense", "cls.seq_relationship"]
    layer = [f"bert.encoder.layer.0.{name}" for name in BERT_LAYER]
    assert names(BertForPreTraining(BertConfig(**BERT))) == layer + heads
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2))
    assert names(gpt) == [
        f"transformer.h.0.{name}" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    ]
    for tied in (True, False):
        t5 = T5(T5Config(vocab_size=11, d_model=8, d_kv=4, d_ff=12, tie_word_embeddings=tied, **SMALL))
        assert len(names(t5)) == 6 + 10
        assert not any("lm_head" in name or "shared" in name or "bias" in name for name in names(t5))


def test_every_group_is_divided():
    a, b, c = (nn.Parameter(torch.zeros(2, 2)) for _ in range(3))
    groups = muon.divided([{"params": [a, b], "weight_decay": 0.1}, {"params": [c], "lr_scale": 2.0}], {b})
    assert groups == [
        {"params": [b], "weight_decay": 0.1, "matrices": True},
        {"params": [a], "weight_decay": 0.1, "matrices": False},
        {"params": [c], "lr_scale": 2.0, "matrices": False},
    ]


def made(shape=(6, 4), decay=0.1):
    torch.manual_seed(0)
    matrix, vector = nn.Parameter(torch.randn(*shape)), nn.Parameter(torch.randn(5))
    groups = muon.divided([{"params": [matrix], "weight_decay": decay}, {"params": [vector]}], {matrix})
    return matrix, vector, optim.build("muon", groups, LR, BETAS, EPS)


def give_gradients(*parameters, seed):
    made = torch.Generator().manual_seed(seed)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=made)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_a_step_has_the_gradients_directions_with_nearly_equal_strength(shape):
    """Of the first gradient: momentum points where it does. The size is AdamW's (arXiv 2502.16982): RMS about 0.2."""
    matrix, _, optimizer = made(shape, decay=0.0)
    before = matrix.detach().clone()
    give_gradients(matrix, seed=1)
    left, _, right = np.linalg.svd(matrix.grad.numpy(), full_matrices=False)
    optimizer.step()
    step = (before - matrix.detach()).numpy() / (LR * 0.2 * math.sqrt(max(shape)))
    along = left.T @ step @ right.T
    strengths = np.diag(along)
    assert ((strengths > 0.6) & (strengths < 1.3)).all()  # where five iterations leave them
    assert np.abs(along - np.diag(strengths)).max() < 0.03  # they compute in bf16


@pytest.mark.parametrize("at_once", [muon.STACKED, 1])
def test_stacks_make_the_steps_of_torchs_muon(at_once, monkeypatch):
    monkeypatch.setattr(muon, "STACKED", at_once)
    shapes = [(8, 8), (6, 4), (8, 8), (4, 6), (8, 8), (6, 4)]
    mine, others = ([nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    groups = muon.divided([{"params": mine, "weight_decay": 0.1}], set(mine))
    optimizer = optim.build("muon", groups, LR, BETAS, EPS)
    reference = torch.optim.Muon(others, LR, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for seed in range(4):
        for parameters, one in ((mine, optimizer), (others, reference)):
            give_gradients(*parameters, seed=seed)
            parameters[seed].grad = None
            one.step()
    for p, other in zip(mine, others, strict=True):
        assert not torch.equal(p.detach(), torch.ones(p.shape))
        torch.testing.assert_close(p, other, rtol=0, atol=0.02 * LR)  # their iterations are in bf16


def test_weights_decay_whatever_their_gradients():
    matrix, _, optimizer = made(decay=0.1)
    before = matrix.detach().clone()
    matrix.grad = torch.zeros_like(matrix)
    optimizer.step()
    torch.testing.assert_close(matrix.detach(), before * (1 - LR * 0.1))


def test_the_rest_is_adamws():
    _, vector, optimizer = made()
    alone = nn.Parameter(vector.detach().clone())
    adamw = optim.build("adamw", [{"params": [alone]}], LR, BETAS, EPS)
    for seed in range(3):
        for p, one in ((vector, optimizer), (alone, adamw)):
            give_gradients(p, seed=seed)
            one.step()
    assert torch.equal(vector, alone)
    assert optimizer.step(lambda: 3.0) == 3.0


def test_a_loaded_state_goes_on_bit_for_bit():
    matrix, vector, optimizer = made()
    for seed in (1, 2):
        give_gradients(matrix, vector, seed=seed)
        optimizer.step()
    other_matrix, other_vector, other = made()
    saved = copy.deepcopy(optimizer.state_dict())
    with torch.no_grad():
        other_matrix.copy_(matrix)
        other_vector.copy_(vector)
    other.load_state_dict(saved)
    for group in other.param_groups:
        group["lr"] = LR / 2
    for group in optimizer.param_groups:
        group["lr"] = LR / 2
    for m, v, one in ((matrix, vector, optimizer), (other_matrix, other_vector, other)):
        give_gradients(m, v, seed=3)
        one.step()
    assert torch.equal(matrix, other_matrix)
    assert torch.equal(vector, other_vector)


def test_a_loaded_state_is_not_shared():
    matrix, vector, optimizer = made()
    give_gradients(matrix, vector, seed=1)
    optimizer.step()
    other_matrix, other_vector, other = made()
    other.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy([other.state[p] for p in (other_matrix, other_vector)])
    give_gradients(matrix, vector, seed=2)
    optimizer.step()
    after = [other.state[p] for p in (other_matrix, other_vector)]
    for state, was in zip(after, before, strict=True):
        assert all(torch.equal(state[name], was[name]) for name in was)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_goes_on_alone(copied):
    matrix, vector, optimizer = made()
    give_gradients(matrix, vector, seed=1)
    optimizer.step()
    other = copied(optimizer)
    (other_matrix,), (other_vector,) = (group["params"] for group in other.param_groups)
    for one, parameters in ((optimizer, (matrix, vector)), (other, (other_matrix, other_vector))):
        give_gradients(*parameters, seed=2)
        one.step()
    assert torch.equal(matrix, other_matrix)
    assert torch.equal(vector, other_vector)
    assert other_matrix is not matrix


def test_groups_keep_their_own_rates_and_what_has_no_gradient_is_left_alone():
    a, b, c = (nn.Parameter(torch.ones(3, 3)) for _ in range(3))
    groups = [{"params": [a], "lr_scale": 0.5, "from_step": 3, "weight_decay": 0.1}, {"params": [b, c]}]
    optimizer = optim.build("muon", muon.divided(groups, {a, b, c}), LR, BETAS, EPS)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert [group.get("lr_scale") for group in optimizer.param_groups] == [0.5, None]
    b.grad = torch.eye(3)
    optimizer.step()
    assert torch.equal(a.detach(), torch.ones(3, 3))
    assert torch.equal(c.detach(), torch.ones(3, 3))
    assert not torch.equal(b.detach(), torch.ones(3, 3))


@pytest.mark.parametrize("chosen", [True, False])
def test_it_may_have_only_matrices_or_none(chosen):
    p = nn.Parameter(torch.ones(3, 3))
    optimizer = optim.build("muon", muon.divided([{"params": [p]}], {p} if chosen else set()), LR, BETAS, EPS)
    p.grad = torch.eye(3)
    optimizer.step()
    assert not torch.equal(p.detach(), torch.ones(3, 3))
