"""What ALBERT's layers share: counts by hand and of the paper, equal logits, shared again after a stop and by init."""

import json

import pytest
import torch
from running import QUIET, equal
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AlbertForPreTraining, AlbertModel, AutoModelForPreTraining, BertConfig, BertModel

from ptk import recipe_file, training
from ptk.errors import RecipeError
from ptk.models import sharing
from ptk.pretraining import pretrain
from ptk.quick import activations
from ptk.run import Run
from ptk.session import parameter_count
from ptk.step import Training

ALBERT = "{type: albert, sharing: KIND, embedding_size: 16, hidden_size: 32, num_hidden_layers: 3, "
ALBERT += "num_attention_heads: 2, intermediate_size: 64, max_position_embeddings: 64, hidden_dropout_prob: 0.1}"
KINDS = ["all", "attention", "ffn", "none"]


def recipe_of(tiny, kind: str, *overrides: str):
    path = tiny(objective="{name: mlm, second_segment: order}", model=ALBERT.replace("KIND", kind))
    return recipe_file.load(str(path), ["train.steps=4", *overrides]).recipe


def on_meta(kind: str, **settings: int) -> AlbertModel:
    config = AlbertConfig(sharing=kind, **settings)
    sharing.set_groups(config)
    with torch.device("meta"):
        model = AlbertModel(config)
    sharing.share(model)
    return model


def by_hand(kind: str, vocabulary: int, e: int, h: int, ffn: int, layers: int) -> int:
    embeddings = (vocabulary + 512 + 2) * e + 2 * e
    attention = 4 * (h * h + h) + 2 * h
    feed_forward = (h * ffn + ffn) + (ffn * h + h) + 2 * h
    attentions = 1 if kind in ("all", "attention") else layers
    feed_forwards = 1 if kind in ("all", "ffn") else layers
    return embeddings + (e * h + h) + attentions * attention + feed_forwards * feed_forward + (h * h + h)


@pytest.mark.parametrize(
    ("kind", "at_128", "at_768"), [("all", 12, 31), ("attention", 64, 83), ("ffn", 38, 57), ("none", 89, 108)]
)
def test_parameters_by_hand_and_of_the_papers_table(kind, at_128, at_768):
    for e, millions in ((128, at_128), (768, at_768)):
        size = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
        model = on_meta(kind, vocab_size=30000, embedding_size=e, **size)
        count = parameter_count(model)
        assert count == by_hand(kind, 30000, e, 768, 3072, 12)
        pooler = 768 * 768 + 768
        projection = pooler if e == 768 else 0  # transformers has one where the paper's code has none
        # The table rounds up as often as down, with and without a pooler: it says no more than the million.
        assert abs(count - pooler - projection - millions * 1e6) < 1e6


def test_a_factorized_table_of_500_by_100_has_9000_parameters():
    size = {"vocab_size": 500, "hidden_size": 100, "num_hidden_layers": 1, "num_attention_heads": 2}
    factorized = AlbertModel(AlbertConfig(**size, embedding_size=15, intermediate_size=8))
    projection = factorized.encoder.embedding_hidden_mapping_in.weight
    assert factorized.embeddings.word_embeddings.weight.numel() + projection.numel() == 500 * 15 + 15 * 100 == 9_000
    whole = BertModel(BertConfig(**size, intermediate_size=8))
    assert whole.embeddings.word_embeddings.weight.numel() == 50_000


@pytest.mark.parametrize("kind", KINDS)
def test_copies_load_in_plain_transformers_with_equal_logits(tiny, tmp_path, monkeypatch, kind):
    kept = {}
    finish = training.finish
    monkeypatch.setattr(training, "finish", lambda s, model, *rest: kept.update(model=model) or finish(s, model, *rest))
    pretrain(recipe_of(tiny, kind), tmp_path / "run", talk=QUIET)
    model = kept["model"].eval()
    plain = AutoModelForPreTraining.from_pretrained(tmp_path / "run" / "model").eval()
    assert type(plain) is AlbertForPreTraining
    assert (plain.config.sharing, plain.config.num_hidden_groups) == (kind, 1 if kind == "all" else 3)
    activations.fuse(plain)  # as the trained one is: transformers' own GELU rounds otherwise
    ids = torch.arange(5, 25).reshape(2, 10)
    with torch.no_grad():
        ours, theirs = model(ids), plain(ids)
    assert torch.equal(ours.prediction_logits, theirs.prediction_logits)
    assert torch.equal(ours.sop_logits, theirs.sop_logits)
    assert plain.predictions.decoder.weight is plain.albert.embeddings.word_embeddings.weight
    copied = parameter_count(plain) - parameter_count(model)
    assert (copied > 0) == (kind in ("attention", "ffn"))
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"{parameter_count(model):,} parameters" in card
    assert ("All layers have the same" in card) == (copied > 0)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("kind", ["attention", "ffn"])
def test_a_stopped_and_resumed_run_shares_and_ends_with_the_same_weights(tiny, tmp_path, monkeypatch, kind):
    recipe = recipe_of(tiny, kind, "train.save_every=2")
    pretrain(recipe, tmp_path / "whole", talk=QUIET)
    step = Training.step

    def stopping(self, batches, state, flags):
        if state.step == 3:
            raise Stopped
        return step(self, batches, state, flags)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", stopping)
        with pytest.raises(Stopped):
            pretrain(recipe, tmp_path / "parts", talk=QUIET)
    assert sorted(path.name for path in Run(tmp_path / "parts").checkpoints.iterdir()) == ["step-00000002"]
    seen = []
    score = training.engine.evaluate
    watch = lambda module, *rest: seen.append(module.model) or score(module, *rest)  # noqa: E731
    monkeypatch.setattr(training.engine, "evaluate", watch)
    pretrain(recipe, tmp_path / "parts", resume=True, talk=QUIET)
    assert equal(tmp_path / "whole", tmp_path / "parts")
    first, *others = sharing.layers(seen[-1])
    for other in others:
        assert (other.attention is first.attention) == (kind == "attention")
        assert all((getattr(other, n) is getattr(first, n)) == (kind == "ffn") for n in sharing.SHARED["ffn"])


@pytest.mark.parametrize("kind", ["attention", "ffn"])
def test_init_shares_again_what_has_not_been_trained_apart(tiny, tmp_path, kind):
    recipe = recipe_of(tiny, kind)
    pretrain(recipe, tmp_path / "first", talk=QUIET)
    words = [f"init={tmp_path}/first", f"tokenizer.path={tmp_path}/first/model", "train.lr=1e-2"]
    pretrain(recipe_of(tiny, kind, *words), tmp_path / "second", talk=QUIET)
    name = {"attention": "attention.query.weight", "ffn": "ffn.weight"}[kind]
    apart = {"attention": "ffn.weight", "ffn": "attention.query.weight"}[kind]

    def layer(run: str, number: int, name: str) -> torch.Tensor:
        weights = load_file(tmp_path / run / "model" / "model.safetensors")
        return weights[f"albert.encoder.albert_layer_groups.{number}.albert_layers.0.{name}"]

    assert torch.equal(layer("second", 0, name), layer("second", 2, name))
    assert not torch.equal(layer("second", 0, name), layer("first", 0, name))
    assert not torch.equal(layer("second", 0, apart), layer("second", 2, apart))
    with pytest.raises(RecipeError, match=rf"^model.sharing: all, but .*first has {kind}, and keeps it"):
        pretrain(recipe_of(tiny, "all", *words), tmp_path / "third", talk=QUIET)
    file = tmp_path / "first" / "model" / "model.safetensors"
    weights = load_file(file)
    weights[f"albert.encoder.albert_layer_groups.1.albert_layers.0.{name}"] += 1
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(RecipeError, match=rf"first shares its layers' {kind} .*trained apart; write sharing none"):
        pretrain(recipe_of(tiny, kind, *words), tmp_path / "fourth", talk=QUIET)
    config = tmp_path / "first" / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sharing": "none"}))
    pretrain(recipe_of(tiny, "none", *words), tmp_path / "fifth", talk=QUIET)
    assert not torch.equal(layer("fifth", 0, name), layer("fifth", 1, name))


def test_sharing_is_checked_like_any_other_key(tiny):
    def faults(model: str) -> str:
        with pytest.raises(RecipeError) as caught:
            recipe_file.load(str(tiny(model=model)))
        return str(caught.value)

    assert (
        "tiny.yaml:6: model.sharing: 'atention' is not one of all, attention, ffn, none; did you mean attention?"
        in (faults("{type: albert, sharing: atention}"))
    )
    assert "tiny.yaml:6: model.sharng: unknown key of model type albert; did you mean model.sharing?" in (
        faults("{type: albert, sharng: all}")
    )
    assert "model.sharing: unknown key of model type bert" in faults("{type: bert, sharing: all}")
    clash = faults("{type: albert, sharing: all, num_hidden_groups: 1, inner_group_num: 2}")
    for key in ("num_hidden_groups", "inner_group_num"):
        assert f"model.{key}: not with model.sharing (" in clash
    loaded = recipe_file.load(str(tiny(model="{type: albert, sharing: ffn, inner_group_num: 1}")))
    assert "model.sharing: ffn   # " in recipe_file.show(loaded)
