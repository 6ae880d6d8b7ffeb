"""Optimizers against the rules written out in numpy, schedules against numbers worked out by hand."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForPreTraining, T5Config, T5ForConditionalGeneration

from ptk import optim

LR, BETAS, EPS, DECAY = 0.01, (0.9, 0.999), 1e-6, 0.1
OURS = ("bert_adamw", "lamb")


# Groups ----------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """Names that mislead a search for substrings: ``lnx`` and ``normal`` are no norms, ``scale`` is one."""

    def __init__(self):
        super().__init__()
        self.lnx = nn.Linear(2, 3)
        self.normal = nn.Parameter(torch.ones(2))
        self.bias_table = nn.Embedding(2, 3)
        self.scale = nn.LayerNorm(3)
        self.gain = nn.RMSNorm(3)
        self.rnn = nn.LSTM(2, 3)
        self.attention = nn.MultiheadAttention(2, 1, add_bias_kv=True)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def names_of(model, groups):
    names = {p: name for name, p in model.named_parameters()}
    return [[names[p] for p in group["params"]] for group in groups]


def test_groups_go_by_module_type():
    model = Odd()
    groups = optim.parameter_groups(model, DECAY)
    assert [group["weight_decay"] for group in groups] == [DECAY, 0.0]
    assert names_of(model, groups) == [
        [
            "normal",
            "lnx.weight",
            "bias_table.weight",
            "rnn.weight_ih_l0",
            "rnn.weight_hh_l0",
            "attention.in_proj_weight",
            "attention.out_proj.weight",
        ],
        [
            "lnx.bias",
            "scale.weight",
            "scale.bias",
            "gain.weight",
            "rnn.bias_ih_l0",
            "rnn.bias_hh_l0",
            "attention.in_proj_bias",
            "attention.bias_k",
            "attention.bias_v",
            "attention.out_proj.bias",
        ],
    ]


def test_groups_of_bert_are_those_of_its_rule():
    """In BERT itself, names tell as well (OPT-1); the tied decoder comes once, as an embedding, decayed."""
    config = BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    model = BertForPreTraining(config)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    decayed, exempt = names_of(model, optim.parameter_groups(model, DECAY))
    everything = [name for name, _ in model.named_parameters()]
    assert sorted(decayed + exempt) == sorted(everything)
    assert set(exempt) == {n for n in everything if "LayerNorm" in n or n.endswith("bias")}
    assert "bert.embeddings.word_embeddings.weight" in decayed
    assert "cls.predictions.bias" in exempt


def test_t5_norms_are_exempt_and_its_position_table_is_not():
    config = T5Config(vocab_size=11, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    model = T5ForConditionalGeneration(config)
    decayed, exempt = names_of(model, optim.parameter_groups(model, DECAY))
    assert len(exempt) == 7  # 2 in the encoder's layer, 3 in the decoder's, and two final ones
    assert all(name.endswith("layer_norm.weight") for name in exempt)
    assert sum("relative_attention_bias" in name for name in decayed) == 2


def test_an_empty_group_is_left_out():
    assert [g["weight_decay"] for g in optim.parameter_groups(nn.LayerNorm(2), DECAY)] == [0.0]


# Optimizers ------------------------------------------------------------------------------------------------


def bert_adamw(w, grads, decay):
    """OPT-1, in float64."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        w = w - LR * (m / (np.sqrt(v) + EPS) + decay * w)
    return w


def lamb(w, grads, decay):
    """OPT-6, in float64."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for g in grads:
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        update = m / (np.sqrt(v) + EPS) + decay * w
        size, step = np.sqrt((w**2).sum()), np.sqrt((update**2).sum())
        w = w - LR * (size / step if size > 0 and step > 0 else 1.0) * update
    return w


def weights_and_grads():
    """Arrays of several shapes, one of zero weights, one that never gets a gradient but zero."""
    rng = np.random.default_rng(0)
    shapes = [(3, 5), (7,), (2, 3, 4), (), (4, 4), (6,)]
    weights = [rng.normal(size=shape).astype("float32") for shape in shapes]
    grads = [[rng.normal(size=shape).astype("float32") for shape in shapes] for _ in range(5)]
    weights[4][:] = 0
    for step in grads:
        step[5][:] = 0
    return weights, grads


def groups_of(params):
    return [{"params": params[:3], "weight_decay": DECAY}, {"params": params[3:], "weight_decay": 0.0}]


def train(optimizer, params, grads):
    for step in grads:
        for p, g in zip(params, step, strict=True):
            p.grad = torch.tensor(g, dtype=p.dtype)
        optimizer.step()


@pytest.mark.parametrize(("name", "reference"), [("bert_adamw", bert_adamw), ("lamb", lamb)])
def test_five_steps_equal_the_rule(name, reference):
    weights, grads = weights_and_grads()
    params = [nn.Parameter(torch.tensor(w)) for w in weights]
    train(optim.build(name, groups_of(params), LR, BETAS, EPS), params, grads)
    for i, p in enumerate(params):
        expected = reference(weights[i].astype("float64"), [step[i] for step in grads], DECAY if i < 3 else 0)
        np.testing.assert_allclose(p.detach().numpy(), expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(params[5], torch.tensor(weights[5]))  # no gradient, no decay: no change


@pytest.mark.parametrize(
    ("name", "eps", "expected"),
    [
        # One step with w = g = 1: m = 0.1 and v = 0.001, whose root is 0.0316.
        ("adamw", 1e-6, 1 - LR * 1.0),
        ("bert_adamw", 1e-6, 1 - LR * 3.162178),
        ("bert_adamw", 0.5, 1 - LR * 0.188104),  # 0.1 / (0.0316 + 0.5); inside the root it would be 0.141280
        ("lamb", 1e-6, 1 - LR * 1.0),  # |w| / |update| takes the update's size away
    ],
)
def test_the_first_step_by_hand(name, eps, expected):
    w = nn.Parameter(torch.ones(1))
    train(optim.build(name, [{"params": [w]}], LR, BETAS, eps), [w], [[[1.0]]])
    assert w.item() == pytest.approx(expected, abs=1e-6)


def test_adamw_is_torchs_and_takes_the_fused_kernel():
    weights, grads = weights_and_grads()
    ours, theirs = ([nn.Parameter(torch.tensor(w)) for w in weights] for _ in range(2))
    optimizer = optim.build("adamw", groups_of(ours), LR, BETAS, EPS)
    assert optimizer.defaults["fused"]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [DECAY, 0.0]
    train(optimizer, ours, grads)
    train(torch.optim.AdamW(groups_of(theirs), LR, BETAS, EPS, foreach=False), theirs, grads)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_adamw_leaves_the_choice_to_torch_on_other_devices():
    group = {"params": [nn.Parameter(torch.empty(2, device="meta"))]}
    assert optim.build("adamw", [group], LR, BETAS, EPS).defaults["fused"] is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["adamw", *OURS])
def test_saved_and_loaded_goes_on_bit_for_bit(name, dtype, tmp_path):
    weights, grads = weights_and_grads()
    params = [nn.Parameter(torch.tensor(w, dtype=dtype)) for w in weights]
    optimizer = optim.build(name, groups_of(params), LR, BETAS, EPS)
    train(optimizer, params, grads[:2])
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    resumed = [nn.Parameter(p.detach().clone()) for p in params]
    train(optimizer, params, grads[2:])

    other = optim.build(name, groups_of(resumed), 1.0, (0.5, 0.5), 1.0)
    other.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    train(other, resumed, grads[2:])
    assert all(torch.equal(a, b) for a, b in zip(params, resumed, strict=True))
    for a, b in zip(params, resumed, strict=True):
        for key, value in optimizer.state[a].items():
            assert value.dtype == other.state[b][key].dtype
            assert torch.equal(value, other.state[b][key])


@pytest.mark.parametrize("name", OURS)
def test_moments_are_fp32_and_loaded_ones_are_not_shared(name):
    p, q = (nn.Parameter(torch.ones(3, dtype=torch.bfloat16)) for _ in range(2))
    first, second = (optim.build(name, [{"params": [x]}], LR, BETAS, EPS) for x in (p, q))
    train(first, [p], [[np.ones(3)]])
    second.load_state_dict(first.state_dict())
    train(second, [q], [[np.ones(3)]])
    for optimizer, parameter, m in ((first, p, 0.1), (second, q, 0.19)):
        moment = optimizer.state[parameter]["exp_avg"]
        assert moment.dtype == torch.float32
        assert moment.tolist() == pytest.approx([m] * 3)


@pytest.mark.parametrize("name", OURS)
def test_a_parameter_without_gradient_is_left_alone(name):
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = optim.build(name, [{"params": [p], "weight_decay": DECAY}, {"params": [q]}], LR, BETAS, EPS)

    def closure():
        q.grad = torch.ones(2)
        return q.sum().item()

    assert optimizer.step(closure) == 2.0
    assert p.tolist() == [1, 1]
    assert not optimizer.state[p]
    assert q[0].item() < 1


def test_a_groups_own_lr_counts():
    p = nn.Parameter(torch.ones(1))
    optimizer = optim.build("bert_adamw", [{"params": [p], "lr": 0.1}], LR, BETAS, EPS)
    train(optimizer, [p], [[[1.0]]])
    assert p.item() == pytest.approx(1 - 0.1 * 3.162178, abs=1e-6)


def test_a_copied_optimizer_keeps_its_state():
    p = nn.Parameter(torch.ones(1))
    optimizer = optim.build("lamb", [{"params": [p]}], LR, BETAS, EPS)
    train(optimizer, [p], [[[1.0]]])
    (state,) = copy.deepcopy(optimizer).state.values()
    assert torch.equal(state["exp_avg"], optimizer.state[p]["exp_avg"])


@pytest.mark.parametrize("name", ["adamw", *OURS])
def test_betas_of_one_are_refused(name):
    with pytest.raises(ValueError, match="beta"):
        optim.build(name, [{"params": [nn.Parameter(torch.ones(1))]}], LR, (0.9, 1.0), EPS)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="'adam' is unknown; use adamw, bert_adamw or lamb"):
        optim.build("adam", [], LR, BETAS, EPS)


# Schedules -------------------------------------------------------------------------------------------------


def factors(name, total, warmup, final=0.0, decay=0.1, fidelity="fixed"):
    """Of every update, and the two after the last, which are never made."""
    factor = optim.schedule(name, total, warmup, final, decay, fidelity)
    return [factor(t) for t in range(total + 2)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("linear", 6, 2), [0.5, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        (("linear", 6, 2, 0.2), [0.5, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]),
        (("linear", 4, 0), [1, 0.75, 0.5, 0.25, 0, 0]),
        (("linear", 2, 2), [0.5, 1, 0, 0]),
        (("linear", 2, 8), [0.125, 0.25, 0.375, 0.5]),
        (("linear", 5, 2, 0.0, 0.1, "paper"), [0, 0.5, 0.6, 0.4, 0.2, 0, 0]),  # OPT-2: jumps to 1 - 2 / 5
        (("linear", 5, 2, 0.5, 0.1, "paper"), [0, 0.5, 0.8, 0.7, 0.6, 0.5, 0.5]),
        (("cosine", 5, 1), [1, 1, 0.853553, 0.5, 0.146447, 0, 0]),
        (("cosine", 4, 2, 0.1), [0.5, 1, 1, 0.55, 0.1, 0.1]),
        (("wsd", 8, 2, 0.0, 0.5), [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]),
        (("wsd", 4, 2, 0.0, 1.0), [0.5, 1, 1, 0.5, 0, 0]),  # the decay never begins before the peak
        (("wsd", 3, 0, 0.0, 0.0), [1, 1, 1, 0, 0]),
        (("inverse_sqrt", 17, 4), [1] * 5 + [(4 / t) ** 0.5 for t in range(5, 19)]),
        (("inverse_sqrt", 4, 0), [1, 1, 0.707107, 0.577350, 0.5, 0.447214]),
        (("constant", 4, 2), [0.5, 1, 1, 1, 1, 1]),
        (("constant", 2, 0), [1, 1, 1, 1]),
    ],
)
def test_factors_by_hand(settings, expected):
    assert factors(*settings) == pytest.approx(expected, abs=1e-6)


def test_bert_jumps_down_by_a_hundredth():
    factor = optim.schedule("linear", 1_000_000, 10_000, 0.0, 0.1, "paper")
    assert factor(0) == 0
    assert factor(9_999) == 0.9999
    assert factor(10_000) == 0.99


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd", "inverse_sqrt", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 7, 100])
def test_every_update_counts_and_none_exceeds_the_peak(name, warmup):
    values = factors(name, 100, warmup)
    assert min(values[:100]) > 0
    assert max(values) == 1
    assert all(value >= 0 for value in values)
    assert values[warmup:] == sorted(values[warmup:], reverse=True)


@pytest.mark.parametrize("name", ["cosine", "wsd", "inverse_sqrt", "constant"])
def test_fidelity_changes_linear_only(name):
    assert factors(name, 20, 4, fidelity="paper") == factors(name, 20, 4, fidelity="fixed")


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd", "inverse_sqrt", "constant"])
@pytest.mark.parametrize("fidelity", ["fixed", "paper"])
def test_a_schedule_pickles(name, fidelity):
    factor = optim.schedule(name, 20, 4, 0.1, 0.2, fidelity)
    again = pickle.loads(pickle.dumps(factor))
    assert [again(t) for t in range(20)] == [factor(t) for t in range(20)]


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="'noam' is unknown; use linear, cosine"):
        optim.schedule("noam", 10, 1, 0.0, 0.1, "fixed")


def test_warmup_is_a_fraction_below_one():
    assert optim.warmup_steps(0, 1000) == 0
    assert optim.warmup_steps(0.01, 1_000_000) == 10_000
    assert optim.warmup_steps(0.29, 100) == 29  # 28.999999999999996
    assert optim.warmup_steps(1, 1000) == 1
    assert optim.warmup_steps(2000.0, 1000) == 2000
    assert isinstance(optim.warmup_steps(2000.0, 1000), int)
