"""Cases of ``tests/bench/learning.py``: what each budget recipe changes, and transformers' Trainer on its batches."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from by_trainer import arguments
from torch import nn

RECIPES = Path(__file__).resolve().parent / "budget"
BASE, ALL = "published settings", "all together"
ADAMW, NO_WARMUP = "train.optimizer=adamw", "train.warmup=0.01"
BERT_DROPOUT = ["model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.1"]
GPT_DROPOUT = [f"model.{name}=0.1" for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")]
ADAFACTOR = ["train.optimizer=adafactor", "train.lr=1e-2", "train.schedule=inverse_sqrt", "train.warmup=10000"]
SHORT_FIRST = "train.phases=[{length: 64, batch_size: 64, steps: $half}, {length: 128, batch_size: 32, steps: $half}]"
RATES = {f"all, with a rate of {rate}": [f"train.lr={rate}"] for rate in ("1e-3", "4e-3")}
T5_SHAPE = ["feed_forward_proj=relu", "tie_word_embeddings=true", "d_ff=1024"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A budget recipe, and the words that take its changes away or make others. $half: steps of half of a base run."""

    name: str
    measure: str
    """The loss that counts."""
    published: Mapping[str, list[str]]
    """Change -> what puts the published setting back in its place."""
    tried: Mapping[str, list[str]] = field(default_factory=dict)
    """Change that is not in the recipe -> what makes it, over the base."""
    over: Mapping[str, list[str]] = field(default_factory=dict)
    """The same, over the recipe."""

    @property
    def recipe(self) -> Path:
        return RECIPES / f"{self.name}.yaml"

    def named(self) -> list[str]:
        return [BASE, *self.published, *self.tried, ALL, *self.over]

    def words(self, change: str) -> list[str]:
        """Overrides of the recipe for the base, one change over it, or all of them."""
        if change == ALL or change in self.over:
            return self.over.get(change, [])
        kept = [words for name, words in self.published.items() if name != change]
        return [word for words in (*kept, self.tried.get(change, [])) for word in words]


CASES = {
    case.name: case
    for case in (
        Case(
            name="bert",
            measure="mlm",
            published={
                "learning rate of the budget": ["train.lr=1e-4", NO_WARMUP],
                "no dropout": BERT_DROPOUT,
                "mask rate 30 to 15 %": ["objective.mask_rate=0.15"],
                "Muon": [ADAMW],
            },
            tried={
                "short rows first": [SHORT_FIRST],
                "batch ramp": ["train.steps=$all", "train.batch_ramp={start: 8, steps: $half}"],
            },
            over={**RATES, "all, 2 layers": ["model.num_hidden_layers=2"]},
        ),
        Case(
            name="gpt",
            measure="clm",
            published={
                "learning rate of the budget": ["train.lr=2.5e-4", "train.schedule=cosine", NO_WARMUP],
                "no dropout": GPT_DROPOUT,
                "Muon": [ADAMW],
            },
            over={**RATES, "all, 2 layers": ["model.n_layer=2"]},
        ),
        Case(
            name="t5",
            measure="span",
            published={
                "Muon, a falling rate": ADAFACTOR,
                "gated units": [f"model.{word}" for word in T5_SHAPE],
                "no dropout": ["model.dropout_rate=0.1"],
            },
            over={**RATES, "all, 2 layers": ["model.num_layers=2"]},
        ),
    )
}


def shares(steps: int) -> dict[str, int]:
    """What words may name: parts of the base's steps."""
    return {"all": steps, "half": max(1, steps // 2)}


def by_trainer(session: Any, model: nn.Module) -> list[float]:
    """Train ``model`` on all of the session's batches; the seconds of every step.

    Optimizer and schedule are ptk's, which has more of them: the mathematics of a step is the same for both.
    """
    import tempfile

    from speed_cases import for_transformers, without_last_label
    from torch.optim.lr_scheduler import LambdaLR
    from torch.utils.data import IterableDataset
    from transformers import Trainer, TrainerCallback

    made, settings, steps = session.training(model), session.recipe.train, session.plan.steps
    batches, ends = session.batches(), [time.monotonic()]

    class Steps(IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            for step in range(steps):
                yield for_transformers(without_last_label(batches[step][0]), session.objective)

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.monotonic())

    schedule = LambdaLR(made.strategy.optimizer.optimizer, lambda step: made.lr(step) / settings.lr)
    with tempfile.TemporaryDirectory() as out:
        asked = arguments(
            out,
            max_steps=steps,
            per_device_train_batch_size=1,  # of whole batches
            max_grad_norm=settings.clip,
            bf16=True,
            remove_unused_columns=False,
        )
        optimizers: Any = (made.strategy.optimizer.optimizer, schedule)
        Trainer(model, asked, lambda one: one[0], Steps(), callbacks=[Clock()], optimizers=optimizers).train()
    return [end - start for start, end in pairwise(ends)]
