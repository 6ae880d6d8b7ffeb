"""The published settings: each recipe of recipes/paper says what its paper says, and builds what its header counts."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from ptk import optim, recipe_file, schedules
from ptk.data.plan import ramp_rows
from ptk.objectives.causal_lm import CausalLanguageModelling
from ptk.objectives.objective import Row
from ptk.objectives.prefix_lm import PrefixLanguageModelling
from ptk.objectives.span_corruption import SpanCorruption
from ptk.session import objective_of, parameter_count, phases

# Parameters, counted by hand from the papers' figures -----------------------------------------------------


def bert(vocabulary, width, layers, inner, positions=512):
    """The encoder with its pooler, and both heads, that of the masks tied to the embeddings."""
    norm = 2 * width
    embeddings = (vocabulary + positions + 2) * width + norm
    pooler, masks, next_sentence = dense(width, width), dense(width, width) + norm + vocabulary, 2 * width + 2
    return embeddings + layers * encoder_layer(width, inner) + pooler + masks + next_sentence


def encoder_layer(width, inner):
    """BERT's, and of all that follow it."""
    attention = 4 * dense(width, width)
    feed_forward = dense(width, inner) + dense(inner, width)
    return attention + feed_forward + 2 * 2 * width


def dense(inputs, outputs):
    return inputs * outputs + outputs


def albert(width, inner, vocabulary=30_016, embedding=128, positions=512):
    """One layer, however often it is used; narrow embeddings, to which the head of the masks goes back."""
    embeddings = (vocabulary + positions + 2) * embedding + 2 * embedding + dense(embedding, width)
    masks = dense(width, embedding) + 2 * embedding + vocabulary
    pooler, order = dense(width, width), dense(width, 2)
    return embeddings + encoder_layer(width, inner) + pooler + masks + order


def discriminator(width, layers, inner, embedding, vocabulary=30_528, positions=512):
    """ELECTRA's as it is fine-tuned, with its head; wider embeddings go through a matrix only where they differ."""
    embeddings = (vocabulary + positions + 2) * embedding + 2 * embedding
    projection = dense(embedding, width) if embedding != width else 0
    return embeddings + projection + layers * encoder_layer(width, inner) + dense(width, width) + dense(width, 1)


def generator(width, layers, embedding, vocabulary=30_528):
    """ELECTRA's without the embeddings, which are the discriminator's (ELE-8)."""
    head = dense(width, embedding) + 2 * embedding + vocabulary
    return dense(embedding, width) + layers * encoder_layer(width, 4 * width) + head


def roberta(width, layers, inner, vocabulary=50_304, positions=514):
    """BERT without pooler, with one type of token and two positions more (of the padding)."""
    embeddings = (vocabulary + positions + 1) * width + 2 * width
    return embeddings + layers * encoder_layer(width, inner) + dense(width, width) + 2 * width + vocabulary


def gpt(vocabulary, width, layers, positions, last_norm=True):
    """A decoder whose feed-forward is four times as wide, tied, with biases; GPT-1 has no norm at its end."""
    attention = width * 3 * width + 3 * width + width * width + width
    feed_forward = 8 * width * width + 5 * width
    norm = 2 * width
    return (vocabulary + positions) * width + layers * (attention + feed_forward + 2 * norm) + last_norm * norm


def t5(width, layers, inner, heads, matrices=2, embeddings=1, vocabulary=32_128):
    """No biases, norms of gains alone; three ``matrices`` of a feed-forward if gated, two ``embeddings`` if untied."""
    attention = 4 * width * heads * 64
    feed_forward = matrices * width * inner
    encoder = layers * (attention + feed_forward + 2 * width)
    decoder = layers * (2 * attention + feed_forward + 3 * width)
    last_norms, relative_positions = 2 * width, 2 * 32 * heads
    return embeddings * vocabulary * width + encoder + decoder + last_norms + relative_positions


# What the papers publish ----------------------------------------------------------------------------------


class Published(NamedTuple):
    parameters: int
    rounded: float
    """The paper's own figure."""
    heads: int
    stages: list[tuple[int, int, int]]
    """Length in tokens, rows of a batch, steps (1 where ``epochs`` are given)."""
    lr: float
    warmup: int
    optimizer: str = "adamw"
    adam: tuple[float, float, float] | None = (0.9, 0.95, 1e-8)
    """Betas and epsilon; Adafactor takes none."""
    schedule: str = "cosine"
    weight_decay: float = 0.1
    clip: float = 1.0
    dropout: float = 0.0
    epochs: float | None = None
    fidelity: str = "paper"


BERT = {"optimizer": "bert_adamw", "adam": (0.9, 0.999, 1e-6), "schedule": "linear"}
BERT |= {"weight_decay": 0.01, "dropout": 0.1}
BERT_STAGES = [(128, 256, 900_000), (512, 256, 100_000)]
ALBERT = {"optimizer": "lamb", "adam": (0.9, 0.999, 1e-6), "schedule": "linear", "weight_decay": 0.01, "dropout": 0.1}
ALBERT_STAGES = [(512, 4096, 125_000)]
ELECTRA = {"optimizer": "bert_adamw", "adam": (0.9, 0.999, 1e-6), "schedule": "product"}
ELECTRA |= {"weight_decay": 0.01, "dropout": 0.1}
ROBERTA = {"adam": (0.9, 0.98, 1e-6), "schedule": "linear", "weight_decay": 0.01, "clip": 0.0, "dropout": 0.1}
ROBERTA |= {"fidelity": "fixed"}  # `paper` would be BERT's jump and BERT's first weights
ROBERTA_STAGES = [(512, 8192, 500_000)]
SMALL, BASE = discriminator(256, 12, 1024, 128), discriminator(768, 12, 3072, 768)
LARGE = discriminator(1024, 24, 4096, 1024)
# Parameters of the discriminator alone; width, heads and layers of the generator; its positions in a row.
GENERATORS = {
    "electra-small": (SMALL, (64, 1, 12), 19),
    "electra-base": (BASE, (256, 4, 12), 79),
    "electra-large": (LARGE, (256, 4, 24), 130),
}
GPT1 = {"adam": (0.9, 0.999, 1e-8), "weight_decay": 0.01, "dropout": 0.1, "epochs": 100}
T5 = {"optimizer": "adafactor", "adam": None, "schedule": "inverse_sqrt", "weight_decay": 0.0, "clip": 0.0}
GPT2_STAGES, T5_STAGES = [(1024, 512, 600_000)], [(512, 128, 2**19)]
GPT3_STAGES, XL_STAGES = [(2048, 256, 580_000)], [(2048, 512, 290_000)]

PUBLISHED = {
    "bert-base": Published(bert(30_528, 768, 12, 3072), 110e6, 12, BERT_STAGES, 1e-4, 10_000, **BERT),
    "bert-large": Published(bert(30_528, 1024, 24, 4096), 340e6, 16, BERT_STAGES, 1e-4, 10_000, **BERT),
    "albert-base": Published(albert(768, 3072), 12e6, 12, ALBERT_STAGES, 1.76e-3, 3125, **ALBERT),
    "albert-large": Published(albert(1024, 4096), 18e6, 16, ALBERT_STAGES, 1.76e-3, 3125, **ALBERT),
    "albert-xlarge": Published(albert(2048, 8192), 60e6, 32, ALBERT_STAGES, 1.76e-3, 3125, **ALBERT),
    "albert-xxlarge": Published(albert(4096, 16384), 235e6, 64, ALBERT_STAGES, 1.76e-3, 3125, **ALBERT),
    "electra-small": Published(
        SMALL + generator(64, 12, 128), 14e6, 4, [(128, 128, 1_000_000)], 5e-4, 10_000, **ELECTRA
    ),
    "electra-base": Published(
        BASE + generator(256, 12, 768), 110e6, 12, [(512, 256, 766_000)], 2e-4, 10_000, **ELECTRA
    ),
    "electra-large": Published(
        LARGE + generator(256, 24, 1024), 335e6, 16, [(512, 2048, 400_000)], 2e-4, 10_000, **ELECTRA
    ),
    "roberta-base": Published(roberta(768, 12, 3072), 125e6, 12, ROBERTA_STAGES, 6e-4, 24_000, **ROBERTA),
    "roberta-large": Published(roberta(1024, 24, 4096), 355e6, 16, ROBERTA_STAGES, 4e-4, 30_000, **ROBERTA),
    "gpt-1": Published(gpt(40_512, 768, 12, 512, last_norm=False), 117e6, 12, [(512, 64, 1)], 2.5e-4, 2000, **GPT1),
    "gpt-2-124m": Published(gpt(50_304, 768, 12, 1024), 117e6, 12, GPT2_STAGES, 6e-4, 2000),
    "gpt-2-355m": Published(gpt(50_304, 1024, 24, 1024), 345e6, 16, GPT2_STAGES, 3e-4, 2000),
    "gpt-2-774m": Published(gpt(50_304, 1280, 36, 1024), 762e6, 20, GPT2_STAGES, 2.5e-4, 2000),
    "gpt-2-1.5b": Published(gpt(50_304, 1600, 48, 1024), 1542e6, 25, GPT2_STAGES, 2e-4, 2000),
    "gpt-3-small": Published(gpt(50_304, 768, 12, 2048), 125e6, 12, GPT3_STAGES, 6e-4, 4330),
    "gpt-3-medium": Published(gpt(50_304, 1024, 24, 2048), 350e6, 16, GPT3_STAGES, 3e-4, 4330),
    "gpt-3-large": Published(gpt(50_304, 1536, 24, 2048), 760e6, 16, GPT3_STAGES, 2.5e-4, 4330),
    "gpt-3-xl": Published(gpt(50_304, 2048, 24, 2048), 1.3e9, 16, XL_STAGES, 2e-4, 2270),  # 24 do not divide 2048
    "t5-small": Published(t5(512, 6, 2048, 8), 60e6, 8, T5_STAGES, 0.01, 10_000, dropout=0.1, **T5),
    "t5-base": Published(t5(768, 12, 3072, 12), 220e6, 12, T5_STAGES, 0.01, 10_000, dropout=0.1, **T5),
    "t5-1.1-base": Published(t5(768, 12, 2048, 12, 3, embeddings=2), 250e6, 12, T5_STAGES, 0.01, 10_000, **T5),
}
ENCODER = ("hidden_dropout_prob", "attention_probs_dropout_prob")
DROPOUTS = {
    "bert": ENCODER,
    "albert": ENCODER,
    "electra": ENCODER,
    "roberta": ENCODER,
    "openai-gpt": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    "t5": ("dropout_rate",),
}
ENCODERS = {  # GELU by tanh in all of Google's (MLM-7), and the epsilon of the norms
    "bert": ("gelu_pytorch_tanh", 1e-12),
    "albert": ("gelu_pytorch_tanh", 1e-12),
    "electra": ("gelu_pytorch_tanh", 1e-12),
    "roberta": ("gelu", 1e-5),
}

every = pytest.mark.parametrize("name", PUBLISHED)


def recipe_of(name, folder="paper/"):
    return recipe_file.load(f"{folder}{name}", ["corpus=texts/"]).recipe


def header_of(name, folder="paper/"):
    """The comment that a recipe begins with, as one line."""
    lines = recipe_file.bundled()[f"{folder}{name}"].read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:first])


def tokenizer_of(recipe) -> Any:
    """As much of the recipe's tokenizer as models and ``encode`` ask for; every entry is a word."""
    spec = recipe.tokenizer
    size = spec.vocab_size + len(spec.special_tokens)
    ends = {"eos_id": 0, "pad_id": 1} if spec.kind == "bpe" else {"pad_id": 0, "eos_id": 1}
    ids = {**ends, "bos_id": None, "end": ("</s>", ends["eos_id"]), "cls_id": None, "sep_id": None, "mask_id": None}
    if "[CLS]" in spec.special_tokens or spec.kind != "bpe":
        first = spec.vocab_size if spec.special_tokens else 2
        ids |= {"cls_id": first, "sep_id": first + 1, "mask_id": first + 2}
    pieces, starts = np.arange(5, spec.vocab_size), np.ones(size, bool)
    added = {token: spec.vocab_size + number for number, token in enumerate(spec.special_tokens)}
    return SimpleNamespace(vocab_size=size, piece_ids=pieces, word_starts=starts, id_of=added.get, **ids)


@pytest.fixture
def model_of(monkeypatch):
    """The model that a recipe trains, without its numbers: nothing of a billion parameters is allocated."""
    for kind in (CausalLanguageModelling, PrefixLanguageModelling):
        monkeypatch.setattr(kind, "check_model", lambda self, model: None)  # it needs numbers

    def build(recipe):
        settings = {"type": recipe.model["type"], **recipe_file.model_settings(recipe)}
        longest = max(phase.length for phase in phases(recipe))
        with torch.device("meta"):
            return objective_of(recipe).model(settings, tokenizer_of(recipe), longest)

    return build


def test_every_recipe_is_checked():
    assert {f"paper/{name}" for name in {**PUBLISHED, **FINE_TUNED}} == {
        name for name in recipe_file.bundled() if name.startswith("paper/")
    }


FINE_TUNED = {  # task, epochs, rows of a batch, length, learning rate, layer decay
    "bert-base-squad": ("squad", 3, 32, 384, 5e-5, 1.0),
    "bert-large-squad": ("squad", 3, 32, 384, 5e-5, 1.0),
    "bert-large-squad2": ("squad2", 2, 48, 384, 5e-5, 1.0),
    "electra-base-squad2": ("squad2", 2, 32, 512, 1e-4, 0.8),
}


@pytest.mark.parametrize("name", FINE_TUNED)
def test_settings_of_fine_tuning_are_those_of_the_paper(name):
    recipe = recipe_file.load(f"paper/{name}").recipe
    train = recipe.train
    settings = (recipe.task.name, train.epochs, train.batch_size, train.length, train.lr, train.layer_decay)
    assert settings == FINE_TUNED[name]
    assert (recipe.name, recipe.fidelity, train.warmup) == (name, "paper", 0.1)
    assert (train.optimizer, train.schedule, train.weight_decay, train.clip) == ("bert_adamw", "linear", 0.01, 1.0)
    assert name.partition("-squad")[0] in recipe.init
    question = recipe.objective if recipe.objective.get("name") == "question_answering" else {}
    assert question.get("end", "independent") == ("joint" if name.startswith("electra") else "independent")


@every
def test_settings_are_those_of_the_paper(name, model_of):
    recipe, paper = recipe_of(name), PUBLISHED[name]
    train = recipe.train
    assert (recipe.name, recipe.fidelity) == (name, paper.fidelity)
    assert [(phase.length, phase.batch_size, phase.steps) for phase in phases(recipe)] == paper.stages
    assert (train.epochs, train.lr, train.warmup) == (paper.epochs, paper.lr, paper.warmup)
    assert (train.optimizer, train.schedule) == (paper.optimizer, paper.schedule)
    assert (train.weight_decay, train.clip) == (paper.weight_decay, paper.clip)
    assert paper.adam in (None, (*train.betas, train.eps))
    config = model_of(recipe).config
    assert config.num_attention_heads == paper.heads
    assert {getattr(config, key) for key in DROPOUTS[config.model_type]} == {paper.dropout}
    if config.model_type in ENCODERS:
        assert (config.hidden_act, config.layer_norm_eps) == ENCODERS[config.model_type]


@every
def test_parameters_are_those_of_the_header_and_of_a_count_by_hand(name, model_of):
    built = parameter_count(model_of(recipe_of(name)))
    assert built == PUBLISHED[name].parameters
    assert re.findall(r"([\d,]+) parameters", header_of(name)) == [f"{built:,}"]


# Of bert-continue-ko the weights to start from decide, of gpt-char the text's characters.
LAPTOP = {name for name in recipe_file.bundled() if not name.startswith("paper/")} - {"bert-continue-ko", "gpt-char"}
LAPTOP -= {name for name in LAPTOP if name.startswith("finetune/")}  # whatever model they are given


@pytest.mark.parametrize("name", sorted(LAPTOP))
def test_laptop_recipes_have_the_parameters_of_their_headers(name, model_of):
    built = parameter_count(model_of(recipe_of(name, folder="")))
    assert re.findall(r"([\d,]+) parameters", header_of(name, folder="")) == [f"{built:,}"]


@every
def test_a_header_explains_what_the_paper_counts_otherwise(name):
    paper, header = PUBLISHED[name], header_of(name)
    assert f"ptk pretrain paper/{name} " in header
    said = re.search(r"says ([\d.]+)([MB])(?:, ([\d.]+) % (more|less): \w)?", header)
    assert said, header
    figure, unit, percent, direction = said.groups()
    assert float(figure) * {"M": 1e6, "B": 1e9}[unit] == paper.rounded
    off = 100 * (paper.rounded / paper.parameters - 1)
    if abs(off) > 1:
        assert direction == ("more" if off > 0 else "less")
        assert float(percent) == pytest.approx(abs(off), abs=0.05)


@every
def test_optimizer_and_schedule_resolve(name):
    train = recipe_of(name).train
    weight = torch.nn.Parameter(torch.ones(2, 3))
    groups = optim.parameter_groups(torch.nn.ParameterList([weight]), train.weight_decay)
    optimizer = optim.build(train.optimizer, groups, train.lr, train.betas, train.eps)
    weight.grad = torch.ones(2, 3)
    optimizer.step()
    assert (weight < 1).all()
    factor = learning_rates(name)
    assert max(factor(t) for t in range(0, 20_000, 10)) <= train.lr
    fallen = 1 - train.warmup / PUBLISHED[name].stages[0][2] if train.schedule == "product" else 1
    assert factor(train.warmup - 1) == pytest.approx(train.lr * fallen, rel=1e-3)


def learning_rates(name, total=None):
    """The learning rate as a function of the 0-based step."""
    recipe = recipe_of(name)
    train, total = recipe.train, total or sum(phase.steps for phase in phases(recipe))
    warmup = schedules.warmup_steps(train.warmup, total)
    factor = schedules.schedule(train.schedule, total, warmup, train.final_lr, train.decay, recipe.fidelity)
    return lambda step: train.lr * factor(step)


def test_learning_rates_of_the_papers():
    for step in (0, 9_999, 10_001, 40_000, 2**19):
        assert learning_rates("t5-base")(step) == pytest.approx(1 / math.sqrt(max(step, 10_000)))  # T5-7
    assert learning_rates("gpt-1", 1_000_000)(1_000_000) == pytest.approx(0)
    assert learning_rates("gpt-3-small")(580_000) == pytest.approx(6e-5)
    assert learning_rates("gpt-3-xl")(290_000) == pytest.approx(2e-5)
    assert learning_rates("albert-base")(3125) == pytest.approx(1.76e-3 * (1 - 3125 / 125_000))  # OPT-2, OPT-3
    assert learning_rates("roberta-base")(24_000) == pytest.approx(6e-4)
    assert learning_rates("roberta-large")(265_000) == pytest.approx(2e-4)  # half of what follows the warm-up


@pytest.mark.parametrize(
    ("name", "peak", "total"),
    [("electra-small", 5e-4, 1_000_000), ("electra-base", 2e-4, 766_000), ("electra-large", 2e-4, 400_000)],
)
def test_learning_rates_of_electra(name, peak, total):
    """OPT-3: the fall from step 0 times the warm-up."""
    rate = learning_rates(name)
    for step in (0, 1, 5_000, 9_999, 10_000, 10_001, total // 2, total - 1, total):
        assert rate(step) == pytest.approx(peak * (1 - step / total) * min(1, step / 10_000)), step


@pytest.mark.parametrize("name", ["gpt-3-small", "gpt-3-medium", "gpt-3-large", "gpt-3-xl"])
def test_gpt3_counts_its_steps_in_tokens(name):
    train = recipe_of(name).train
    ramp = train.batch_ramp
    assert ramp is not None

    def tokens(steps):
        return train.length * ramp_rows(ramp, train.batch_size or 0, steps)

    assert tokens(1) == 32 * 1024
    assert tokens(train.warmup) == pytest.approx(375e6, rel=1e-3)
    assert 4e9 <= tokens(ramp.steps) <= 12e9
    assert tokens(train.steps) == pytest.approx(300e9, rel=1e-3)


@pytest.mark.parametrize("name", ["t5-small", "t5-base", "t5-1.1-base"])
def test_t5_reads_512_tokens_and_writes_114(name):
    recipe = recipe_of(name)
    objective = objective_of(recipe)
    assert isinstance(objective, SpanCorruption)
    assert objective.lengths(recipe.train.length) == (568, 512, 114)  # T5-2
    assert objective.weights == {"span": 1.0, "z": 1e-4}  # T5-5


# What is predicted of a row --------------------------------------------------------------------------------


def predicted(name, segments, draws=1, **changes):
    """How many positions of full rows are to be predicted, one number for each draw."""
    recipe = recipe_of(name)
    objective: Any = objective_of(recipe)
    objective = replace(objective, **changes)
    length = recipe.train.length - 1 - segments  # [CLS], and a [SEP] behind each
    ids = np.random.default_rng(0).integers(5, 30_000, length)
    row = Row(np.array_split(ids, segments), {"label": 0}, range(segments))
    made = (objective.encode(row, tokenizer_of(recipe), np.random.default_rng((1, number))) for number in range(draws))
    return [len(example["masked_positions"]) for example in made]


ALBERTS = {"albert-base": 12, "albert-large": 24, "albert-xlarge": 24, "albert-xxlarge": 12}


@pytest.mark.parametrize(("name", "layers"), ALBERTS.items())
def test_albert_uses_its_one_layer_as_often_as_table_1_says(name, layers, model_of):
    model = model_of(recipe_of(name))
    assert (model.config.num_hidden_layers, len(model.albert.encoder.albert_layer_groups)) == (layers, 1)
    assert model.sop_classifier.dropout.p == 0  # MLM-6


@pytest.mark.parametrize("name", ALBERTS)
def test_albert_masks_as_many_as_its_header_says(name):
    said = re.search(r"15 % of 512 tokens are (\d+)\..* default of (\d+) leaves ([\d.]+) %", header_of("albert-base"))
    assert said
    all_of_them, cap, share = said.groups()
    assert predicted(name, segments=2) == [int(all_of_them)] == [77]
    assert predicted(name, segments=2, max_predictions=int(cap)) == [20]
    assert float(share) == pytest.approx(100 * 20 / 512, abs=0.05)  # ALB-4
    objective: Any = objective_of(recipe_of(name))
    assert (objective.second_segment, objective.masking) == ("order", "ngram")


@pytest.mark.parametrize("name", ["roberta-base", "roberta-large"])
def test_roberta_rounds_at_random_in_rows_without_gaps(name):
    counts = predicted(name, segments=1, draws=100)
    assert set(counts) == {76, 77}  # 76.8 of 512 (ROB-1)
    assert sum(counts) / 100 == pytest.approx(76.8, abs=3 * 0.4 / 10)
    objective: Any = objective_of(recipe_of(name))
    assert (objective.second_segment, objective.packing, objective.short_rows) == ("none", "full_sentences", 0)
    assert objective.random_from == "pieces"


@pytest.mark.parametrize("name", GENERATORS)
def test_electra_has_the_generator_of_its_table(name, model_of):
    alone, sizes, positions = GENERATORS[name]
    recipe = recipe_of(name)
    model = model_of(recipe)
    small = model.generator.config
    assert (small.hidden_size, small.num_attention_heads, small.num_hidden_layers) == sizes  # ELE-8
    assert parameter_count(model.discriminator) == alone
    assert f"the discriminator alone, {alone:,} here" in header_of(name)
    assert alone == pytest.approx(PUBLISHED[name].rounded, abs=1e6)  # it is what the paper counts
    objective: Any = objective_of(recipe).at(recipe.train.length, 0.0)
    assert objective.max_predictions == positions  # ELE-2
    assert objective.weights == {"generator": 1.0, "rtd": 50.0}  # ELE-7
