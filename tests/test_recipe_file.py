"""Recipes: YAML as written, extended, overridden, checked, and every fault told at its line."""

import dataclasses
import json
import math
import random
import subprocess
import sys
import types
import typing
from pathlib import Path

import pytest
import yaml

import ptk.objectives
from ptk import recipe_file, recipe_yaml
from ptk.errors import RecipeError
from ptk.recipe import BatchRamp, CorpusSource, EvaluateSpec, Phase, Recipe, TokenizerSpec, TrainSpec
from ptk.recipe_file import build_objective, bundled, dump, load, model_settings, schema, show

TOY = '''
from dataclasses import dataclass
from typing import Literal

from ptk.recipe import STRICT, Fraction


@dataclass(frozen=True, kw_only=True)
class Toy:
    __pydantic_config__ = STRICT

    rate: Fraction = 0.15
    """Share of the positions to predict."""
    second: Literal["next", "none"] = "next"
    spans: tuple[int, ...] = (1, 2)
    fidelity: Literal["fixed", "paper"] | None = None

    def __post_init__(self):
        if self.rate == 0.5:
            raise ValueError("rate 0.5 is odd; use 0.4")


OBJECTIVE = Toy
'''
PARENT = """\
corpus: data/*.txt
objective: {name: toy, rate: 0.2}
model:
  type: bert
  hidden_size: 64
train:
  minutes: 8
  batch_size: 16
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two toy objectives and an empty set of bundled recipes."""
    modules = tmp_path / "objectives"
    modules.mkdir()
    (modules / "toy.py").write_text(TOY)
    (modules / "other.py").write_text(TOY.replace("rate", "depth"))
    (modules / "shared.py").write_text("raise ImportError('not an objective: nobody imports this')")
    monkeypatch.setattr(ptk.objectives, "__path__", [str(modules)])
    for name in ("toy", "other"):
        monkeypatch.delitem(sys.modules, f"ptk.objectives.{name}", raising=False)
    monkeypatch.setattr(recipe_file, "bundled", dict)
    monkeypatch.chdir(tmp_path)
    write("parent.yaml", PARENT)
    return tmp_path


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")
    return name


def faults(name: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(name, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).split("\n")


def edited(old: str, new: str) -> str:
    assert old in PARENT
    return write("my.yaml", PARENT.replace(old, new))


# --- what YAML says ---


@pytest.mark.parametrize("text", ["1e-4", "3e-3", "1E-5", "1.5e2", "2.", ".5", "+1e-3", "0.1", "7"])
def test_numbers_are_numbers(text: str) -> None:
    assert load(edited("minutes: 8", f"minutes: 8\n  lr: {text}")).recipe.train.lr == float(text)
    assert load("parent.yaml", [f"train.lr={text}"]).recipe.train.lr == float(text)


def test_random_floats_survive_reading() -> None:
    rng = random.Random(0)
    for _ in range(200):
        number = rng.uniform(1, 10) * 10.0 ** rng.randint(-30, 30)
        for text in (repr(number), f"{number:e}", f"{number:E}"):
            placed = recipe_yaml.read_text(f"a: {text}", "x", [])
            assert placed
            assert math.isclose(placed.plain()["a"], number, rel_tol=1e-6)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("2024-01-01", "2024-01-01"), ("1:30", "1:30"),
        ("1_000", "1_000"), ("true", True), ("False", False), ("~", None), ("", None), ("010", 10),
        ("0x1f", 31), ("1e5", 100000), ("-.inf", -math.inf),
        ("'1e-4'", "1e-4"), ("e5", "e5"), ("한국어", "한국어"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: object) -> None:
    found: list[recipe_yaml.Fault] = []
    placed = recipe_yaml.read_text(f"a: {text}", "x", found)
    assert placed
    assert placed.plain() == {"a": value}
    assert type(placed.plain()["a"]) is type(value)
    override = recipe_yaml.read_overrides([f"a={text}"], found)
    assert override.plain() == {"a": value}
    assert not found
    assert recipe_yaml.read_text(recipe_yaml.flow({"a": value}), "x", []).plain() == {"a": value}  # pyright: ignore


def test_whole_numbers_with_an_exponent_count() -> None:
    assert load("parent.yaml", ["train.steps=1e4"]).recipe.train.steps == 10_000


def test_text_and_booleans_are_no_numbers() -> None:
    assert faults("parent.yaml", "seed='7'", "train.clip=true", "train.compile=no") == [
        "override seed='7': '7' is not a whole number (got str)",
        "override train.clip=true: True is not a number (got bool)",
        "override train.compile=no: 'no' is not true or false (got str)",
    ]


def test_duplicate_keys_name_both_lines() -> None:
    name = edited("  batch_size: 16", "  batch_size: 16\n  lr: 1\n  lr: 2")
    assert faults(name) == ["my.yaml:10: train.lr: given twice, on line 9 and on line 10; keep one"]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [ls]", "!!python/name:os.x", "!run x", "!!binary aa"])
def test_tags_are_refused(tag: str) -> None:
    (fault,) = faults(edited("minutes: 8", f"minutes: 8\n  lr: {tag}"))
    assert fault.startswith("my.yaml:8: train.lr: the tag '!")
    assert fault.endswith("' is refused; write the plain value")
    (fault,) = faults("parent.yaml", f"train.lr={tag}")
    assert fault.startswith("override train.lr=!")


def test_core_tags_convert_or_say_so() -> None:
    assert load(edited("corpus: data/*.txt", "corpus: !!str 12")).recipe.corpus[0].path == "12"
    assert faults(edited("minutes: 8", "minutes: !!int x")) == ["my.yaml:7: train.minutes: 'x' cannot be read as int"]


def test_alias_bomb_is_refused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for one, two in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{two}: &{two} [{', '.join([f'*{one}'] * 10)}]\n"
    (fault,) = faults(write("bomb.yaml", bomb))
    assert "more than 20000 values once aliases are written out" in fault


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: " + "[" * 100 + "]" * 100, "a: " + "[" * 10_000])
def test_depth_is_limited(text: str) -> None:
    (fault,) = faults(write("deep.yaml", text))
    assert fault.startswith("deep.yaml")
    assert "nested" in fault


def test_aliases_and_anchors_work() -> None:
    name = edited("minutes: 8", "phases: [&p {length: 8, steps: 5}, *p]")
    assert load(name).recipe.train.phases == (Phase(length=8, steps=5),) * 2


def test_size_limit() -> None:
    (fault,) = faults(write("big.yaml", PARENT + "#" * 1_000_000))
    assert fault == "big.yaml: larger than 1000000 bytes; is this a recipe?"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a: 1\nb: [1\n", "my.yaml:3: not YAML: "),
        (b"a: 1\n\tb: 1\n", "my.yaml:2: not YAML: a tab; indent with spaces"),
        (b"a: 1\nb: \xff\n", "my.yaml:2: byte 8 is not UTF-8; save the file as UTF-8"),
        (b"a: 1\nb: \x07\n", "my.yaml:2: control character '\\x07'"),
        (b"a: 1\n---\nb: 1\n", "my.yaml:2: not YAML: but found another document"),
        (b"- a\n- b\n", "my.yaml:1: a recipe is `key: value` lines, not ['a', 'b']"),
        (b"a: *x\n", "my.yaml:1: not YAML: found undefined alias 'x'"),
    ],
)
def test_what_is_not_a_yaml_mapping(raw: bytes, expected: str) -> None:
    Path("my.yaml").write_bytes(raw)
    (fault,) = faults("my.yaml")
    assert fault.startswith(expected)


def test_byte_order_mark_and_odd_keys() -> None:
    Path("my.yaml").write_bytes(b"\xef\xbb\xbf" + PARENT.encode())
    assert load("my.yaml").recipe.name == "my"
    lines = faults(write("my.yaml", PARENT + '"a\\nb": 1\n? [x]\n: 1\n<<: {a: 1}\n'))
    assert [line.partition(";")[0] for line in lines] == [
        "my.yaml:9: 'a\\nb': unknown key",
        "my.yaml:10: a key is a word, not a list or mapping",
        "my.yaml:12: merge keys (<<) are not read",
    ]


# --- faults ---


def test_five_faults_are_five_lines() -> None:
    name = write(
        "recipes/my.yaml",
        """\
# a recipe with five faults
name: ../../etc
corpus: data/*.txt
objective:
  name: toy
  rat: 0.2
model:
  type: bert

train:
  micro_batch_sise: 24
  steps: 100

  lr: fast
  optimizer: adam
""",
    )
    lines = faults(name)
    assert lines == [
        "recipes/my.yaml:2: name: '../../etc' cannot name a folder; "
        "use letters, digits, - _ . (not first, not two in a row), 100 at most",
        "recipes/my.yaml:6: objective.rat: unknown key; did you mean objective.rate?",
        "recipes/my.yaml:11: train.micro_batch_sise: unknown key; did you mean train.micro_batch_size?",
        "recipes/my.yaml:14: train.lr: 'fast' is not a number (got str)",
        "recipes/my.yaml:15: train.optimizer: 'adam' is not one of adamw, muon, bert_adamw, lamb, adamw_rms, "
        "adafactor; did you mean adamw?",
    ]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.lr=fast", "'fast' is not a number (got str)"),
        ("train.lr=", "None is not a number (got null)"),
        ("train.lr=.inf", "inf is not a finite number (got float)"),
        ("train.clip=-1", "-1 is out of range; it must be at least 0"),
        ("train.steps=0", "0 is out of range; it must be at least 1"),
        ("evaluate.share=1", "1 is out of range; it must be below 1"),
        ("evaluate.examples=0", "0 is out of range; it must be at least 1"),
        ("train.betas=[0.9]", "[0.9] has too few entries"),
        ("train.betas=[0.9, 0.9, 0.9]", "[0.9, 0.9, 0.9] has too many entries; 2 at most"),
        ("train.phases=[]", "[] has too few entries; 1 at least"),
        ("train=5", "5 is not a section of keys (got int)"),
        ("objective=toy", "'toy' is not a section of keys (got str)"),
        ("corpus.encoding=3", "3 is not text or a list (got int)"),
        ("lr=3", "unknown key; did you mean train.lr?"),
        ("tokenizer.zzz=3", "unknown key; known here: kind, vocab_size, lowercase, path"),
        ("train.zzz=3", "unknown key; see `ptk recipes schema`"),
        ("extends=x.yaml", "belongs in a file, not in an override"),
        ("name=.hidden", "'.hidden' cannot name a folder"),
        ("name=a..b", "'a..b' cannot name a folder"),
        ("name=a/b", "'a/b' cannot name a folder"),
        ("objective.rate=2", "2 is out of range; it must be at most 1"),
        ("objective.name=toi", "'toi' is not an objective (known: other, toy); did you mean toy?"),
        ("objective.name=shared", "'shared' is not an objective (known: other, toy)"),
        ("foo", "not `key=value`; write it like train.lr=3e-4"),
        ("=3", "not `key=value`; write it like train.lr=3e-4"),
        ("a..b=3", "not `key=value`; write it like train.lr=3e-4"),
        ("train.betas=[0.9", "not YAML: "),
        ("model.hidden_size=x", "'x' is not a whole number (got str)"),
        ("model.hiden_size=3", "unknown key of model type bert; did you mean model.hidden_size?"),
        ("model.vocab_size=3", "follows from the tokenizer; set tokenizer.vocab_size instead"),
        ("model.type=brt", "'brt' is not a model type of transformers; did you mean bert?"),
    ],
)
def test_faults_of_overrides(override: str, fault: str) -> None:
    (line,) = faults("parent.yaml", override)
    assert line.startswith(f"override {override}: {fault}")


def test_faults_of_lists_and_missing_keys() -> None:
    name = write(
        "my.yaml",
        """\
corpus:
  - a.txt
  - path: b.txt
    wait: 2
  - weight: 2
  - 5
train:
  phases:
    - {length: 8, steps: 5}
    - {length: 8, batch_size: 2, batch_tokens: 3}
""",
    )
    assert faults(name) == [
        "my.yaml:1: objective.name: missing; one of other, toy",
        "my.yaml:1: model.type: missing; name a transformers model type such as bert, gpt2 or t5, or give init",
        "my.yaml:4: corpus[1].wait: unknown key; did you mean corpus.weight?",
        "my.yaml:5: corpus[2]: `path` is missing",
        "my.yaml:6: corpus[3]: 5 is not a section of keys (got int)",
        "my.yaml:10: train.phases[1]: `steps` is missing",
        "my.yaml:10: train.phases[1].batch_tokens: train.phases[1].batch_size is given too (my.yaml:10); "
        "keep one of the two",
    ]


def test_value_errors_of_an_objective_are_faults() -> None:
    assert faults(edited("rate: 0.2", "rate: 0.5")) == ["my.yaml:2: objective: rate 0.5 is odd; use 0.4"]


def test_an_empty_recipe_says_what_is_missing() -> None:
    lines = faults(write("my.yaml", "\n"))
    assert [line.split(": ")[1] for line in lines] == ["corpus", "train", "objective.name", "model.type"]


@pytest.mark.parametrize("corpus", ["corpus:", "corpus: []", "corpus: ''"])
def test_an_empty_corpus_is_a_fault(corpus: str) -> None:
    (fault,) = faults(edited("corpus: data/*.txt", corpus))
    assert fault.startswith("my.yaml:1: corpus: missing; name a file")


# --- rules between keys ---


@pytest.mark.parametrize(
    ("train", "fault"),
    [
        ("steps: 5\n  minutes: 8", "my.yaml:8: train.minutes: train.steps is given too (my.yaml:7); "),
        ("minutes: 8\n  epochs: 1", "my.yaml:8: train.epochs: train.minutes is given too (my.yaml:7); "),
        ("lr: 1", "my.yaml:6: train: how long is missing; give one of train.steps, train.epochs"),
        ("steps: null", "my.yaml:6: train: how long is missing"),
        ("steps: 5\n  batch_tokens: 64", "my.yaml:9: train.batch_size: train.batch_tokens is given too"),
        ("steps: 100\n  warmup: 100", "my.yaml:8: train.warmup: 100 steps, of 100 in all; give fewer"),
        ("warmup: 9\n  phases: [{length: 8, steps: 4}, {length: 9, steps: 5}]", "my.yaml:7: train.warmup: "),
        (
            "steps: 5\n  micro_batch_size: 1\n  micro_batch_tokens: 64",
            "my.yaml:9: train.micro_batch_tokens: train.micro_batch_size is given too",
        ),
        (
            "steps: 5\n  batch_ramp: {start: 12, steps: 3}",
            "my.yaml:8: train.batch_ramp.start: 12 does not divide train.batch_size 16 (my.yaml:9); use 8",
        ),
        (
            "steps: 5\n  batch_ramp: {start: 32, steps: 3}",
            "my.yaml:8: train.batch_ramp.start: 32 does not divide train.batch_size 16 (my.yaml:9); use 16",
        ),
        (
            "minutes: 5\n  batch_ramp: {start: 8, steps: 3}",
            "my.yaml:8: train.batch_ramp: not with train.minutes (my.yaml:7); give train.steps or train.epochs",
        ),
        (
            "batch_ramp: {start: 8, steps: 3}\n  phases: [{length: 8, steps: 4}]",
            "my.yaml:7: train.batch_ramp: not with train.phases (my.yaml:8); give train.steps or train.epochs",
        ),
        (
            "steps: 5\n  batch_ramp: {start: 8, steps: 3, stat: 8}",
            "my.yaml:8: train.batch_ramp.stat: unknown key; did you mean train.batch_ramp.start?",
        ),
    ],
)  # fmt: skip
def test_rules_of_train(train: str, fault: str) -> None:
    (line,) = faults(edited("minutes: 8", train))
    assert line.startswith(fault)


def test_a_ramp_leads_to_a_given_batch_size() -> None:
    ramp = "minutes: null\n  steps: 5\n  batch_ramp: {start: 8, steps: 3}"
    write("my.yaml", PARENT.replace("minutes: 8", ramp).replace("  batch_size: 16\n", ""))
    assert faults("my.yaml") == [
        "my.yaml:9: train.batch_ramp: leads to train.batch_size, which is missing; give it too"
    ]
    (fault,) = faults("my.yaml", "train.batch_size=16", "train.batch_ramp.start=0")
    assert fault.startswith("override train.batch_ramp.start=0: 0 is out of range")
    write("my.yaml", PARENT.replace("minutes: 8", ramp).replace("batch_size: 16", "batch_tokens: 64"))
    (fault,) = faults("my.yaml")
    assert fault == "my.yaml:10: train.batch_tokens: train.batch_ramp is given too (my.yaml:9); keep one of the two"


@pytest.mark.parametrize(
    ("override", "ramp"),
    [
        ("train.lr=1", BatchRamp(start=8, steps=3)),
        ("train.batch_size=32", BatchRamp(start=8, steps=3)),
        ("train.batch_ramp.start=4", BatchRamp(start=4, steps=3)),
        ("train.batch_tokens=64", None),
        ("train.batch_ramp=null", None),
    ],
)
def test_a_ramp_is_merged_and_taken_back(override: str, ramp: BatchRamp | None) -> None:
    name = edited("minutes: 8", "steps: 5\n  batch_ramp: {start: 8, steps: 3}")
    assert load(name, [override]).recipe.train.batch_ramp == ramp


@pytest.mark.parametrize("warmup", ["0.99", "99", "0"])
def test_shorter_warmups_pass(warmup: str) -> None:
    load("parent.yaml", ["train.steps=100", f"train.warmup={warmup}"])


def test_what_is_flat_until_its_warmup_may_end_before() -> None:
    """T5-7: the rate is 1 / sqrt(10000) until step 10,000."""
    load("parent.yaml", ["train.steps=100", "train.schedule=inverse_sqrt", "train.warmup=10000"])


@pytest.mark.parametrize("key", ["kind: bpe", "vocab_size: 99", "lowercase: true"])
def test_a_loaded_tokenizer_is_not_trained(key: str) -> None:
    (line,) = faults(write("my.yaml", f"{PARENT}tokenizer:\n  path: tok\n  {key}\n"))
    expected = f"tokenizer.{key.split(':')[0]}: tokenizer.path is given too (my.yaml:10); keep one of the two"
    assert line == f"my.yaml:11: {expected}"


# --- extends and overrides ---


def test_mappings_merge_and_the_rest_replaces() -> None:
    name = write("sub/child.yaml", "extends: ../parent.yaml\nmodel:\n  num_hidden_layers: 2\ntrain: {lr: 1e-3}\n")
    recipe = load(name).recipe
    assert recipe.name == "child"
    assert recipe.model == {"type": "bert", "hidden_size": 64, "num_hidden_layers": 2}
    assert (recipe.train.minutes, recipe.train.lr, recipe.train.batch_size) == (8, 1e-3, 16)
    assert recipe.objective["rate"] == 0.2
    write("sub/child.yaml", "extends: ../parent.yaml\ntrain: {betas: [0.8, 0.9]}\nmodel:\ncorpus: [a, b]\n")
    recipe = load("sub/child.yaml").recipe
    assert recipe.train.betas == (0.8, 0.9)
    assert recipe.corpus == (CorpusSource(path="a"), CorpusSource(path="b"))
    assert recipe.model["type"] == "bert"


def test_chains_and_bundled_names(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(recipe_file, "bundled", lambda: {"paper/base": folder / "parent.yaml"})
    write("b.yaml", "extends: paper/base\nseed: 1\ntrain: {lr: 1e-3}\n")
    write("c.yaml", "extends: b.yaml\ntrain: {clip: 2}\n")
    loaded = load("c.yaml")
    assert (loaded.recipe.seed, loaded.recipe.train.lr, loaded.recipe.train.clip) == (1, 1e-3, 2)
    assert loaded.origins["train.lr"] == "b.yaml:3"
    assert load("paper/base").recipe == load("parent.yaml").recipe


def test_circles_are_refused() -> None:
    write("b.yaml", "extends: a.yaml\n" + PARENT)
    write("a.yaml", "seed: 1\nextends: b.yaml\n")
    assert faults("a.yaml") == ["b.yaml:1: extends: a circle: a.yaml -> b.yaml -> a.yaml; take one out"]
    write("a.yaml", "extends: a.yaml\n" + PARENT)
    assert faults("a.yaml") == ["a.yaml:1: extends: a circle: a.yaml -> a.yaml; take one out"]


def test_a_missing_or_odd_parent_is_a_fault() -> None:
    (fault,) = faults(write("a.yaml", PARENT + "extends: parnt.yaml\n"))
    assert fault.startswith("a.yaml:9: extends: parnt.yaml: no such file")
    (fault,) = faults(write("a.yaml", PARENT + "extends: [parent.yaml]\n"))
    assert fault == "a.yaml:9: extends: ['parent.yaml'] is not one file or bundled name"


def test_faults_of_a_parent_are_told_at_its_lines() -> None:
    write("parent.yaml", PARENT.replace("hidden_size", "hiden_size"))
    assert [line.split(": ")[0] for line in faults(write("a.yaml", "extends: parent.yaml\nsed: 1\n"), "trak=x")] == [
        "a.yaml:2",
        "parent.yaml:5",
        "override trak=x",
    ]


@pytest.mark.parametrize(
    ("override", "train"),
    [
        ("train.steps=200", {"steps": 200}),
        ("train.minutes=1", {"minutes": 1}),
        ("train.epochs=0.5", {"epochs": 0.5}),
        ("train.phases=[{length: 8, steps: 3}]", {"phases": (Phase(length=8, steps=3),)}),
        ("train={steps: 4}", {"steps": 4}),
        ("train.batch_tokens=64", {"minutes": 8, "batch_tokens": 64, "batch_size": None}),
    ],
)
def test_an_alternative_displaces_its_parents(override: str, train: dict) -> None:
    batch = {} if "batch_tokens" in train else {"batch_size": 16}
    expected = TrainSpec(**{**batch, **train})
    assert load("parent.yaml", [override]).recipe.train == expected
    key, _, value = override.partition("=")
    section = value if key == "train" else f"{{{key.removeprefix('train.')}: {value}}}"
    assert load(write("child.yaml", f"extends: parent.yaml\ntrain: {section}\n")).recipe.train == expected


def test_null_takes_a_setting_back_and_displaces_nothing() -> None:
    assert load("parent.yaml", ["train.steps=null"]).recipe.train.minutes == 8
    assert load("parent.yaml", ["train.minutes=null", "train.steps=5"]).recipe.train.steps == 5
    (fault,) = faults("parent.yaml", "train.minutes=null")
    assert fault.startswith("parent.yaml:6: train: how long is missing")


def test_two_alternatives_in_one_layer_are_a_fault() -> None:
    (fault,) = faults("parent.yaml", "train.steps=2", "train.epochs=3")
    assert fault.startswith("override train.epochs=3: train.steps is given too (override train.steps=2)")


def test_another_objective_or_model_type_starts_anew() -> None:
    recipe = load("parent.yaml", ["objective.name=other", "objective.depth=0.1", "model.type=gpt2"]).recipe
    assert recipe.objective["depth"] == 0.1
    assert "rate" not in recipe.objective
    assert recipe.model == {"type": "gpt2"}
    recipe = load("parent.yaml", ["objective.name=toy", "model.type=bert"]).recipe
    assert (recipe.objective["rate"], recipe.model["hidden_size"]) == (0.2, 64)


def test_tokenizer_path_and_kind_displace_each_other() -> None:
    write("train.yaml", PARENT + "tokenizer: {kind: bpe, vocab_size: 99, lowercase: true}\n")
    assert load("train.yaml", ["tokenizer.path=tok"]).recipe.tokenizer == TokenizerSpec(path="tok")
    write("given.yaml", PARENT + "tokenizer: {path: tok}\n")
    assert load("given.yaml", ["tokenizer.kind=bpe"]).recipe.tokenizer == TokenizerSpec(kind="bpe")
    (fault,) = faults("given.yaml", "tokenizer.lowercase=true")  # trains one, or does nothing: neither was asked for
    assert fault.startswith("override tokenizer.lowercase=true: tokenizer.path is given too (given.yaml:9)")


def test_of_two_overrides_the_last_counts() -> None:
    assert load("parent.yaml", ["seed=1", "seed=2"]).recipe.seed == 2


# --- corpus ---


@pytest.mark.parametrize(
    ("corpus", "sources"),
    [
        ("a.txt", [{"path": "a.txt"}]),
        ("{path: a.csv, text: body}", [{"path": "a.csv", "text": "body"}]),
        ("[a.txt, {path: b.txt, weight: 2}]", [{"path": "a.txt"}, {"path": "b.txt", "weight": 2.0}]),
        ("{path: a, encoding: [utf-8, cp949]}", [{"path": "a", "encoding": ("utf-8", "cp949")}]),
    ],
)
def test_corpus_forms(corpus: str, sources: list[dict]) -> None:
    expected = tuple(CorpusSource(**source) for source in sources)
    assert load(edited("data/*.txt", corpus)).recipe.corpus == expected
    assert load("parent.yaml", [f"corpus={corpus}"]).recipe.corpus == expected or corpus.startswith("{")
    with_errors = tuple(dataclasses.replace(source, encoding_errors="replace") for source in expected)
    assert load("my.yaml", ["corpus.encoding_errors=replace"]).recipe.corpus == with_errors
    name = write("child.yaml", "extends: my.yaml\ncorpus: {encoding_errors: replace}\n")
    assert load(name).recipe.corpus == with_errors


def test_corpus_globs_need_no_yaml_quotes() -> None:
    assert load("parent.yaml", ["corpus=*.txt"]).recipe.corpus == (CorpusSource(path="*.txt"),)
    assert load("parent.yaml", ["corpus=a: b #c"]).recipe.corpus == (CorpusSource(path="a: b #c"),)


# --- open sections ---


def test_build_objective() -> None:
    loaded = load("parent.yaml", ["objective.spans=[3]", "fidelity=paper"])
    built = build_objective(loaded.recipe)
    assert (built.rate, built.second, built.spans) == (0.2, "next", (3,))
    assert built.fidelity == "paper"  # the recipe's, where the objective leaves it out
    assert loaded.recipe.objective["fidelity"] is None
    with pytest.raises(RecipeError, match="unknown key"):
        build_objective(dataclasses.replace(loaded.recipe, objective={"name": "toy", "rote": 1}))


def test_objectives_of_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    def plugin(load) -> None:
        point = types.SimpleNamespace(value="pkg:Mine", load=load)
        monkeypatch.setattr(ptk.objectives, "plugins", lambda: {"mine": point})

    mine = dataclasses.make_dataclass("Mine", [("depth", int, 3)], frozen=True)
    plugin(lambda: mine)
    assert ptk.objectives.names() == ["mine", "other", "toy"]
    assert build_objective(load("parent.yaml", ["objective.name=mine"]).recipe).depth == 3
    # It forbids nothing itself; ptk does.
    (fault,) = faults("parent.yaml", "objective.name=mine", "objective.dept=2")
    assert fault == "override objective.dept=2: unknown key; did you mean objective.depth?"
    plugin(lambda: 1 / 0)
    (fault,) = faults("parent.yaml", "objective.name=mine")
    assert "the plug-in pkg:Mine does not import (ZeroDivisionError" in fault
    plugin(lambda: dict)
    (fault,) = faults("parent.yaml", "objective.name=mine")
    assert "the plug-in pkg:Mine is not a dataclass" in fault


def test_model_settings_go_by_the_classes_own_names() -> None:
    from transformers import T5Config

    recipe = load("parent.yaml", ["model.type=t5", "model.num_hidden_layers=2", "model.initializer_factor=1"]).recipe
    settings = model_settings(recipe)
    assert settings == {"num_layers": 2, "initializer_factor": 1.0}
    assert T5Config(**settings).num_decoder_layers == 2
    assert load("parent.yaml", ["model.type=t5", "model.tie_word_embeddings=false"])


def test_one_setting_by_two_names_is_a_fault() -> None:
    (fault,) = faults("parent.yaml", "model={type: gpt2, n_embd: 8, hidden_size: 16}")
    assert "model.hidden_size: the same setting as model.n_embd" in fault


def test_what_the_configuration_class_refuses_is_a_fault() -> None:
    (fault,) = faults("parent.yaml", "model={type: t5, feed_forward_proj: a-b-c}")
    assert "}: T5Config refuses these settings: `feed_forward_proj`: a-b-c is not a valid" in fault


def test_init_brings_its_own_model() -> None:
    recipe = load(edited("model:\n  type: bert\n  hidden_size: 64\n", "init: google-bert/bert-base-uncased\n")).recipe
    assert (recipe.model, model_settings(recipe)) == ({}, {})
    assert len(faults("my.yaml", "model.vocab_size=3")) == 1


# --- finding, writing, showing ---


def test_unknown_recipes_are_named_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_file, "bundled", lambda: {"bert-mlm-nsp": Path("x"), "paper/bert-base": Path("y")})
    assert faults("bert-mlm") == [
        "bert-mlm: no such file and no bundled recipe; did you mean bert-mlm-nsp? "
        "(bundled: bert-mlm-nsp, paper/bert-base)"
    ]
    assert faults("recipes/bert-mlm-nsp.yml")[0].startswith(
        "recipes/bert-mlm-nsp.yml: no such file; did you mean bert-mlm-nsp?"
    )
    write("runs/x/recipe.yaml", PARENT)
    assert faults("runs/x") == ["runs/x: a folder, not a recipe; did you mean runs/x/recipe.yaml?"]


def test_bundled_recipes_lie_in_the_package_or_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_file, "__file__", str(Path("site/ptk/recipe_file.py").resolve()))
    write("site/recipes/paper/base.yaml", PARENT)
    assert list(bundled()) == ["paper/base"]
    write("site/ptk/recipes/b.yaml", PARENT)
    write("site/ptk/recipes/a.yaml", PARENT)
    assert bundled() == {
        "a": Path("site/ptk/recipes/a.yaml").resolve(),
        "b": Path("site/ptk/recipes/b.yaml").resolve(),
    }


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my recipe.yaml", "my-recipe"),
        ("한국어.yaml", "한국어"),
        (".x.yaml", "x"),
        ("a..b.yaml", "a-b"),
        ("().yaml", "run"),
    ],
)
def test_the_files_name_is_the_default(file: str, name: str) -> None:
    assert load(write(file, PARENT)).recipe.name == name
    assert load(file, ["name=other"]).recipe.name == "other"


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [
            "train.steps=7",
            "train.lr=1e-7",
            "name=no",
            "track=wandb",
            "evaluate.tail=0.1",
            "corpus.text='1e-4'",
        ],
        [
            "tokenizer={path: 한국어/tok, extend: 40, special_tokens: ['[NEW]']}",
            "train.phases=[{length: 8, steps: 3}, {length: 9, steps: 1, batch_tokens: 99}]",
        ],
        ["corpus=[a, {path: b, encoding: [utf-8, cp949], weight: 1e-3}]", "train.batch_tokens=512"],
        [
            "model={type: gpt2, n_inner: null, hidden_size: 8, id2label: {0: a, 1: b}}",
            "objective.spans=[4, 5]",
        ],
        ["train.steps=9", "train.batch_ramp={start: 8, steps: 3}", "train.optimizer=adafactor"],
        ["objective.fidelity=paper", "train.eps=1e-30", "init='  x: #y '", "name=2024-01-01"],
    ],
)
def test_round_trip(overrides: list[str]) -> None:
    recipe = load("parent.yaml", overrides).recipe
    text = dump(recipe)
    assert load(write("written.yaml", text)).recipe == recipe
    assert dump(load("written.yaml").recipe) == text
    # Complete: every field that has a value is written, so that no default of another version creeps in.
    written = yaml.safe_load(text)
    assert written["train"]["clip"] == 1.0
    assert written["objective"]["second"] == "next"


def test_what_may_be_null_is_null_by_default() -> None:
    """``dump`` leaves nulls out, which says the same only while this holds."""
    for kind in (Recipe, TrainSpec, Phase, BatchRamp, EvaluateSpec, TokenizerSpec, CorpusSource):
        for field in dataclasses.fields(kind):
            members = typing.get_args(field.type)
            if isinstance(field.type, types.UnionType | typing._UnionGenericAlias) and type(None) in members:  # type: ignore
                assert field.default is None, f"{kind.__name__}.{field.name}"


def test_origins_and_show() -> None:
    write("child.yaml", "extends: parent.yaml\n\nseed: 7\ncorpus:\n  - a.txt\n  - {path: b.txt}\n")
    loaded = load("child.yaml", ["train.steps=200"])
    expected = {
        "name": "default",
        "seed": "child.yaml:3",
        "corpus[0].path": "child.yaml:5",
        "corpus[1].path": "child.yaml:6",
        "corpus[1].weight": "default",
        "objective.name": "parent.yaml:2",
        "objective.rate": "parent.yaml:2",
        "objective.second": "default",
        "model.hidden_size": "parent.yaml:5",
        "train.steps": "override",
        "train.minutes": "default",
        "train.batch_size": "parent.yaml:8",
        "train.lr": "default",
    }
    assert {key: loaded.origins[key] for key in expected} == expected
    assert loaded.path == Path("child.yaml")
    lines = show(loaded).split("\n")
    assert len(lines) == len(loaded.origins)
    assert "seed: 7   # child.yaml:3" in lines
    assert "train.steps: 200   # override" in lines
    assert "train.betas: [0.9, 0.999]   # default" in lines
    assert load("parent.yaml").origins["corpus.path"] == "parent.yaml:1"


def test_schema_describes_every_key() -> None:
    found = schema()
    json.dumps(found)
    properties = found["properties"]
    assert set(properties) == {field.name for field in dataclasses.fields(Recipe)} | {"extends"}
    train = found["$defs"]["TrainSpec"]["properties"]
    assert train["steps"]["description"] == "Optimizer updates."
    assert len(properties["corpus"]["anyOf"]) == 3
    names = [choice["properties"]["name"] for choice in properties["objective"]["oneOf"]]
    assert names == [{"const": "other"}, {"const": "toy"}]
    toy = properties["objective"]["oneOf"][1]
    assert toy["properties"]["rate"]["description"] == "Share of the positions to predict."
    assert toy["additionalProperties"] is False
    assert properties["model"]["additionalProperties"] is True
    own = properties["model"]["properties"]
    assert own["positions"] == {"enum": ["learned", "sinusoidal", "none"], "description": "Of bert, electra, albert."}
    assert own["sharing"]["enum"] == ["all", "attention", "ffn", "none"]


def test_imports_stay_light() -> None:
    program = "import sys, ptk.recipe_file; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    root = Path(recipe_yaml.__file__).parents[1]
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "set()"
    program = "import sys, ptk.recipe; print({'pydantic', 'yaml', 'torch'} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "set()"


def test_a_corpus_given_by_override_takes_its_keys_by_override_too(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("corpus: {path: a, text: body}\nobjective: {name: toy}\nmodel: {type: bert}\ntrain: {steps: 3}\n")
    words = ["corpus=b", "corpus.encoding=[utf-8, cp1252]", "corpus.encoding_errors=skip"]
    (source,) = load(str(path), words).recipe.corpus
    assert (source.path, source.text) == ("b", None)  # corpus= replaces what the file said
    assert (source.encoding, source.encoding_errors) == (("utf-8", "cp1252"), "skip")
