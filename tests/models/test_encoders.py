"""Encoders that transformers knows, by name: the loss is transformers' own, it falls, and what cannot be is refused."""

import numpy as np
import pytest
import torch
from running import QUIET
from transformers import AutoModelForMaskedLM

from ptk import recipe_file
from ptk.data import batches
from ptk.errors import RecipeError
from ptk.models import build
from ptk.objectives.mlm import MaskedLanguageModelling
from ptk.objectives.objective import IGNORE, Row
from ptk.pretraining import pretrain
from ptk.run import Run

SIZE = "hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64"
SHORT = f"{SIZE}, max_position_embeddings: 34"
DISENTANGLED = f"{SHORT}, relative_attention: true, pos_att_type: [p2c, c2p], hidden_act: gelu"
SHAPES = {
    "albert": f"{SHORT}, embedding_size: 16",
    "bert": SHORT,
    "camembert": SHORT,
    "deberta": DISENTANGLED,
    "deberta-v2": f"{DISENTANGLED}, position_buckets: 8, norm_rel_ebd: layer_norm, share_att_key: true, "
    "position_biased_input: false",
    "distilbert": "dim: 32, n_layers: 2, n_heads: 2, hidden_dim: 64, max_position_embeddings: 34",
    "electra": f"{SHORT}, embedding_size: 16",
    "modernbert": f"{SIZE}, local_attention: 8",
    "mpnet": SHORT,
    "roberta": SHORT,
    "xlm-roberta": SHORT,
    "xlm": "emb_dim: 32, n_layers: 2, n_heads: 2, max_position_embeddings: 34",
}
ALONE = "{name: mlm, second_segment: none}"
BATCH = ("input_ids", "attention_mask")


def recipe_of(tiny, family: str, shape: str, *overrides: str, objective: str = ALONE):
    # MPNet's entry 1 is padding whatever it is told: </s> in a unigram vocabulary, which these rows do not have.
    tokenizer = "{kind: unigram, vocab_size: 260}" if family == "mpnet" else "{kind: wordpiece, vocab_size: 120}"
    path = tiny(model=f"{{type: {family}, {shape}}}", objective=objective, tokenizer=tokenizer)
    return recipe_file.load(str(path), overrides).recipe


class Entries:
    """As much of a tokenizer as rows and models need."""

    vocab_size, pad_id, cls_id, sep_id, mask_id, bos_id, eos_id, end = 128, 0, 2, 3, 4, None, 1, None
    special_ids = frozenset({0, 1, 2, 3, 4})
    word_starts = np.ones(128, bool)


def batch_of(objective: MaskedLanguageModelling, lengths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    rows = [Row([rng.integers(5, 128, size=length - 2)], {}) for length in lengths]
    examples = [objective.encode(row, Entries(), rng) for row in rows]
    return batches.stack(examples, {"input_ids": 0, **objective.padding})


@pytest.mark.parametrize("family", SHAPES)
def test_loss_and_gradients_are_those_of_transformers(tiny, family):
    objective = MaskedLanguageModelling(second_segment="none", fidelity="fixed")
    settings = recipe_file.model_settings(recipe_of(tiny, family, SHAPES[family])) | {"type": family}
    torch.manual_seed(0)
    model = build.model("masked_lm", settings, Entries(), 32).eval()
    batch = batch_of(objective, (32, 20, 32))
    labels = torch.full_like(batch["input_ids"], IGNORE)
    for row, positions, answers in zip(labels, batch["masked_positions"], batch["masked_labels"], strict=True):
        row[positions[answers != IGNORE]] = answers[answers != IGNORE]
    theirs = model(**{name: batch[name] for name in BATCH}, labels=labels).loss
    theirs.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert not [name for name, gradient in gradients.items() if gradient is None]  # DDP would wait for them
    model.zero_grad()
    mlm = objective.loss(model, batch)["mlm"]
    ours = mlm.total / mlm.count
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", SHAPES)
def test_it_trains_and_loads_by_its_name(tiny, tmp_path, family):
    recipe = recipe_of(tiny, family, SHAPES[family], "train.lr=3e-3", "train.steps=6", "train.batch_size=8")
    pretrain(recipe, tmp_path / "run", talk=QUIET)
    losses = [line["loss"] for line in Run(tmp_path / "run").metrics() if line["split"] == "train"]
    assert losses[-1] < losses[0]
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "model")
    assert loaded.config.model_type == family


@pytest.mark.parametrize(("family", "second"), [("bert", "order"), ("albert", "next"), ("megatron-bert", "next")])
def test_a_head_for_the_second_segment_learns_either_task(tiny, tmp_path, family, second):
    objective = f"{{name: mlm, second_segment: {second}}}"
    recipe = recipe_of(tiny, family, SHAPES.get(family, SHORT), "train.steps=2", objective=objective)
    results = pretrain(recipe, tmp_path / "run", talk=QUIET)
    assert {"next": "nsp_accuracy", "order": "sop_accuracy"}[second] in results["metrics"]


@pytest.mark.parametrize("family", ["roberta", "electra", "modernbert", "deberta-v2", "distilbert", "gpt2"])
def test_a_family_without_a_head_for_the_second_segment_is_refused(tiny, tmp_path, family):
    recipe = recipe_of(tiny, family, "initializer_range: 0.02", objective="{name: mlm}")
    said = rf"^model.type: {family} has no head for a second segment; set objective.second_segment=none, or name bert"
    with pytest.raises(RecipeError, match=said):
        pretrain(recipe, tmp_path / "run", talk=QUIET)


def test_a_second_segment_needs_two_types_of_tokens(tiny, tmp_path):
    recipe = recipe_of(tiny, "bert", f"{SHORT}, type_vocab_size: 1", objective="{name: mlm}")
    with pytest.raises(RecipeError, match=r"^model.type_vocab_size: 1 is too few for two segments; give 2"):
        pretrain(recipe, tmp_path / "run", talk=QUIET)


@pytest.mark.parametrize(("family", "shape"), [("gpt2", "n_layer: 1"), ("t5", "d_model: 32"), ("bart", "d_model: 32")])
def test_masks_are_filled_by_encoders(tiny, tmp_path, family, shape):
    with pytest.raises(RecipeError, match=rf"^model.type: {family} is no encoder that fills masks"):
        pretrain(recipe_of(tiny, family, shape), tmp_path / "run", talk=QUIET)


@pytest.mark.parametrize(("family", "first"), [("bert", 0), ("roberta", 1), ("xlm-roberta", 1), ("mpnet", 2)])
def test_a_row_fits_from_the_first_position_on(tiny, tmp_path, family, first):
    def train(run: str, positions: int, length: int, *more: str) -> None:
        shape = f"{SIZE}, max_position_embeddings: {positions}"
        recipe = recipe_of(tiny, family, shape, f"train.length={length}", "train.steps=1", *more)
        pretrain(recipe, tmp_path / run, talk=QUIET)

    train("first", 32 + first, 32)
    with pytest.raises(RecipeError, match=r"^train.length: 33 tokens .* set model.max_position_embeddings=") as caught:
        train("second", 32 + first, 33)
    assert str(caught.value).endswith(f"={33 + first}")
    words = [f"init={tmp_path}/first", f"tokenizer.path={tmp_path}/first/model"]
    with pytest.raises(RecipeError, match=r"^train.length: 33 tokens do not fit the 32 positions of .*first; give"):
        train("third", 64, 33, *words)


def test_an_entry_that_the_family_takes_for_padding_is_refused(tiny, tmp_path):
    path = tiny(model=f"{{type: mpnet, {SHORT}}}", objective=ALONE)
    with pytest.raises(RecipeError, match=r"^model.type: mpnet takes entry 1 for padding, which is \[UNK\]"):
        pretrain(recipe_file.load(str(path)).recipe, tmp_path / "run", talk=QUIET)


def test_logits_of_something_else_than_positions_are_refused():
    from transformers import PerceiverConfig, PerceiverForMaskedLM

    size = {"num_latents": 4, "d_latents": 8, "d_model": 8, "num_self_attends_per_block": 1}
    heads = {"num_self_attention_heads": 1, "num_cross_attention_heads": 1}
    model = PerceiverForMaskedLM(PerceiverConfig(**size, **heads, vocab_size=128, max_position_embeddings=32))
    objective = MaskedLanguageModelling(second_segment="none", fidelity="fixed")
    with pytest.raises(RecipeError, match=r"^model.type: perceiver computes its logits of other things"):
        objective.loss(model, batch_of(objective, (32, 20)))


def test_what_a_family_lacks_is_said_in_one_line():
    from transformers import XmodConfig, XmodForMaskedLM

    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = XmodForMaskedLM(XmodConfig(**size, vocab_size=128, max_position_embeddings=40, pad_token_id=0))
    objective = MaskedLanguageModelling(second_segment="none", fidelity="fixed")
    with pytest.raises(RecipeError, match=r"^model: xmod does not run with these settings: Input language unknown"):
        objective.loss(model, batch_of(objective, (32, 20)))
