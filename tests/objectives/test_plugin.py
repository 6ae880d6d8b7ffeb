"""An objective of another package, found by its entry point alone, trains like those of ptk."""

import subprocess
import sys
from pathlib import Path

from ptk.run import Run

TOY = '''
"""Predict every token of a row from itself: the smallest objective there is."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ptk.metrics import Mean
from ptk.objectives.objective import Objective, Table
from ptk.recipe import STRICT


@dataclass(frozen=True, kw_only=True)
class Copy(Objective):
    __pydantic_config__ = STRICT

    weight: float = 1.0
    fidelity: Literal["fixed", "paper"] | None = None
    rows_depend_on: ClassVar[tuple[str, ...]] = ()
    padding: ClassVar[dict[str, int]] = {"labels": -100}

    @property
    def weights(self):
        return {"copy": self.weight}

    def rows(self, documents, block, length, rng):
        starts = np.concatenate([documents.boundaries(piece)[:-1] for piece in block])
        stops = np.concatenate([documents.boundaries(piece)[1:] for piece in block])
        spans = np.stack([starts, np.minimum(stops, starts + length)], axis=1)
        return Table(np.arange(len(spans) + 1), spans, {})

    def encode(self, row, tokenizer, rng):
        return {"input_ids": row.segments[0], "labels": row.segments[0]}

    def model(self, settings, tokenizer, length):
        from ptk.models import build

        return build.model("masked_lm", settings, tokenizer, length)

    def counts(self, batch):
        return {"copy": int((batch["labels"] != -100).sum())}

    def loss(self, model, batch):
        from ptk.objectives.losses import classification

        return classification("copy", model(input_ids=batch["input_ids"]).logits, batch["labels"])

    def show(self, example, tokenizer):
        return "a copy", [(piece, "first") for piece in tokenizer.tokens(example["input_ids"])]

    def answer(self, model, batch, tokenizer):
        return tokenizer.decode(model(input_ids=batch["input_ids"]).logits[0].argmax(-1).tolist())
'''


def test_an_objective_of_another_package_trains(tiny, tmp_path: Path, environment):
    site = tmp_path / "site"
    about = site / "toycopy-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "toycopy.py").write_text(TOY)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toycopy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[ptk.objectives]\ncopy = toycopy:Copy\n")
    path = tiny(objective="{name: copy}")
    command = [sys.executable, "-m", "ptk", "pretrain", str(path), "train.steps=60", "train.lr=1e-2"]
    environment = environment | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [*command, "--run", str(tmp_path / "run")], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in Run(tmp_path / "run").metrics() if line["split"] == "validation"]
    assert lines[-1]["copy"] < lines[0]["copy"] / 2
    assert (tmp_path / "run" / "model" / "config.json").exists()
    listed = [sys.executable, "-m", "ptk", "pretrain", str(path), "objective={name: kopy}"]
    refused = subprocess.run(listed, env=environment, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "did you mean copy?" in refused.stderr.replace("\n", " ")
