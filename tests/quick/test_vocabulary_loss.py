"""The loss over a vocabulary without its logits, beside the one with them."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM

from ptk.models import next_token, vocabulary
from ptk.models.labelled import forward_at
from ptk.objectives.losses import by_member, of_logits, summed
from ptk.quick import Quick, cross_entropy, embedding

N, D, V = 70, 16, 130


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(cross_entropy, "ROWS", 32)
    monkeypatch.setattr(cross_entropy, "COLUMNS", 48)
    monkeypatch.setattr(vocabulary, "LEAST", 1)


def drawn(n=N, bias=True):
    torch.manual_seed(0)
    made = torch.randn(n, D), torch.randn(V, D), torch.randn(V) if bias else None
    labels = torch.where(torch.rand(n) < 0.5, F.linear(*made).argmax(-1), torch.randint(0, V, (n,)))
    return [None if each is None else each.requires_grad_() for each in made], labels


def assert_near(ours, theirs, share=1e-5):
    """Of the largest number of each tensor."""
    for own, other in zip(ours, theirs, strict=True):
        assert (own - other).abs().max() <= share * other.abs().max()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("weights", ["alike", "each its own", "none"])
def test_scores_and_gradients_are_those_of_the_logits(bias, weights):
    inputs, labels = drawn(bias=bias)
    weight = {"alike": torch.full((N,), 0.3), "each its own": torch.rand(N), "none": torch.zeros(N)}[weights]
    leaves = [each for each in inputs if each is not None]
    expected = of_logits(F.linear(*inputs), labels)
    found = cross_entropy.scores(*inputs, labels)
    torch.testing.assert_close(found, expected)
    assert 0 < expected[:, 1].sum() < N
    ours, theirs = (torch.autograd.grad((each[:, 0] * weight).sum(), leaves) for each in (found, expected))
    assert_near(ours, theirs)


def test_rows_are_filled_up_to_few_numbers():
    every = [cross_entropy.filled(number) for number in range(4097)]
    assert [every[at] for at in (0, 1, 16, 17, 519, 557, 600, 2040, 4096)] == [0, 16, 16, 32, 544, 576, 608, 2048, 4096]
    assert all(number <= more <= max(number * 17 / 16, number + 15) for number, more in enumerate(every))
    assert len({each for number, each in enumerate(every) if 500 <= number < 564}) == 3


@pytest.mark.parametrize("n", [1, 15, 16, 17, 33])
def test_what_fills_up_counts_for_nothing(n):
    """Whether the rows of the last block are all, some or none of them such."""
    inputs, labels = drawn(n)
    expected, found = of_logits(F.linear(*inputs), labels), cross_entropy.scores(*inputs, labels)
    assert found.shape == (n, 2)
    torch.testing.assert_close(found, expected)
    for of_loss in (torch.full((n,), 0.5), torch.rand(n)):
        ours, theirs = (
            torch.autograd.grad((each[:, 0] * of_loss).sum(), inputs, retain_graph=True) for each in (found, expected)
        )
        assert_near(ours, theirs)


def test_of_equal_entries_the_first_is_the_most_probable():
    """In bf16 many are equal: counting each of them as right would flatter a model."""
    weight = torch.zeros(V, D)
    weight[[3, 50, 60], 0] = 1.0  # in pieces of 48: one in the first, two in the second
    hidden, labels = torch.ones(4, D), torch.tensor([3, 50, 60, 4])
    found = cross_entropy.scores(hidden, weight, None, labels)
    assert found[:, 1].tolist() == of_logits(hidden @ weight.t(), labels)[:, 1].tolist() == [1, 0, 0, 0]
    weight[3] = 0
    assert cross_entropy.scores(hidden, weight, None, labels)[:, 1].tolist() == [0, 1, 0, 0]


def test_a_second_backward_pass_is_as_the_first():
    inputs, labels = drawn()
    found = cross_entropy.scores(*inputs, labels)[:, 0].sum()
    first = torch.autograd.grad(found, inputs, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(found, inputs), first)


def test_no_rows_give_a_zero_on_the_graph():
    inputs, labels = drawn(0)
    gradients = torch.autograd.grad(cross_entropy.scores(*inputs, labels).sum(), inputs)
    assert not any(each.any() for each in gradients)


def test_frozen_matrices_get_no_gradient():
    (hidden, weight, bias), labels = drawn()
    found = cross_entropy.scores(hidden, weight.detach(), bias.detach(), labels)[:, 0].sum()
    expected = F.cross_entropy(F.linear(hidden, weight, bias), labels, reduction="sum")
    torch.testing.assert_close(torch.autograd.grad(found, hidden), torch.autograd.grad(expected, hidden))


def test_bf16_is_as_near_as_that_of_logits():
    inputs, labels = drawn()
    exact = F.cross_entropy(F.linear(*inputs), labels, reduction="sum")
    with torch.autocast("cpu", torch.bfloat16):
        found = cross_entropy.scores(*inputs, labels)[:, 0].sum()
    assert found.item() == pytest.approx(exact.item(), rel=1e-2)
    ours, theirs = torch.autograd.grad(found, inputs), torch.autograd.grad(exact, inputs)
    assert_near(ours, theirs, 2e-2)


def bert():
    few = {"hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForMaskedLM(BertConfig(vocab_size=V, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **few))


def test_a_model_is_run_without_its_logits():
    torch.manual_seed(0)
    model, ids = bert(), torch.randint(0, V, (3, 8))
    positions, labels = torch.tensor([[1, 3], [0, 7], [2, 2]]), torch.tensor([[5, 6], [7, -100], [-100, -100]])
    seen: list[torch.Tensor] = []

    def both(inside):
        scores, output = vocabulary.scored(model, labels, lambda: forward_at(model, positions, input_ids=ids))
        seen.append(output.logits)
        summed("mlm", scores, labels)["mlm"].total.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        return scores, gradients

    expected, theirs = both(False)
    with Quick():
        found, ours = both(True)
    assert [each.shape[-1] for each in seen] == [V, 2]
    torch.testing.assert_close(found, expected)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-5, atol=1e-6, msg=name)
    assert "forward" not in vars(model.get_output_embeddings())


def test_what_is_drawn_from_logits_is_drawn_in_pieces(monkeypatch):
    monkeypatch.setattr(vocabulary, "DRAWN", 4)
    torch.manual_seed(0)
    model, ids = bert(), torch.randint(0, V, (3, 3))
    labels, added = torch.tensor([[5, 6, 9], [7, -100, 1], [-100, -100, 2]]), torch.randn(9, V)
    shapes: list[torch.Size] = []

    def draw(logits, rows):
        shapes.append(logits.shape)
        assert not logits.requires_grad
        return (logits + added[rows]).argmax(-1)

    def both():
        scores, drawn_ids = vocabulary.scored_and_drawn(model, labels, lambda: model(input_ids=ids), draw)
        summed("mlm", scores, labels)["mlm"].total.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        return scores, drawn_ids, gradients

    expected, theirs, gradients = both()
    with Quick():
        found, ours, more = both()
    assert shapes == [(9, V), (4, V), (4, V), (1, V)]
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(found, expected)
    for name, gradient in more.items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("inside", [False, True])
def test_a_batch_without_labels_draws_nothing(inside):
    torch.manual_seed(0)
    model, ids = bert(), torch.randint(0, V, (3, 3))
    nowhere = torch.zeros(3, 0, dtype=torch.int64)
    with Quick() if inside else nullcontext():
        vocabulary.scored(model, ids, lambda: model(input_ids=ids))  # the model is known to be plain
        scores, drawn_ids = vocabulary.scored_and_drawn(
            model, nowhere, lambda: forward_at(model, nowhere, input_ids=ids), lambda logits, rows: logits.argmax(-1)
        )
    assert drawn_ids.shape == (3, 0)
    assert scores.shape == (3, 0, 2)


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_of_a_tied_weight_add_up(monkeypatch, gathers, hooked, frozen):
    """Those of its two uses, of two backward passes; written by the pieces or, where others gather them, by torch."""
    monkeypatch.setattr(embedding, "LEAST", 1)
    torch.manual_seed(0)
    model, batches = bert(), [(torch.randint(0, V, (3, 8)), torch.randint(0, V, (3, 2))) for _ in range(2)]
    weight = model.get_output_embeddings().weight
    assert weight is model.get_input_embeddings().weight
    weight.requires_grad_(not frozen)
    positions = torch.tensor([[1, 3], [0, 7], [2, 2]])
    changed = torch.autograd.graph.saved_tensors_hooks(lambda one: one * 1, lambda one: one)

    def added_up():
        model.zero_grad()
        for ids, labels in batches:
            run = partial(forward_at, model, positions, input_ids=ids)
            with changed if hooked else nullcontext():
                scores, _ = vocabulary.scored(model, labels, run)
                summed("mlm", scores, labels)["mlm"].total.backward()
        return {name: p.grad for name, p in model.named_parameters()}

    expected = added_up()
    with Quick(gathers):
        found = added_up()
    assert (found["bert.embeddings.word_embeddings.weight"] is None) == frozen
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


def test_trying_a_model_draws_no_random_number():
    torch.manual_seed(0)
    model, ids = bert().train(), torch.randint(0, V, (2, 4))
    before = torch.get_rng_state()
    with Quick():
        vocabulary.scored(model, ids, lambda: model(input_ids=ids))
    assert torch.equal(torch.get_rng_state(), before)


def families():
    few = {"hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    many = {**few, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    capped = transformers.Gemma2Config(vocab_size=V, head_dim=8, **many)
    assert capped.final_logit_softcapping == 30
    yield transformers.Gemma2ForCausalLM(capped)
    yield transformers.CohereForCausalLM(transformers.CohereConfig(vocab_size=V, logit_scale=0.5, **many))
    yield transformers.GraniteForCausalLM(transformers.GraniteConfig(vocab_size=V, logits_scaling=8.0, **many))
    yield transformers.EsmForMaskedLM(transformers.EsmConfig(vocab_size=V, mask_token_id=2, pad_token_id=0, **few))
    bart = {"d_model": D, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    yield transformers.BartForConditionalGeneration(transformers.BartConfig(vocab_size=V, **bart, **heads))


@pytest.mark.parametrize("model", list(families()), ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("first", ["labels", "none"])
def test_what_a_family_does_to_its_logits_is_noticed_whatever_the_first_batch(model, first):
    """By its first batch, its weights as they begin, even one without labels: no later batch may be another's loss."""
    model.eval()
    vocabulary._plain.pop(model, None)
    ids = torch.randint(3, V, (2, 6))
    with Quick():
        next_token.scores(model, {"input_ids": ids, "labels": torch.full_like(ids, -100) if first == "none" else ids})
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(20)
        found = next_token.scores(model, {"input_ids": ids, "labels": ids})
    torch.testing.assert_close(found, next_token.scores(model, {"input_ids": ids, "labels": ids}))


def test_no_gradient_is_made_where_none_is_asked_for(monkeypatch):
    inputs, labels = drawn()
    monkeypatch.setattr(cross_entropy.Block, "add_gradients", None)
    with torch.no_grad():
        cross_entropy.scores(*inputs, labels)


def test_labels_must_be_entries():
    (hidden, weight, bias), labels = drawn()
    for wrong in (V, -1):
        with pytest.raises(IndexError, match=f"of {V} entries"):
            cross_entropy.scores(hidden, weight, bias, labels.index_fill(0, torch.tensor(3), wrong))


def test_entries_that_nobody_can_choose():
    (hidden, weight, bias), labels = drawn()
    with torch.no_grad():
        bias[48:] = -torch.inf
    labels %= 48
    found = cross_entropy.scores(hidden, weight, bias, labels)
    torch.testing.assert_close(found, of_logits(F.linear(hidden, weight, bias), labels))
    assert torch.autograd.grad(found[:, 0].sum(), hidden)[0].isfinite().all()


def test_members_may_weigh_their_labels_differently():
    (hidden, weight, bias), labels = drawn(6)
    shape, member = (3, 2), torch.tensor([0, 1, 0])
    both = [cross_entropy.scores(hidden, weight, bias, labels), of_logits(F.linear(hidden, weight, bias), labels)]
    parts = [by_member(["a", "b"], each.view(*shape, 2), labels.view(shape), member) for each in both]
    ours, theirs = (torch.autograd.grad(p["a"].total + 2 * p["b"].total, [hidden, weight]) for p in parts)
    assert_near(ours, theirs)
    assert [parts[0][name].count for name in ("a", "b")] == [4, 2]


def test_a_head_of_another_kind_is_left_alone():
    class Own(nn.Module):
        out_features = 10**6

    with Quick():
        assert not vocabulary.can_be(Own(), torch.zeros(1))
