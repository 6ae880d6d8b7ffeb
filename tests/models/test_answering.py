"""Question answering for every family: transformers' class where there is one, ptk's own head where not or wanted."""

import pytest
import torch
import transformers
from labelled import FAMILIES, KIND_OF, encoded, ids, overfitted, settings, stacked, store, tokenizer
from transformers import AutoModel, AutoModelForQuestionAnswering

from ptk.errors import DataError
from ptk.models import answering, build, depth, heads, load, transfer
from ptk.models.answering import Answering
from ptk.models.headed import HEAD
from ptk.objectives.question_answering import QuestionAnswering
from ptk.objectives.sequence_classification import SequenceClassification
from ptk.recipe import TrainSpec

PLAIN = {}
ELECTRAS = {"end": "joint", "no_answer": "both", "candidates": "context"}
NO_CLASS = ("openai-gpt", "t5")  # T5's class would answer by its decoder


def objective_of(kind, **more):
    return QuestionAnswering(**{"fidelity": "fixed", "framing": tokenizer(kind).pair.size, **more})


def batch_of(objective, kind, folder):
    """Three windows of two questions, one of which has no answer."""
    question = ids(kind, "the cat sees")[0]
    contexts = ids(kind, "my friend forgets the old river, and her sister likes a dog.", "a red house")
    made = store(folder, [[question, context] for context in contexts], torch.tensor([[2, 4], [-1, -1]]).numpy())
    length = len(question) + objective.framing + len(contexts[0]) - 2
    examples = encoded(objective, made, kind, length)
    return examples, stacked(objective, examples, kind)


def read(objective, model, batch):
    labels = batch["labels"][:, 0].clamp(min=0)
    return answering.spans(model, heads.inputs(model, batch), objective.allowed(batch), labels)


def saved(model, folder):
    with load.quiet():
        model.save_pretrained(folder)
    return {"type": None, "init": str(folder)}


def same(one, other):
    return all(a is b is None or torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("family", "more"),
    [(family, PLAIN) for family in FAMILIES] + [(family, ELECTRAS) for family in ("electra", "gpt2", "t5")],
    ids=lambda value: value if isinstance(value, str) else "own" if value else "plain",
)
def test_every_family(family, more, tmp_path):
    """Padding changes nothing, every weight has a gradient and a depth, and what is saved is what is loaded, to use
    and to start from."""
    kind = KIND_OF.get(family, "wordpiece")
    objective = objective_of(kind, **more)
    torch.manual_seed(0)
    model = objective.model(settings(family), tokenizer(kind), 40)
    assert isinstance(model, Answering) == (family in NO_CLASS or bool(more))
    assert type(model).__name__.endswith("Answering") or "ForQuestionAnswering" in type(model).__name__
    examples, batch = batch_of(objective, kind, tmp_path / "store")
    assert "attention_mask" in batch
    model.train()
    losses = objective.loss(model, batch)
    sum(losses[name].total for name in objective.weights).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert overfitted(objective, model, batch, 1) < 8
    found, layers = depth.depths(model)
    of_head = {parameter for parameter, own in found.items() if own == layers + 2}
    assert set(found) == set(model.parameters())
    assert of_head >= {parameter for _, parameter in transfer.head_parameters(model)}
    assert len(of_head) >= 2
    with torch.no_grad():
        logits = read(objective, model, batch)
        for number, example in enumerate(examples):
            alone = read(objective, model, stacked(objective, [example], kind))
            for one, every in zip(alone[:2], logits[:2], strict=True):
                torch.testing.assert_close(one[0], every[number, : one.shape[1]], atol=1e-5, rtol=1e-5)
        settings_again = saved(model, tmp_path / "model")
        assert (tmp_path / "model" / HEAD).exists() == isinstance(model, Answering)
        assert same(read(objective, load.load(str(tmp_path / "model")), batch), logits)
        again = objective.model(settings_again, tokenizer(kind), 40).eval()
        assert same(read(objective, again, batch), logits)
    assert heads.told(again) == [f"head: that of {tmp_path / 'model'}"]


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "llama", "bart"])
def test_from_a_pretrained_model(family, tmp_path):
    kind = KIND_OF.get(family, "wordpiece")
    head = {"bert": "masked_lm", "t5": "seq2seq_lm", "bart": "seq2seq_lm"}.get(family, "causal_lm")
    before = build.model(head, settings(family), tokenizer(kind), 40)
    torch.manual_seed(1)
    model = objective_of(kind).model(saved(before, tmp_path), tokenizer(kind), 40)
    assert heads.told(model) == ["head: drawn afresh"]
    has = {name.partition(".")[2]: weight for name, weight in before.state_dict().items()} | before.state_dict()
    own = {name for name, _ in transfer.head_parameters(model)}
    layers = ("head.start", "head.end") if family == "t5" else ("qa_outputs",)
    assert own == {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert not any("decoder" in name for name in model.state_dict()) or family == "bart"
    for name, weight in model.state_dict().items():
        found = has.get(name, has.get(name.partition(".")[2]))
        assert (found is None or name in own) if name in own else torch.equal(weight, found), name
    assert not any(weight.any() for name, weight in model.state_dict().items() if name in own and "bias" in name)


def test_what_an_encoder_lacks_is_told(tmp_path):
    from safetensors.torch import load_file, save_file

    before = build.model("seq2seq_lm", settings("t5"), tokenizer("unigram"), 40)
    init = saved(before, tmp_path)
    gone = "encoder.block.0.layer.0.SelfAttention.q.weight"
    weights = {name: w for name, w in load_file(tmp_path / "model.safetensors").items() if name != gone}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=f"lacks weights .*: {gone}$"):
        objective_of("unigram").model(init, tokenizer("unigram"), 40)


def test_a_head_with_other_settings_is_another_head(tmp_path):
    """Joint or not, with an answerability head or not; a plain one of transformers for one of ours, and back."""
    variants = [PLAIN, {"end": "joint"}, {"no_answer": "cls_head"}, ELECTRAS]
    folders = []
    for number, more in enumerate(variants):
        torch.manual_seed(0)
        model = objective_of("wordpiece", **more).model(settings("bert"), tokenizer(), 40)
        folders.append(saved(model, tmp_path / str(number)))
    for number, more in enumerate(variants):
        for other, init in enumerate(folders):
            model = objective_of("wordpiece", **more).model(init, tokenizer(), 40)
            own = f"head: that of {init['init']}" if number == other else "head: drawn afresh"
            assert heads.told(model) == [own], (number, other)
            assert getattr(model.config, "ptk_end", None) == more.get("end")
            assert isinstance(model, Answering) == bool(more)
            assert hasattr(model.config, "ptk_head") == bool(more)
    joint = objective_of("wordpiece", no_answer="null_span", end="joint").model(folders[1], tokenizer(), 40)
    assert heads.told(joint) == [f"head: that of {folders[1]['init']}"]  # the same layers, however no answer is told


def test_a_classifier_from_an_answering_model_is_no_answering_model(tmp_path):
    model = objective_of("wordpiece", **ELECTRAS).model(settings("bert"), tokenizer(), 40)
    classifier = SequenceClassification(labels=("a", "b"), fidelity="fixed")
    made = classifier.model(saved(model, tmp_path), tokenizer(), 40)
    assert type(made) is transformers.BertForSequenceClassification
    assert not [name for name in vars(made.config) if name in ("ptk_head", "ptk_end", "ptk_impossible")]


def test_transformers_loads_what_is_saved(tmp_path):
    for more, auto in ((PLAIN, AutoModelForQuestionAnswering), (ELECTRAS, AutoModel)):
        objective = objective_of("wordpiece", **more)
        model = objective.model(settings("electra"), tokenizer(), 40).eval()
        saved(model, tmp_path / auto.__name__)
        theirs = auto.from_pretrained(tmp_path / auto.__name__).eval()
        _, batch = batch_of(objective, "wordpiece", tmp_path / f"store-{auto.__name__}")
        inputs = heads.inputs(model, batch)
        found = read(objective, model, batch)
        if more:
            torch.testing.assert_close(theirs(**inputs).last_hidden_state, found.hidden)
        else:
            open_ = objective.allowed(batch)
            torch.testing.assert_close(theirs(**inputs).start_logits[open_], found.start[open_])


@pytest.mark.parametrize("more", [PLAIN, ELECTRAS], ids=["plain", "own"])
def test_paper_draws_within_two_deviations(more, tmp_path):
    objective = QuestionAnswering(fidelity="paper", **more)
    model = objective.model(settings("electra"), tokenizer(), 40)
    assert isinstance(model, Answering) == bool(more)
    matrices = [parameter for name, parameter in transfer.head_parameters(model) if name.endswith("weight")]
    assert all(0 < float(matrix.detach().abs().max()) <= 0.04 for matrix in matrices)
    assert objective.notes("paper", "electra")


@pytest.mark.parametrize(("family", "more"), [("electra", ELECTRAS), ("t5", PLAIN)], ids=["own", "t5"])
def test_rates_and_freezing(family, more):
    kind = KIND_OF.get(family, "wordpiece")
    model = objective_of(kind, **more).model(settings(family), tokenizer(kind), 40)
    found = depth.rates(model, TrainSpec(lr=1e-4, head_lr=1e-3, layer_decay=0.5), "fixed")
    head = [parameter for _, parameter in transfer.head_parameters(model)]
    assert {round(found[parameter].lr_scale, 6) for parameter in head} == {10.0}
    layers = 2
    others = {
        found[parameter].lr_scale for parameter in model.parameters() if all(parameter is not one for one in head)
    }
    assert others >= {0.5**below for below in range(1, layers + 2)}
    depth.freeze(model, layers)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(any(parameter is one for one in trained) for parameter in head)
    assert all(found[parameter].lr_scale >= 1 for parameter in trained)
