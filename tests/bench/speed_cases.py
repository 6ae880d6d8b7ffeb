"""The cases of ``tests/bench/speed.py``: what is trained, and its batches, made once by ptk's own objective. C: on a
CPU, H: on a GPU.

A case's folder in ptk's cache holds the configuration of its networks (of ELECTRA a second one in ``generator/``), the
batches of STORED steps in both layouts, and facts.json: so ptk and its peers see the same tokens, corruption and labels
in the same order, and none of them pays for making them. Weights are drawn anew by each process from one seed.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import speed_flops
import torch
from torch import Tensor

from ptk import device, files
from ptk.objectives.objective import IGNORE, Batch, Objective
from ptk.recipe import CorpusSource, Recipe, TokenizerSpec, TrainSpec

STORED = 12  # steps; a longer run begins with the first again
SEED = 1  # of the initial weights
VERSION = 1  # of what a case's folder holds
LR, WEIGHT_DECAY, CLIP, EPS = 1e-4, 0.01, 1.0, 1e-8  # of all peers; EPS is the Trainer's
GENERATOR = "generator"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model on one kind of rows. Dropout is what transformers' configuration has."""

    about: str
    tokenizer: str
    vocabulary: int
    """Of the model. The tokenizer has ``entries``: the corpus has no 50,257, and no step gets faster by that."""
    objective: Mapping[str, Any]
    model: Mapping[str, Any]
    """``type`` and the settings of its configuration class."""
    rows: int
    length: int
    window: int = 1
    """``train.length_window``."""
    asked_only: bool = False
    """Run only when named."""
    on: str = "cpu"
    """The kind of device that it is for."""
    entries: int = 8192
    corpus: CorpusSource = field(default_factory=lambda: CorpusSource(path="python-docs"))

    def recipe(self) -> Recipe:
        """What ``ptk pretrain`` would run."""
        train = TrainSpec(
            steps=STORED,
            length=self.length,
            batch_size=self.rows,
            length_window=self.window,
            lr=LR,
            weight_decay=WEIGHT_DECAY,
            clip=CLIP,
            eps=EPS,
            schedule="constant",
            warmup=0,
        )
        spec = TokenizerSpec(kind=self.tokenizer, vocab_size=self.entries, lowercase=self.tokenizer != "bpe")  # type: ignore[arg-type]
        made = {"corpus": (self.corpus,), "tokenizer": spec, "objective": self.objective, "model": self.model}
        return Recipe(name="bench", train=train, **made)


MLM_NSP, MLM_SOP = {"name": "mlm"}, {"name": "mlm", "second_segment": "order", "masking": "ngram"}
RTD = {"name": "rtd", "generator_size": 0.25, "generator_layers": 1.0}  # as published
SIZE = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
GPT = {"type": "gpt2", "n_embd": 256, "n_layer": 4, "n_head": 4}
T5 = {"type": "t5", "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 4, "num_heads": 4}

C1 = Case(
    about="BERT 4x256, MLM + NSP",
    tokenizer="wordpiece",
    vocabulary=30522,
    objective=MLM_NSP,
    model={"type": "bert", **SIZE},
    rows=32,
    length=128,
)
C3 = Case(
    about="GPT-2 4x256",
    tokenizer="bpe",
    vocabulary=50257,
    objective={"name": "causal_lm"},
    model=GPT,
    rows=8,
    length=256,
)
BASE = replace(C1, about="BERT-base, MLM + NSP", model={"type": "bert"}, rows=256, on="cuda")
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SMALL = {"hidden_size": 256, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 1024}
CASES = {
    "C1a": C1,
    "C1b": replace(C1, vocabulary=8192),
    "C1c": replace(C1, about=f"{C1.about}, batches of like length", window=STORED),
    "C2": replace(C1, about="BERT-base, MLM + NSP", model={"type": "bert"}, rows=8),
    "C3a": C3,
    "C3b": replace(C3, vocabulary=8192),
    "C3c": replace(C3, about="GPT-2 124M", model={"type": "gpt2"}, rows=2, length=1024, asked_only=True),
    "C4": Case(
        about="T5 4+4x256",
        tokenizer="unigram",
        vocabulary=32128,
        objective={"name": "span_corruption"},
        model=T5,
        rows=8,
        length=512,
    ),
    "C5a": replace(C1, about="ELECTRA-small", objective=RTD, model={"type": "electra", "embedding_size": 128, **SMALL}),
    "C5b": replace(
        C1,
        about="ALBERT 4x256, MLM + SOP",
        tokenizer="unigram",
        vocabulary=8192,
        objective=MLM_SOP,
        model={"type": "albert", "embedding_size": 128, **SIZE},
    ),
    "C5c": replace(
        C1,
        about="ELECTRA 4x256, generator 2x64",
        vocabulary=8192,
        objective={**RTD, "generator_layers": 0.5},
        model={"type": "electra", "embedding_size": 128, **SIZE},
        asked_only=True,
    ),
    "H1a": BASE,
    "H1b": replace(BASE, length=512, rows=64),
    "H2": replace(BASE, about="BERT-large, MLM + NSP", model={"type": "bert", **LARGE}, length=512, rows=32),
    "H3": replace(C3, about="GPT-2 124M", model={"type": "gpt2"}, rows=16, length=1024, on="cuda"),
    "H4": Case(
        about="T5-base",
        tokenizer="unigram",
        vocabulary=32128,
        objective={"name": "span_corruption"},
        model={"type": "t5", "d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
        rows=64,
        length=512,
        on="cuda",
    ),
    "H5a": replace(
        BASE, about="ELECTRA-small", objective=RTD, model={"type": "electra", "embedding_size": 128, **SMALL}
    ),
    "H5b": replace(
        BASE,
        about="ELECTRA-base",
        objective={**RTD, "generator_size": 1 / 3},
        model={"type": "electra", "embedding_size": 768, "hidden_size": 768, "num_hidden_layers": 12},
    ),
}


# Making a case's folder -----------------------------------------------------------------------------------------------


def prepared(case: Case) -> Path:
    """The folder of a case; it is made now when it is not there."""
    key = files.fingerprint("speed", VERSION, STORED, case)
    folder = files.cache_folder() / "bench" / key
    if not folder.exists():
        shutil.rmtree(aside := folder.with_name(f".{key}-{os.getpid()}"), ignore_errors=True)
        aside.mkdir(parents=True)
        write(case, aside)
        os.rename(aside, folder)
    return folder


def write(case: Case, folder: Path) -> None:
    """Configurations, batches and facts, from the corpus."""
    from ptk.data import batches, prepare
    from ptk.pretraining import make_plan
    from ptk.progress import Talk
    from ptk.session import objective_of

    recipe = case.recipe()
    objective = objective_of(recipe)
    data = prepare.prepare(recipe.corpus, recipe.tokenizer, Talk(quiet=True))
    for path, config in configurations(case, objective, data.tokenizer).items():
        config.save_pretrained(folder / path)
    plan = make_plan(recipe, objective, data)
    whole = batches.Batches(plan, data.tokenizer, batches.Division())
    ready = [without_last_label(step[0]) for step in map(whole.__getitem__, range(STORED))]
    layouts = {"ptk": ready, "peer": [for_transformers(batch, objective) for batch in ready]}
    for layout, steps in layouts.items():
        named = ((f"{step} {name}", array) for step, batch in enumerate(steps) for name, array in batch.items())
        arrays: dict[str, Any] = {key: array.numpy() for key, array in named}
        np.savez_compressed(folder / f"{layout}.npz", **arrays)
    flops = speed_flops.step_flops(networks(folder), layouts["peer"][0])
    files.write_json(folder / "facts.json", {"tokens": [objective.tokens(batch) for batch in ready], "flops": flops})


def named(text: str) -> list[str]:
    """Names of cases; ``all``: those of this machine's device that need not be asked for."""
    if text == "all":
        return [name for name, case in CASES.items() if case.on == device.kind() and not case.asked_only]
    if unknown := set(text.split(",")) - CASES.keys():
        raise SystemExit(f"--case: {', '.join(sorted(unknown))} unknown; there are {', '.join(CASES)}")
    return text.split(",")


def configurations(case: Case, objective: Any, tokenizer: Any) -> dict[str, Any]:
    """Path in the folder -> configuration, the special ids the tokenizer's, the vocabulary the case's."""
    from ptk.models import build

    found = {"": build.config(case.model, tokenizer)}
    if case.objective["name"] == "rtd":
        found[GENERATOR] = build.config(objective.generator_settings(case.model, found[""]), tokenizer)
    for config in found.values():
        config.vocab_size = case.vocabulary
    return found


def without_last_label(batch: Batch) -> Batch:
    """A decoder of transformers shifts the labels itself, so the last position has none: here for all."""
    if "labels" not in batch or batch["labels"].shape != batch["input_ids"].shape:
        return batch
    labels = batch["labels"].clone()
    labels[:, -1] = IGNORE
    return {**batch, "labels": labels}


def for_transformers(batch: Batch, objective: Objective) -> Batch:
    """The same batch with ``labels`` at every position [B, T], by the names of transformers' classes.

    ELECTRA's uniform numbers come along at the positions they are for.
    """
    kept = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask") if name in batch}
    if "masked_labels" in batch:
        kept["labels"] = spread(batch, "masked_labels", IGNORE)
        if "uniform" in batch:
            kept["uniform"] = spread(batch, "uniform", 0)
        second = {"nsp": "next_sentence_label", "sop": "sentence_order_label"}
        for name in objective.weights.keys() & second.keys():
            kept[second[name]] = batch["next_sentence_label"]
        return kept
    labels = batch["labels"]
    if labels.shape == batch["input_ids"].shape:  # of a decoder: position t holds the token t, not t + 1
        labels = torch.cat([torch.full_like(labels[:, :1], IGNORE), labels[:, :-1]], dim=1)
    return {**kept, "labels": labels}


def spread(batch: Batch, name: str, empty: int) -> Tensor:
    """Values [B, K] at ``masked_positions`` [B, K] as [B, T], ``empty`` elsewhere."""
    rows, nth = (batch["masked_labels"] != IGNORE).nonzero(as_tuple=True)
    found = torch.full(batch["input_ids"].shape, empty, dtype=batch[name].dtype)
    found[rows, batch["masked_positions"][rows, nth]] = batch[name][rows, nth]
    return found


# Using it -------------------------------------------------------------------------------------------------------------


def networks(folder: Path, dropout: bool = True) -> list[Any]:
    """The case's model with its initial weights; of ELECTRA discriminator and generator, two models yet."""
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForPreTraining

    torch.manual_seed(SEED)
    made = []
    for path, auto in ((folder, AutoModelForPreTraining), (folder / GENERATOR, AutoModelForMaskedLM)):
        if not path.exists():
            continue
        config = AutoConfig.from_pretrained(path)
        if not dropout:
            off = {name: 0.0 for name, value in vars(config).items() if "drop" in name and isinstance(value, float)}
            vars(config).update(off)
        made.append(auto.from_config(config))
    return made


def load(folder: Path, layout: str) -> list[Batch]:
    """The stored batches in the ``layout`` of ``ptk`` or of a ``peer``."""
    steps: list[Batch] = [{} for _ in range(STORED)]
    with np.load(folder / f"{layout}.npz") as found:
        for key, array in found.items():
            step, name = key.split(" ")
            steps[int(step)][name] = torch.from_numpy(array)
    return steps
