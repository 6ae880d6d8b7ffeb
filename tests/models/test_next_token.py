"""Who sees whom, every cell, and logits that are transformers' own."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from ptk.errors import RecipeError
from ptk.models import next_token
from ptk.objectives.causal_lm import CausalLanguageModelling
from ptk.objectives.objective import IGNORE
from ptk.objectives.prefix_lm import PrefixLanguageModelling

SIZES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "openai-gpt": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "mistral": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    | {"intermediate_size": 64},
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
    "bart": {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    | {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
}


def tiny_model(kind: str, **more) -> torch.nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{"vocab_size": 64, "pad_token_id": 0, **SIZES[kind], **more})
    family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = family.from_config(config).eval()
    for parameter in model.parameters():  # what a token does must be seen in fp32 through two layers
        torch.nn.init.normal_(parameter, std=0.3) if parameter.dim() > 1 else None
    return model


def moved(model, batch, what, column) -> torch.Tensor:
    """Which labels' logits [K] move when token ``column`` of ``what`` is another one."""
    other = dict(batch) | {what: batch[what].clone()}
    other[what][0, column] = (batch[what][0, column] + 7) % 50 + 3
    change = next_token.logits(model, other) - next_token.logits(model, batch)
    return change[0].abs().amax(-1) > 1e-5


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt", "llama", "mistral"])
@torch.no_grad()
def test_a_token_sees_what_came_before(kind):
    model = tiny_model(kind)
    ids = torch.arange(5, 15)[None]
    batch = {"input_ids": ids, "labels": ids}
    seen = torch.stack([moved(model, batch, "input_ids", column) for column in range(10)], dim=1)
    assert torch.equal(seen, torch.ones(10, 10).tril().bool())
    assert torch.equal(next_token.seen_by(model, {"input_ids": ids}), seen)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_documents_do_not_see_each_other(kind, attention):
    model = tiny_model(kind, attn_implementation=attention)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2, 2]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0, 1, 2]])
    ids = torch.arange(5, 15)[None]
    batch = {"input_ids": ids, "labels": ids, "document": documents, "position_ids": positions}
    seen = torch.stack([moved(model, batch, "input_ids", column) for column in range(10)], dim=1)
    block = torch.ones(10, 10).tril().bool() & (documents[0] == documents[0][:, None])
    assert torch.equal(seen, block)
    whole = next_token.logits(model, batch)[0]
    for number in range(3):
        alone = documents[0] == number
        assert torch.allclose(model(ids[:, alone]).logits[0], whole[alone], atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("prefix", [1, 4, 8])
@torch.no_grad()
def test_a_prefix_sees_itself_both_ways_and_nothing_behind_it(kind, prefix):
    model = tiny_model(kind)
    ids = torch.arange(5, 15)[None]
    batch = {"input_ids": ids, "prefix": torch.tensor([prefix]), "labels": ids[:, prefix:]}
    expected = torch.ones(10, 10).tril().bool()
    expected[: prefix + 1, : prefix + 1] = True
    seen = torch.stack([moved(model, batch, "input_ids", column) for column in range(10)], dim=1)
    assert torch.equal(seen, expected[prefix:])  # logits only where a label is
    assert torch.equal(next_token.seen_by(model, batch | {"labels": ids}), expected)


@pytest.mark.parametrize("kind", ["t5", "bart"])
@torch.no_grad()
def test_an_encoder_decoder_sees_all_input_and_what_it_has_written(kind):
    model = tiny_model(kind)
    batch = {"input_ids": torch.arange(5, 12)[None], "labels": torch.arange(20, 26)[None]}
    read = torch.stack([moved(model, batch, "input_ids", column) for column in range(7)], dim=1)
    written = torch.stack([moved(model, batch, "labels", column) for column in range(6)], dim=1)
    assert read.all()
    assert torch.equal(written, torch.ones(6, 6).tril(-1).bool())


@torch.no_grad()
def test_padding_changes_nothing():
    for kind in ("gpt2", "llama", "t5", "bart"):
        model = tiny_model(kind)
        short, long = torch.arange(5, 11)[None], torch.arange(20, 30)[None]
        alone = next_token.logits(model, {"input_ids": short, "labels": short})
        ids, mask = torch.zeros(2, 10, dtype=torch.int64), torch.zeros(2, 10, dtype=torch.int64)
        ids[0, :6], ids[1], mask[0, :6], mask[1] = short, long, 1, 1
        labels = torch.where(mask.bool(), ids, IGNORE)
        both = next_token.logits(model, {"input_ids": ids, "labels": labels, "attention_mask": mask})
        assert torch.allclose(both[0, :6], alone[0], atol=1e-5), kind


def test_what_cannot_be_done_is_refused():
    with pytest.raises(RecipeError, match=r"model.type: tokens of openai-gpt do not see.*isolate_documents=false"):
        CausalLanguageModelling(isolate_documents=True).check_model(tiny_model("openai-gpt"))
    with pytest.raises(RecipeError, match=r"tokens of bert do not see .*model.is_decoder=true"):
        CausalLanguageModelling().check_model(tiny_model("bert"))
    CausalLanguageModelling().check_model(tiny_model("bert", is_decoder=True))
    with pytest.raises(RecipeError, match="tokens of openai-gpt do not see"):
        PrefixLanguageModelling(prefix_in="decoder").check_model(tiny_model("openai-gpt"))
