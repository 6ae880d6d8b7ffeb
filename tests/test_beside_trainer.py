"""Without dropout, whole runs are step for step those of transformers' Trainer, where that one is right: in one piece.

The same rows in the same order, bf16 aside: losses of every step under a falling learning rate, weight decay and
clipping, and the weights at the end.
"""

import sys
from pathlib import Path

import pytest
import torch
from conftest import sections_of
from running import session
from tiny_tasks import write_recipe
from torch import nn
from transformers import Trainer

sys.path.append(str(Path(__file__).parent / "bench"))
from by_trainer import arguments  # type: ignore[import-not-found]

from ptk import engine
from ptk.checkpoint import State
from ptk.objectives.objective import IGNORE, Batch

STEPS = 8
SETTINGS = ("train.lr=1e-3", "train.eps=1e-6", "train.warmup=0")
ONE_PIECE = "train.micro_batch_size=16"
HEADS = ("classification", "classification-decoder", "regression", "multiple_choice", "tagging")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def for_transformers(batch: Batch) -> Batch:
    """By the names of transformers' classes, with a label at every position where they have one at each."""
    kept = {name: batch[name] for name in INPUTS if name in batch}
    if "positions" in batch:  # of tags, which ptk keeps without the positions that have none
        rows, nth = (batch["labels"] != IGNORE).nonzero(as_tuple=True)
        labels = torch.full_like(batch["input_ids"], IGNORE)
        labels[rows, batch["positions"][rows, nth]] = batch["labels"][rows, nth]
        return {**kept, "labels": labels}
    return {**kept, "labels": batch["labels"]}


def by_trainer(model: torch.nn.Module, batches: list[Batch], folder, decay: float, clip: float) -> list[float]:
    losses = []

    class Told(Trainer):
        def training_step(self, *given, **named):
            loss = super().training_step(*given, **named)
            losses.append(float(loss))
            return loss

    settings = arguments(
        folder,
        max_steps=len(batches),
        per_device_train_batch_size=1,
        learning_rate=1e-3,
        weight_decay=decay,
        max_grad_norm=clip,
        adam_epsilon=1e-6,  # a smaller one makes steps of rounding where gradients vanish
        lr_scheduler_type="linear",
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
    )
    Told(model, settings, lambda one: one[0], batches).train()
    return losses


@pytest.mark.usefixtures("every_piece")
@pytest.mark.parametrize("name", [*HEADS, "span_corruption-iid"])
def test_every_step_is_the_trainers(tiny, tmp_path, name):
    path = write_recipe(name, tmp_path, 0.0) if name in HEADS else tiny(**sections_of(name, dropout=0.0))
    # By its name, relative_attention_bias, the Trainer takes T5's table of positions for a bias, and decays it not.
    decay, clip = 1.0 if name in HEADS else 0.0, 0.003 if name == "multiple_choice" else 0.3
    made = session(
        path,
        *SETTINGS,
        f"train.weight_decay={decay}",
        f"train.clip={clip}",
        f"train.steps={STEPS}",
        "train.batch_size=16",
        ONE_PIECE,
    )
    model = made.fresh_model()
    training, state = made.training(model), State()
    training.strategy.module.train()
    batches = [made.batches()[step] for step in range(STEPS)]
    ours, norms = [], []
    for batch in batches:
        losses, norm, _ = training.step(batch, state, (0, 0))
        norms.append(norm)
        ours.append(float(engine.report(made.objective, losses)["loss"]))
    assert all(len(batch) == 1 for batch in batches)
    assert max(norms) > clip
    other = made.fresh_model()
    theirs = by_trainer(other, [for_transformers(batch[0]) for batch in batches], tmp_path / "trainer", decay, clip)
    assert ours == pytest.approx(theirs, rel=1e-5)
    start, mine, its = (nn.utils.parameters_to_vector(one.parameters()) for one in (made.fresh_model(), model, other))
    assert (mine - its).norm() < 5e-3 * (its - start).norm()
