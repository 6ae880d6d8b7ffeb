"""Heads for every family: transformers' class where there is one, weights of ``init`` where they mean the same."""

import numpy as np
import pytest
import torch
import transformers
from labelled import FAMILIES, KIND_OF, encoded, ids, overfitted, settings, stacked, store, tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from ptk.errors import DataError, RecipeError
from ptk.models import build, checks, depth, electra, heads, load, sharing
from ptk.models.headed import Headed
from ptk.objectives.multiple_choice import MultipleChoice
from ptk.objectives.rtd import ReplacedTokenDetection
from ptk.objectives.sequence_classification import SequenceClassification
from ptk.objectives.token_classification import TokenClassification
from ptk.recipe import TrainSpec

NLI = ("entailment", "neutral", "contradiction")
PAIR = SequenceClassification(labels=NLI, fidelity="fixed")
TAGS = TokenClassification(labels=("O", "B-X", "I-X"), fidelity="fixed")
CHOICE = MultipleChoice(fidelity="fixed")
OURS = {(f, CHOICE.part) for f in ("bart", "deberta", "gpt2", "llama", "openai-gpt", "t5")}
OURS |= {(f, TAGS.part) for f in ("bart", "openai-gpt")}


def batch_of(objective, kind, folder):
    texts = {
        "classification": [("the cat sees", "a dog likes it"), ("my friend", "the river")],
        "tagging": [("the", "cat", "sees"), ("my", "friend")],
        "choice": [("the cat sees", "a dog", "it"), ("my friend", "the old river", "her sister")],
    }[objective.part]
    labels = np.array([0, 1, 2, 1, 0] if objective.part == "tagging" else [1, 0])
    made = store(folder, [ids(kind, *row) for row in texts], labels)
    examples = encoded(objective, made, kind, 32)
    return examples, stacked(objective, examples, kind)


@pytest.mark.parametrize("objective", [PAIR, TAGS, CHOICE], ids=lambda objective: objective.part)
@pytest.mark.parametrize("family", sorted({*FAMILIES} - {*checks.ONLY_FP32}))
def test_a_head_computes_in_fp32_whatever_is_below_it(family, objective, tmp_path):
    """Under bf16 a logit is that of fp32 of the hidden states, which no bf16 number would be."""
    kind = KIND_OF.get(family, "wordpiece")
    model = objective.model(settings(family), tokenizer(kind), 32)
    _, batch = batch_of(objective, kind, tmp_path / "store")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = heads.logits(model, batch)
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).float().mean() > 0.9


def test_what_does_not_run_in_bf16_is_told():
    for family in ("deberta", "bert"):
        model = PAIR.model(settings(family), tokenizer("wordpiece"), 32)
        checks.check_precision(model, "fp32")
        if family == "bert":
            checks.check_precision(model, "bf16")
        else:
            with pytest.raises(RecipeError, match=r"train.precision: deberta runs in fp32 alone, not in bf16; set"):
                checks.check_precision(model, "bf16")


@pytest.mark.parametrize("objective", [PAIR, TAGS, CHOICE], ids=lambda objective: objective.part)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family, objective, tmp_path):
    """It is transformers' class with that class's logits, padding changes nothing, every weight has a gradient, and
    what is saved is what is loaded, to use and to start from."""
    kind = KIND_OF.get(family, "wordpiece")
    torch.manual_seed(0)
    model = objective.model(settings(family), tokenizer(kind), 32)
    assert isinstance(model, Headed) == ((family, objective.part) in OURS)
    examples, batch = batch_of(objective, kind, tmp_path / "store")
    model.train()
    objective.loss(model, batch)[objective.part].value.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert overfitted(objective, model, batch, 1) < 8
    with torch.no_grad():
        logits = heads.logits(model, batch)
        for example, row in zip(examples, logits, strict=True):
            alone = heads.logits(model, stacked(objective, [example], kind))[0]
            torch.testing.assert_close(alone, row[: len(alone)], atol=1e-5, rtol=1e-5)
        with load.quiet():
            model.save_pretrained(tmp_path / "model")
        assert not list((tmp_path / "model").glob("*.bin"))
        assert torch.equal(heads.logits(load.load(str(tmp_path / "model")), batch), logits)
        again = objective.model({"type": None, "init": str(tmp_path / "model")}, tokenizer(kind), 32).eval()
        assert torch.equal(heads.logits(again, batch), logits)
    assert heads.told(again) == [f"head: that of {tmp_path / 'model'}"]
    found, layers = depth.depths(model)
    assert set(found) == set(model.parameters())
    assert set(found.values()) >= {0, 1, layers, layers + 2}


def test_logits_are_those_of_plain_transformers(tmp_path):
    """GPT-2's head looks for padding by its id, whatever the batch is padded with."""
    model = PAIR.model(settings("gpt2"), tokenizer("bpe"), 32).eval()
    _, batch = batch_of(PAIR, "bpe", tmp_path / "store")
    with load.quiet():
        model.save_pretrained(tmp_path / "model")
    tokenizer("bpe").save(tmp_path / "model", around="head")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    texts = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    inputs = texts(["the cat sees", "my friend"], ["a dog likes it", "the river"], padding=True, return_tensors="pt")
    batch["input_ids"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)
    torch.testing.assert_close(heads.logits(model, batch), theirs(**inputs).logits)


# What init gives -------------------------------------------------------------------------------------------


def saved(model, folder):
    with load.quiet():
        model.save_pretrained(folder)
    return {"type": None, "init": str(folder)}


@pytest.mark.parametrize("head", ["masked_lm", "two_segments"])
def test_from_a_pretrained_bert(head, tmp_path):
    before = build.model(head, settings("bert", positions="sinusoidal"), tokenizer(), 32)
    torch.manual_seed(1)
    model = PAIR.model(saved(before, tmp_path), tokenizer(), 32)
    has = before.base_model.state_dict()
    assert all(torch.equal(weight, has[name]) for name, weight in model.base_model.state_dict().items() if name in has)
    told = heads.told(model)
    assert told == ["head: drawn afresh"] + [f"pooler: {tmp_path} has none; drawn afresh"] * (head == "masked_lm")
    assert not model.bert.embeddings.position_embeddings.weight.requires_grad
    assert 0 < float(model.classifier.weight.detach().std()) < 0.05
    assert not model.classifier.bias.any()
    assert (model.config.id2label, model.config.problem_type) == (dict(enumerate(NLI)), "single_label_classification")


def test_from_an_albert_that_shares_its_attention(tmp_path):
    before = build.model("two_segments", settings("albert", sharing="attention"), tokenizer(), 32)
    with load.quiet():
        before.save_pretrained(tmp_path, state_dict=sharing.as_copies(before))
    model = PAIR.model({"type": None, "init": str(tmp_path)}, tokenizer(), 32)
    first, second = sharing.layers(model)
    assert first.attention is second.attention
    assert first.ffn is not second.ffn
    found, layers = depth.depths(model)
    assert layers == 2
    assert {found[p] for p in first.attention.parameters()} == {2}  # the highest of the layers that share it
    assert ({found[p] for p in first.ffn.parameters()}, {found[p] for p in second.ffn.parameters()}) == ({1}, {2})


def test_from_a_run_of_electra(tmp_path):
    objective = ReplacedTokenDetection(fidelity="fixed", generator_size=0.5)
    before = objective.model(settings("electra"), tokenizer(), 32)
    assert isinstance(before, electra.Electra)
    model = PAIR.model(saved(before, tmp_path), tokenizer(), 32)
    has = before.discriminator.electra.state_dict()
    assert all(torch.equal(weight, has[name]) for name, weight in model.electra.state_dict().items())
    own = SequenceClassification(labels=NLI, fidelity="paper").model(saved(before, tmp_path), tokenizer(), 32)
    assert isinstance(own, Headed)
    _, batch = batch_of(PAIR, "wordpiece", tmp_path / "store")
    with torch.no_grad():  # ELE-12: the raw first vector, one linear layer
        inputs = heads.inputs(own.eval(), batch)
        first = own.backbone(**{k: v for k, v in inputs.items() if k != "use_cache"}).last_hidden_state[:, 0]
        torch.testing.assert_close(heads.logits(own, batch), first @ own.head.weight.T + own.head.bias)


@pytest.mark.parametrize(
    ("family", "head", "objective"),
    [
        ("gpt2", "causal_lm", PAIR),
        ("gpt2", "causal_lm", CHOICE),
        ("t5", "seq2seq_lm", PAIR),
        ("t5", "seq2seq_lm", TAGS),
    ],
)
def test_from_a_model_that_writes(family, head, objective, tmp_path):
    kind = KIND_OF[family]
    before = build.model(head, settings(family), tokenizer(kind), 32)
    model = objective.model(saved(before, tmp_path), tokenizer(kind), 32)
    assert heads.told(model) == ["head: drawn afresh"]
    has = dict(before.state_dict())
    for name, weight in model.base_model.state_dict().items():
        found = has.get(name, has.get(f"transformer.{name}"))
        assert torch.equal(weight, found), name


def test_a_head_of_the_same_labels_is_kept_and_its_rows_are_moved(tmp_path):
    before = PAIR.model(settings("roberta"), tokenizer(), 32).eval()
    other = SequenceClassification(labels=("Contradiction", "Entailment", "Neutral"), fidelity="fixed")  # BERT's (FT-3)
    model = other.model(saved(before, tmp_path), tokenizer(), 32).eval()
    _, batch = batch_of(PAIR, "wordpiece", tmp_path / "store")
    torch.testing.assert_close(heads.logits(model, batch), heads.logits(before, batch)[:, [2, 0, 1]])
    assert heads.told(model) == [f"head: that of {tmp_path}, its rows moved to the places of these labels"]


@pytest.mark.parametrize(
    "objective",
    [
        SequenceClassification(labels=("entailment", "not_entailment"), fidelity="fixed"),
        SequenceClassification(labels=("a", "b", "c"), fidelity="fixed"),
        SequenceClassification(problem="regression", fidelity="fixed"),
        SequenceClassification(labels=NLI, problem="multi_label", fidelity="fixed"),
    ],
    ids=["fewer", "others", "regression", "multi_label"],
)
def test_a_head_of_other_labels_is_dropped_whole(objective, tmp_path):
    before = PAIR.model(settings("roberta"), tokenizer(), 32)
    torch.manual_seed(1)
    model = objective.model(saved(before, tmp_path), tokenizer(), 32)
    assert len(model.classifier.out_proj.weight) == max(1, len(objective.labels))
    for name in ("dense", "out_proj"):
        old, new = (getattr(made.classifier, name).weight for made in (before, model))
        assert old.shape != new.shape or not torch.equal(old, new), name
    wanted = "has one for entailment, neutral, contradiction, which are not these labels: dropped, drawn afresh"
    assert heads.told(model) == [f"head: {tmp_path} {wanted}"]


def test_a_head_of_another_kind_is_never_taken_for_it(tmp_path):
    """A tagger's classifier has the name and the shape of a classifier's."""
    before = TokenClassification(labels=NLI, fidelity="fixed").model(settings("bert"), tokenizer(), 32)
    model = PAIR.model(saved(before, tmp_path), tokenizer(), 32)
    assert not torch.equal(model.classifier.weight, before.classifier.weight)
    assert heads.told(model) == ["head: drawn afresh", f"pooler: {tmp_path} has none; drawn afresh"]


def test_a_checkpoint_that_lacks_weights(tmp_path):
    made = saved(build.model("masked_lm", settings("bert"), tokenizer(), 32), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = "bert.encoder.layer.1.output.dense.weight"
    save_file(
        {name: w for name, w in weights.items() if name != gone}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(DataError, match=r"lacks weights .*: encoder.layer.1.output.dense.weight$"):
        PAIR.model(made, tokenizer(), 32)


def test_what_does_not_fit_is_refused(tmp_path):
    made = saved(build.model("masked_lm", settings("bert"), tokenizer(), 32), tmp_path)
    with pytest.raises(RecipeError, match=r"train.length: 67 tokens do not fit the 66 positions"):
        PAIR.model(made, tokenizer(), 67)
    with pytest.raises(RecipeError, match="128 entries, the tokenizer 300"):
        PAIR.model(made, tokenizer("bpe"), 32)


def test_from_scratch_takes_the_architecture_alone(tmp_path):
    before = PAIR.model(settings("bert"), tokenizer(), 32)
    made = {**saved(before.to(torch.bfloat16), tmp_path), "from_scratch": True}
    torch.manual_seed(1)
    model = PAIR.model(made, tokenizer(), 32)
    assert model.config.hidden_size == 32
    assert model.dtype == torch.float32
    assert not torch.equal(
        model.bert.embeddings.word_embeddings.weight, before.float().bert.embeddings.word_embeddings.weight
    )
    assert heads.told(model) == []


def test_weights_to_train_are_fp32(tmp_path):
    before = PAIR.model(settings("bert"), tokenizer(), 32).to(torch.bfloat16)
    assert PAIR.model(saved(before, tmp_path), tokenizer(), 32).dtype == torch.float32


def test_paper_draws_the_head_within_two_deviations(tmp_path):
    made = saved(build.model("masked_lm", settings("bert"), tokenizer(), 32), tmp_path)
    labels = tuple(f"label {number}" for number in range(200))
    fixed, paper = (
        SequenceClassification(labels=labels, fidelity=fidelity).model(made, tokenizer(), 32).classifier
        for fidelity in ("fixed", "paper")
    )
    assert float(fixed.weight.detach().abs().max()) > 0.04 >= float(paper.weight.detach().abs().max())
    assert not paper.bias.any()
    with load.quiet():
        kept = SequenceClassification(labels=NLI, fidelity="paper").model(settings("bert"), tokenizer(), 32)
        again = SequenceClassification(labels=NLI, fidelity="paper").model(saved(kept, tmp_path), tokenizer(), 32)
    assert torch.equal(again.classifier.weight, kept.classifier.weight)


# GPT-1's second loss ---------------------------------------------------------------------------------------


def test_a_language_model_beside_the_classifier(tmp_path):
    """GPT1-1: transformers' own language model on the same rows; in paper the mean over rows of their means."""
    options = {"labels": NLI, "lm_weight": 0.5}
    fixed, paper = (SequenceClassification(fidelity=fidelity, **options) for fidelity in ("fixed", "paper"))
    assert dict(fixed.weights) == {"classification": 1.0, "lm": 0.5}
    before = build.model("causal_lm", settings("gpt2"), tokenizer("bpe"), 32).eval()
    model = fixed.model(saved(before, tmp_path / "model"), tokenizer("bpe"), 32).eval()
    _, batch = batch_of(PAIR, "bpe", tmp_path / "store")
    targets = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    theirs = before(batch["input_ids"], attention_mask=batch["attention_mask"], labels=targets).loss
    found = fixed.loss(model, batch)["lm"]
    torch.testing.assert_close(found.value, theirs)
    assert int(found.count) == fixed.counts(batch)["lm"] == int(batch["attention_mask"].sum()) - 2
    each = []
    for row, length in zip(batch["input_ids"], batch["attention_mask"].sum(1), strict=True):
        each.append(before(row[None, :length], labels=row[None, :length]).loss)
    of_rows = paper.loss(model, batch)["lm"]
    torch.testing.assert_close(of_rows.value, torch.stack(each).mean())
    assert int(of_rows.count) == paper.counts(batch)["lm"] == 2
    torch.testing.assert_close(heads.logits(model, batch), heads.logits_and_hidden(model, batch)[0])


@pytest.mark.parametrize("family", ["bert", "t5", "llama"])
def test_a_language_model_needs_a_decoder_whose_output_is_its_embeddings(family):
    objective = SequenceClassification(labels=NLI, fidelity="fixed", lm_weight=0.5)
    with pytest.raises(RecipeError, match=r"objective.lm_weight"):
        objective.model(settings(family), tokenizer(KIND_OF.get(family, "wordpiece")), 32)


# Depth -----------------------------------------------------------------------------------------------------


def by_name(model, spec, fidelity="fixed"):
    found = depth.rates(model, spec, fidelity)
    return {name: found[parameter] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("fidelity", "layers", "decay", "top", "lowest", "embeddings"),
    [
        ("paper", 12, 0.8, 0.64, 0.0550, 0.0440),
        ("fixed", 12, 0.8, 0.8, 0.8**12, 0.8**13),
        ("paper", 24, 0.9, 0.81, 0.0718, 0.0646),
    ],
)
def test_layer_decay_is_electras(fidelity, layers, decay, top, lowest, embeddings):
    model = PAIR.model({**settings("electra"), "num_hidden_layers": layers}, tokenizer(), 32)
    found = by_name(model, TrainSpec(layer_decay=decay), fidelity)
    scale = {name: rate.lr_scale for name, rate in found.items()}
    assert scale["classifier.dense.weight"] == scale["classifier.out_proj.bias"] == 1
    assert scale[f"electra.encoder.layer.{layers - 1}.output.dense.weight"] == pytest.approx(top, abs=5e-5)
    assert scale["electra.encoder.layer.0.output.LayerNorm.bias"] == pytest.approx(lowest, abs=5e-5)
    assert scale["electra.encoder.layer.1.output.dense.bias"] == pytest.approx(
        lowest / decay, abs=1e-4
    )  # not layer 10's
    for name in ("embeddings.word_embeddings.weight", "embeddings.LayerNorm.bias", "embeddings_project.weight"):
        assert scale[f"electra.{name}"] == pytest.approx(embeddings, abs=5e-5)
    assert all(rate.from_step == 0 for rate in found.values())


def test_depth_of_other_families():
    """A name of each depth: embeddings, layers (T5's decoder on its encoder), what is between the last and the head."""
    wanted = {
        "albert": ({"albert.encoder.embedding_hidden_mapping_in.weight": 0, "albert.pooler.weight": 2}, 1),
        "bart": ({"model.decoder.embed_positions.weight": 0, "model.decoder.layernorm_embedding.weight": 0}, 4),
        "bert": ({"bert.encoder.layer.1.output.dense.weight": 2, "bert.pooler.dense.weight": 3}, 2),
        "deberta-v2": ({"deberta.encoder.rel_embeddings.weight": 0, "pooler.dense.weight": 4}, 2),
        "gpt2": ({"transformer.wpe.weight": 0, "transformer.h.0.ln_1.weight": 1, "transformer.ln_f.weight": 3}, 2),
        "modernbert": ({"model.embeddings.norm.weight": 0, "model.final_norm.weight": 3, "head.dense.weight": 4}, 2),
        "t5": (
            {
                "transformer.shared.weight": 0,
                "transformer.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": 1,
                "transformer.encoder.final_layer_norm.weight": 2,
                "transformer.decoder.block.0.layer.1.EncDecAttention.q.weight": 3,
                "transformer.decoder.final_layer_norm.weight": 5,
                "classification_head.dense.weight": 6,
            },
            4,
        ),
    }
    for family, (names, layers) in wanted.items():
        model = PAIR.model(settings(family), tokenizer(KIND_OF.get(family, "wordpiece")), 32)
        found, count = depth.depths(model)
        assert count == layers, family
        parameters = dict(model.named_parameters())
        assert {name: found[parameters[name]] for name in names} == names


def test_a_rate_of_the_head_and_layers_that_thaw():
    model = PAIR.model(settings("bert"), tokenizer(), 32)
    found = by_name(model, TrainSpec(lr=1e-4, head_lr=1e-3, unfreeze_every=5))
    assert found["classifier.weight"] == (pytest.approx(10), 0)
    assert found["bert.pooler.dense.weight"] == (1.0, 0)
    steps = {name: rate.from_step for name, rate in found.items()}
    assert steps["bert.encoder.layer.1.output.dense.weight"] == 5
    assert steps["bert.encoder.layer.0.output.dense.weight"] == 10
    assert steps["bert.embeddings.word_embeddings.weight"] == 15


def test_freezing():
    model = PAIR.model(settings("bert"), tokenizer(), 32)
    depth.freeze(model, 1)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        n for n, _ in model.named_parameters() if n.startswith(("bert.embeddings", "bert.encoder.layer.0."))
    }
    with pytest.raises(RecipeError, match=r"train.freeze: 3 layers, and the model has 2"):
        depth.freeze(model, 3)
