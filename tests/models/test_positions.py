"""Positions that are not learned: the table, the word order that is seen or not, and what is kept from training."""

import math

import pytest
import torch
from running import QUIET
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from ptk import recipe_file
from ptk.errors import RecipeError
from ptk.models import build, positions
from ptk.pretraining import pretrain

SIZE = "hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, "
SIZE += "max_position_embeddings: 40"
MODELS = {
    "bert": f"{{type: bert, positions: KIND, {SIZE}}}",
    "albert": f"{{type: albert, positions: KIND, embedding_size: 15, {SIZE}}}",
    "electra": f"{{type: electra, positions: KIND, embedding_size: 16, {SIZE}}}",
}


def recipe_of(tiny, family: str, kind: str, *overrides: str):
    path = tiny(objective="{name: mlm, second_segment: none}", model=MODELS[family].replace("KIND", kind))
    return recipe_file.load(str(path), ["train.steps=2", *overrides]).recipe


class Entries:
    """As much of a tokenizer as a model needs."""

    vocab_size, pad_id, cls_id, sep_id, bos_id, eos_id, end = 128, 0, 2, 3, None, None, None


def built(tiny, family: str, kind: str, truncated_init: bool = False):
    torch.manual_seed(0)
    settings = recipe_file.model_settings(recipe_of(tiny, family, kind)) | {"type": family}
    return build.model("masked_lm", settings, Entries(), 32, truncated_init)


def test_the_table_is_the_papers():
    table = positions.sinusoids(50, 7)
    for p in range(50):
        for column in range(7):
            angle = p / 10000 ** ((column - column % 2) / 7)
            assert table[p, column].item() == pytest.approx([math.sin, math.cos][column % 2](angle), abs=1e-6)


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("kind", ["learned", "sinusoidal", "none"])
def test_a_hits_b_and_b_hits_a_are_the_same_set_of_vectors_without_positions(tiny, family, kind):
    model = built(tiny, family, kind).eval().base_model
    ids = torch.tensor([[2, 10, 11, 12, 3], [2, 12, 11, 10, 3]])  # [CLS] a hits b [SEP], [CLS] b hits a [SEP]
    with torch.no_grad():
        one, other = model(ids).last_hidden_state
    moved = other[[0, 3, 2, 1, 4]]  # each token's vector where the first has the same token
    same = torch.allclose(one, moved, atol=1e-5)
    assert same == (kind == "none")
    nearest = torch.cdist(one, other).min(1).values  # of the sets, whatever their order
    assert bool((nearest < 1e-4).all()) == (kind == "none")


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("kind", ["sinusoidal", "none"])
def test_they_are_not_drawn_nor_trained_and_plain_transformers_has_them(tiny, tmp_path, family, kind):
    def table(model) -> torch.Tensor:
        return model.base_model.embeddings.position_embeddings.weight

    for truncated in (False, True):
        weights = table(built(tiny, family, kind, truncated))
        expected = positions.sinusoids(*weights.shape) if kind == "sinusoidal" else torch.zeros(weights.shape)
        assert torch.equal(weights, expected)
        assert not weights.requires_grad
    pretrain(recipe_of(tiny, family, kind), tmp_path / "first", talk=QUIET)
    words = [f"init={tmp_path}/first", f"tokenizer.path={tmp_path}/first/model"]
    pretrain(recipe_of(tiny, family, kind, *words), tmp_path / "second", talk=QUIET)
    for run in ("first", "second"):
        plain = AutoModelForMaskedLM.from_pretrained(tmp_path / run / "model")
        assert plain.config.positions == kind
        assert torch.equal(table(plain), expected)
    first, second = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("first", "second"))
    moved = [name for name in first if not torch.equal(first[name], second[name])]
    assert len(moved) == len(first) - 1  # all but the table
    with pytest.raises(RecipeError, match=rf"^model.positions: learned, but .*first has {kind}, and keeps it; leave"):
        pretrain(recipe_of(tiny, family, "learned", *words), tmp_path / "third", talk=QUIET)


def test_positions_are_checked_like_any_other_key(tiny):
    with pytest.raises(
        RecipeError, match=r"tiny.yaml:6: model.positions: 'sinusoid' is not one of .*mean sinusoidal\?"
    ):
        recipe_file.load(str(tiny(model="{type: bert, positions: sinusoid}")))
    with pytest.raises(RecipeError, match=r"model.positions: unknown key of model type roberta"):
        recipe_file.load(str(tiny(model="{type: roberta, positions: none}")))
