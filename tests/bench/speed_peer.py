"""The peers of ``tests/bench/speed.py``: what a user of transformers' Trainer or of Lightning would write.

They are given ready examples and the default collator, so that they pay nothing for masking, which favours them.
simpletransformers has its own loop over transformers' classes, in fp32 on a CPU. Of them only decoders are the same as
here: its BERT has no next sentence, its rows no attention mask.
transformers has no class that trains ELECTRA: ``Electra`` here has the plain loss over its two classes, with the
vocabulary's logits at every position, as ``labels=`` computes them for every other model.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

import torch
from by_trainer import arguments
from speed_cases import CLIP, EPS, LR, WEIGHT_DECAY, Case
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from ptk.objectives.objective import IGNORE, Batch

LACKING = {
    "lightning": "not installed; it comes with the extra bench",
    "simpletransformers": "not installed; pip install --no-deps simpletransformers",
    "litgpt": "LITGPT_PYTHON is not set; speed_litgpt.py says how",
}


class Trained(NamedTuple):
    ends: list[float]
    """Of each step, by the monotonic clock."""
    losses: list[float]
    memory: float | None = None
    """Peak in MB, where another process has run it."""
    began: float | None = None
    """When that other process began."""


class Electra(nn.Module):
    """A generator and a discriminator that share their embeddings; its output is the summed loss."""

    def __init__(self, discriminator: Any, generator: Any, by_uniform: bool) -> None:
        """``by_uniform``: sample by the batch's uniform numbers, as ptk does, instead of ``torch.multinomial``."""
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        self.by_uniform = by_uniform
        generator.electra.embeddings = discriminator.electra.embeddings
        generator.generator_lm_head.weight = discriminator.get_input_embeddings().weight

    def forward(self, input_ids: Tensor, labels: Tensor, uniform: Tensor, **more: Tensor) -> dict[str, Tensor]:
        generated = self.generator(input_ids=input_ids, labels=labels, **more)
        chosen = labels != IGNORE
        probabilities = generated.logits[chosen].detach().float().softmax(-1)
        original = torch.where(chosen, labels, input_ids)
        corrupted = original.clone()
        corrupted[chosen] = self.sampled(probabilities, uniform[chosen])
        told = self.discriminator(input_ids=corrupted, labels=(corrupted != original).long(), **more)
        return {"loss": generated.loss + 50 * told.loss}

    def sampled(self, probabilities: Tensor, uniform: Tensor) -> Tensor:
        """Ids [N] of ``probabilities`` [N, V]."""
        if not self.by_uniform:
            return torch.multinomial(probabilities, 1).squeeze(1)
        cumulative = probabilities.cumsum(-1)
        found = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True).squeeze(1)
        return found.clamp(max=probabilities.shape[1] - 1)


def model(networks: Sequence[Any], by_uniform: bool = False) -> nn.Module:
    return networks[0] if len(networks) == 1 else Electra(networks[0], networks[1], by_uniform)


def now() -> float:
    """Seconds by the monotonic clock, when a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def examples(batches: Sequence[Batch]) -> list[Batch]:
    """The rows of all batches, in order, each padded as its batch is."""
    return [{name: array[row] for name, array in b.items()} for b in batches for row in range(len(b["input_ids"]))]


def trainer(made: nn.Module, batches: Sequence[Batch], steps: int, precision: str, compiled: bool) -> Trained:
    """transformers' Trainer over the stored batches in order, as often as ``steps`` need.

    Not grouped by length: the order would be another one, and no step's loss could be compared; C1c has such batches
    for all. Of the positions of BERT, ALBERT and ELECTRA 77 to 96 % are text, of a decoder's and T5's all.
    """
    from transformers import Trainer, TrainerCallback, default_data_collator

    done = Trained([], [])
    told: list[Tensor] = []  # read at the end: a GPU need not wait for them

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            done.ends.append(now())

    class Told(Trainer):
        def training_step(self, *given: Any, **named: Any) -> Tensor:
            loss = super().training_step(*given, **named)
            told.append(loss)
            return loss

    with tempfile.TemporaryDirectory() as out:
        settings = arguments(
            out,
            max_steps=steps,
            per_device_train_batch_size=len(batches[0]["input_ids"]),
            train_sampling_strategy="sequential",
            learning_rate=LR,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=CLIP,
            adam_epsilon=EPS,
            lr_scheduler_type="constant",
            bf16=precision == "bf16",
            torch_compile=compiled,
            remove_unused_columns=False,
        )
        rows: Any = examples(batches)  # whatever has a length and items is a data set
        Told(made, settings, default_data_collator, rows, callbacks=[Clock()]).train()
    done.losses.extend(map(float, told))
    return done


def is_there(peer: str) -> bool:
    """Is what it needs installed?"""
    if peer.startswith("litgpt"):
        return "LITGPT_PYTHON" in os.environ
    return peer not in LACKING or util.find_spec(peer) is not None


def can_run(peer: str, case: Case) -> bool:
    only_decoders = peer.startswith("litgpt") or peer == "simpletransformers"
    return is_there(peer) and (not only_decoders or case.model["type"] == "gpt2")


def litgpt(folder: Path, steps: int, precision: str, compiled: bool) -> Trained:
    """litgpt's own model of the case's sizes (``speed_litgpt.py``)."""
    words = [f"--steps={steps}", f"--precision={precision}", f"--lr={LR}", f"--weight-decay={WEIGHT_DECAY}"]
    words += ["--compile"] * compiled
    command = [os.environ["LITGPT_PYTHON"], Path(__file__).with_name("speed_litgpt.py"), folder, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"litgpt exited with {done.returncode}")
    return Trained(**json.loads(done.stdout.splitlines()[-1]))


def simpletransformers(made: Any, batches: Sequence[Batch], steps: int) -> Trained:
    """Its loop over the stored batches in order, without logs and checkpoints. It reads each step's loss at once."""
    from simpletransformers.language_modeling import (  # type: ignore[import-not-found]
        LanguageModelingModel,
        language_modeling_model,
    )
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    done = Trained([], [])
    told: list[Tensor] = []
    # It shuffles whatever it is given; the losses of its steps are compared with others'.
    language_modeling_model.RandomSampler = torch.utils.data.SequentialSampler
    with tempfile.TemporaryDirectory() as out:
        made.save_pretrained(out)
        unused = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))  # its class has to have one
        PreTrainedTokenizerFast(tokenizer_object=unused).save_pretrained(out)
        settings = {"mlm": False, "fp16": False, "silent": True, "no_save": True, "save_model_every_epoch": False}
        # It goes on until it has made more than max_steps.
        settings |= {"max_steps": steps - 1, "train_batch_size": len(batches[0]["input_ids"]), "logging_steps": 0}
        settings |= {"learning_rate": LR, "weight_decay": WEIGHT_DECAY, "adam_epsilon": EPS, "max_grad_norm": CLIP}
        settings |= {"scheduler": "constant_schedule", "tensorboard_dir": out, "output_dir": out}
        trains = LanguageModelingModel("causal", out, args=settings, use_cuda=torch.cuda.is_available())
        trains.model = made  # the same weights: two copies would count as its memory
        made.train().register_forward_hook(lambda _, __, output: told.append(output.loss.detach()))
        after = register_optimizer_step_post_hook(lambda *_: done.ends.append(now()))
        trains._move_model_to_device()
        trains.train([row["input_ids"] for row in examples(batches)], out, show_running_loss=False)
        after.remove()
    done.losses.extend(map(float, told))
    return done


def lightning(made: nn.Module, batches: Sequence[Batch], steps: int, precision: str) -> Trained:
    """A plain LightningModule, for whoever has the package."""
    import lightning  # type: ignore[import-not-found]
    from torch.utils.data import DataLoader
    from transformers import default_data_collator

    done = Trained([], [])
    told: list[Tensor] = []  # read at the end: a GPU need not wait for them
    for network in made.modules():
        if (config := getattr(network, "config", None)) is not None:
            config.use_cache = False  # as the Trainer has it: keys and values are for generation

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = made

        def training_step(self, batch: Batch, _number: int) -> Tensor:
            loss = self.network(**batch)["loss"]
            told.append(loss.detach())
            return loss

        def on_train_batch_end(self, *_: Any) -> None:
            done.ends.append(now())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            parts = [[p for p in self.parameters() if (p.ndim > 1) == decayed] for decayed in (True, False)]
            groups = [{"params": parts[0], "weight_decay": WEIGHT_DECAY}, {"params": parts[1], "weight_decay": 0.0}]
            return torch.optim.AdamW(groups, lr=LR, eps=EPS, fused=True)

        def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
            """Its own refuses a fused optimizer in mixed precision."""
            torch.nn.utils.clip_grad_norm_(self.parameters(), CLIP)

    fit = lightning.Trainer(
        max_steps=steps,
        precision={"bf16": "bf16-mixed", "fp32": "32-true"}[precision],
        accelerator="auto",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    rows: Any = examples(batches)
    size = len(batches[0]["input_ids"])
    fit.fit(Module(), DataLoader(rows, size, collate_fn=default_data_collator))
    done.losses.extend(map(float, told))
    return done
