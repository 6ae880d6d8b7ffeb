"""``ptk predict`` of an ELECTRA: which words look replaced, and masks filled by its generator."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from ptk.data import tokenizer_training
from ptk.errors import DataError, RecipeError
from ptk.models import electra
from ptk.prediction import lines, replaced
from ptk.recipe import TokenizerSpec

TEXT = ["the cat sees a red house. the dog finds the river."] * 20
SMALL = {"embedding_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_training.train(TokenizerSpec(kind="wordpiece", vocab_size=100), TEXT)


@pytest.fixture
def folder(tokenizer, tmp_path):
    """Both networks; the discriminator is sure that ``cat`` and ``red`` were replaced, and nothing else."""
    settings = ElectraConfig(**SMALL, vocab_size=128, intermediate_size=16)
    torch.manual_seed(0)
    model = electra.Electra(ElectraForMaskedLM(settings), ElectraForPreTraining(settings))
    network = model.discriminator
    with torch.no_grad():
        for parameter in network.electra.encoder.parameters():
            parameter.zero_()  # what is left is the norm of each layer: 0, so its gain is set
        for layer in network.electra.encoder.layer:
            layer.attention.output.LayerNorm.weight.fill_(1.0)
            layer.output.LayerNorm.weight.fill_(1.0)
        embeddings = network.electra.embeddings
        embeddings.position_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.zero_()
        embeddings.word_embeddings.weight[:, 0] = 0.0
        for word in ("cat", "red"):
            embeddings.word_embeddings.weight[tokenizer.id_of(word), 0] = 9.0
        head = network.discriminator_predictions
        head.dense.weight.zero_()
        head.dense.bias.zero_()
        head.dense.weight[0, 0] = 1.0
        head.dense_prediction.weight.zero_()
        head.dense_prediction.weight[0, 0] = 20.0
        head.dense_prediction.bias.fill_(-20.0)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save(tmp_path / "model", around="segments")
    tokenizer.save(tmp_path / "model" / "generator", around="segments")
    return str(tmp_path / "model")


def test_what_looks_replaced_is_in_brackets(folder):
    asked = ["The cat  sees a red house.", "", "the dog finds the river", "catcat"]
    found = list(lines.answers(folder, asked))
    assert found[0] == "The [cat]  sees a [red] house."
    assert found[1:3] == ["", "the dog finds the river"]


def test_a_json_line_has_every_piece_with_its_place(folder):
    (answer,) = lines.answers(folder, ['{"text": "the cat sees"}'])
    found = json.loads(answer)["pieces"]
    assert [(piece["text"], piece["start"], piece["end"]) for piece in found] == [
        ("the", 0, 3),
        ("cat", 4, 7),
        ("sees", 8, 12),
    ]
    assert [piece["replaced"] > 0.5 for piece in found] == [False, True, False]


def test_the_generator_fills_masks_and_a_discriminator_alone_does_not(folder, tokenizer):
    (filled,) = lines.answers(folder, ["the cat sees a [MASK] house."])
    assert "[MASK]" not in filled
    assert filled.startswith("the cat sees a")
    (answer,) = lines.answers(folder, ['{"text": "a [MASK] house"}'])
    assert len(json.loads(answer)["masks"][0]) == 5


def test_it_takes_no_settings_of_writing_and_names_bad_lines(folder):
    with pytest.raises(RecipeError, match="detects what was replaced and writes nothing; leave out --max-tokens"):
        list(lines.answers(folder, ["a"], options={"max_tokens": 3}))
    with pytest.raises(DataError, match='stdin:1: not JSON with a "text"'):
        list(lines.answers(folder, ['{"words": "a"}']))


def test_spans_that_touch_share_brackets():
    assert replaced.marked("abcdef", [(0, 2), (2, 3), (4, 6)]) == "[abc]d[ef]"
    assert replaced.marked("abc", []) == "abc"


def test_pieces_that_share_a_character_are_one(monkeypatch, folder):
    """Byte-level pieces of one letter have the same place; the more suspicious one counts."""
    spans = {"offset_mapping": [(0, 0), (0, 3), (3, 5), (4, 5), (5, 9), (0, 0)]}
    logits = torch.tensor([[0.0, -9.0, -9.0, 3.0, -9.0, 0.0]])
    monkeypatch.setattr(replaced.masks, "run", lambda *_: ([], SimpleNamespace(logits=logits)))
    found = replaced.pieces(None, lambda *_, **__: spans, "the ü red")
    assert [(start, stop, p > 0.5) for start, stop, p in found] == [(0, 3, False), (3, 5, True), (5, 9, False)]
    assert replaced.marked("the ü red", [(3, 5)]) == "the[ ü] red"
