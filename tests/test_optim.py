"""Optimizers against the rules written out in numpy, and against those of torch where they agree."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForPreTraining, T5Config, T5ForConditionalGeneration

from ptk import optim

LR, BETAS, EPS, DECAY = 0.01, (0.9, 0.999), 1e-6, 0.1
OURS = ("bert_adamw", "lamb", "adamw_rms")
EVERY = ("adamw", *OURS, "adafactor")


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


def test_groups_of_parameters_with_rates_of_their_own():
    """Decayed and not decayed for each rate; what has none has 1 from the first step."""
    model = Odd()
    rates = {
        model.lnx.weight: optim.Rate(0.5, 3),
        model.lnx.bias: optim.Rate(0.5, 3),
        model.scale.bias: optim.Rate(2.0),
    }
    groups = optim.parameter_groups(model, DECAY, rates)
    assert [(g["weight_decay"], g["lr_scale"], g["from_step"]) for g in groups] == [
        (DECAY, 1.0, 0),
        (0.0, 1.0, 0),
        (DECAY, 0.5, 3),
        (0.0, 0.5, 3),
        (0.0, 2.0, 0),
    ]
    assert names_of(model, groups)[2:] == [["lnx.weight"], ["lnx.bias"], ["scale.bias"]]
    assert sum(len(g["params"]) for g in groups) == sum(p.requires_grad for p in model.parameters())
    optimizer = optim.build("bert_adamw", groups, LR, BETAS, EPS)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert [group["lr_scale"] for group in optimizer.param_groups] == [1.0, 1.0, 0.5, 0.5, 2.0]


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


def adamw_rms(w, grads, decay):
    """T5-7, nanoT5's, in float64."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        step = np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + EPS)
        w = w - LR * max(1e-3, np.sqrt(np.mean(w**2))) * step - LR * decay * w
    return w


def adafactor(w, grads, decay):
    """T5-7 (arXiv 1804.04235, algorithms 4 and 5), in float64."""
    rows, columns = np.zeros(w.shape[:-1]), np.zeros(w.shape[:-2] + w.shape[-1:])
    v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        keep = 1 - t**-0.8
        square = g * g + 1e-30
        if w.ndim >= 2:
            rows = keep * rows + (1 - keep) * square.mean(-1)
            columns = keep * columns + (1 - keep) * square.mean(-2)
            v = rows[..., None] * columns[..., None, :] / rows.mean(-1)[..., None, None]
        else:
            v = keep * v + (1 - keep) * square
        step = g / np.sqrt(v)
        step = step / max(1.0, np.sqrt(np.mean(step**2)))
        lr = LR * max(1e-3, np.sqrt(np.mean(w**2)))
        w = w - lr * step - lr * decay * w
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


@pytest.mark.parametrize("reference", [bert_adamw, lamb, adamw_rms, adafactor])
def test_five_steps_equal_the_rule(reference):
    weights, grads = weights_and_grads()
    params = [nn.Parameter(torch.tensor(w)) for w in weights]
    train(optim.build(reference.__name__, groups_of(params), LR, BETAS, EPS), params, grads)
    for i, p in enumerate(params):
        expected = reference(weights[i].astype("float64"), [step[i] for step in grads], DECAY if i < 3 else 0)
        np.testing.assert_allclose(p.detach().numpy(), expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(params[5], torch.tensor(weights[5]))  # no gradient, no decay: no change


@pytest.mark.parametrize(
    ("name", "eps", "w", "step"),
    [
        # One step with g = 1: m = 0.1 and v = 0.001, whose root is 0.0316.
        ("adamw", 1e-6, 1, 1.0),
        ("bert_adamw", 1e-6, 1, 3.162178),
        ("bert_adamw", 0.5, 1, 0.188104),  # 0.1 / (0.0316 + 0.5); inside the root it would be 0.141280
        ("lamb", 1e-6, 1, 1.0),  # |w| / |update| takes the update's size away
        ("adamw_rms", 1e-6, 1, 0.999968),  # 1 / (1 + 1e-6 / 0.0316)
        ("adamw_rms", 1e-6, -20, 20 * 0.999968),
        ("adamw_rms", 0.5, 1, 0.059483),  # 0.0316 / (0.0316 + 0.5): the correction comes after epsilon
        ("adafactor", 0.5, 1, 1.0),  # epsilon is not its own
        ("adafactor", 0.5, -20, 20.0),
    ],
)
def test_the_first_step_by_hand(name, eps, w, step):
    p = nn.Parameter(torch.full((1,), float(w)))
    train(optim.build(name, [{"params": [p]}], LR, BETAS, eps), [p], [[[1.0]]])
    assert p.item() == pytest.approx(w - LR * step, abs=2e-6)


@pytest.mark.parametrize("name", ["adamw_rms", "adafactor"])
def test_a_tensor_of_zeros_moves_as_one_of_a_thousandth(name):
    p = nn.Parameter(torch.zeros(4))
    train(optim.build(name, [{"params": [p]}], LR, BETAS, 1e-12), [p], [[[1.0, -1.0, 1.0, 1.0]]])
    assert p.tolist() == pytest.approx([-1e-5, 1e-5, -1e-5, -1e-5], rel=1e-5)


def test_the_decay_of_adamw_rms_does_not_go_by_rms():
    p = nn.Parameter(torch.full((2,), 10.0))
    optimizer = optim.build("adamw_rms", [{"params": [p], "weight_decay": 0.5}], LR, BETAS, EPS)
    train(optimizer, [p], [[[0.0, 0.0]]])
    assert p.tolist() == pytest.approx([10 - LR * 0.5 * 10] * 2)


def test_adamw_rms_counts_each_tensors_own_updates():
    """A tensor that gets its first gradient late has moments that begin then."""
    p, q = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = optim.build("adamw_rms", [{"params": [p, q]}], LR, BETAS, 1e-12)
    for _ in range(3):
        p.grad = torch.ones(1)
        optimizer.step()
    q.grad = torch.ones(1)
    optimizer.step()
    assert q.item() == pytest.approx(1 - LR)
    assert [optimizer.state[x]["step"] for x in (p, q)] == [4, 1]


def test_adafactor_is_torchs_where_the_two_agree():
    """Without decay, which torch's does not multiply by RMS, and for lr below 1 / sqrt(t), its upper bound."""
    weights, grads = weights_and_grads()
    ours, theirs = ([nn.Parameter(torch.tensor(w)) for w in weights] for _ in range(2))
    train(optim.build("adafactor", [{"params": ours}], LR, BETAS, EPS), ours, grads)
    train(torch.optim.Adafactor(theirs, LR, eps=(1e-15, 1e-3), foreach=False), theirs, grads)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


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
@pytest.mark.parametrize("name", EVERY)
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
        assert list(optimizer.state[a]) == list(other.state[b])
        for key, value in optimizer.state[a].items():
            torch.testing.assert_close(value, other.state[b][key], rtol=0, atol=0)


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


@pytest.mark.parametrize("name", [*OURS, "adafactor"])
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
    with pytest.raises(
        ValueError, match="'adam' is unknown; use adamw, muon, bert_adamw, lamb, adamw_rms or adafactor"
    ):
        optim.build("adam", [], LR, BETAS, EPS)
