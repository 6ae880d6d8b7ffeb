"""ELECTRA's two networks as one module: what transformers has as two classes, with one set of embeddings (ELE-8)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ptk.models import checks

GENERATOR = "generator"  # its folder within the discriminator's


class Electra(nn.Module):
    """An ElectraForMaskedLM and an ElectraForPreTraining with one set of embeddings: words, positions, types, norm."""

    supports_gradient_checkpointing = True

    def __init__(self, generator: Any, discriminator: Any) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.generator.electra.embeddings = discriminator.electra.embeddings
        self.generator.generator_lm_head.weight = discriminator.get_input_embeddings().weight

    @property
    def config(self) -> Any:
        return self.discriminator.config

    @property
    def entries(self) -> int:
        """Of the vocabulary that may be sampled; those behind only round it up (ENG-5)."""
        return getattr(self.generator.config, "entries", self.generator.config.vocab_size)

    def activation_checkpointing_enable(self, settings: Mapping[str, Any]) -> None:
        for network in (self.generator, self.discriminator):
            checks.checkpoint_activations(network, settings)

    def save_pretrained(self, folder: str | Path, **settings: Any) -> None:
        """The discriminator into ``folder``, the generator into ``folder/generator``, each whole."""
        self.discriminator.save_pretrained(folder, **settings)
        self.generator.save_pretrained(Path(folder) / GENERATOR, **settings)


def load(folder: str | Path, **settings: Any) -> Electra:
    """Both networks of a folder that ``save_pretrained`` left, their embeddings the discriminator's."""
    from transformers import ElectraForMaskedLM, ElectraForPreTraining

    discriminator = ElectraForPreTraining.from_pretrained(folder, **settings)
    generator = ElectraForMaskedLM.from_pretrained(Path(folder) / GENERATOR, **settings)
    return Electra(generator, discriminator)


def is_whole(folder: str | Path) -> bool:
    """Whether a model's folder holds a generator too."""
    return (Path(folder) / GENERATOR / "config.json").exists()


@torch.no_grad()
def sampled(logits: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
    """Ids [...] drawn from softmax(logits [..., V] / temperature): its inverse CDF at ``uniform`` [...] in [0, 1).

    In fp32, without a generator of random numbers: equal logits give equal samples on any device (ELE-6).
    """
    logits = logits.float() if temperature == 1.0 else logits.float() / temperature
    cumulative = logits.softmax(-1).cumsum(-1)
    wanted = uniform[..., None] * cumulative[..., -1:]
    return torch.searchsorted(cumulative, wanted, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def written(ids: Tensor, positions: Tensor, values: Tensor, valid: Tensor) -> Tensor:
    """``ids`` [B, T] with ``values`` [B, K] at ``positions`` [B, K] where ``valid`` [B, K].

    Where a position was drawn more than once it gets the mean of its values, rounded down, as in the original (ELE-3).
    """
    size, spare = ids.shape[1], ids.shape[1]  # what is not valid goes to a column that is cut off
    places = torch.where(valid, positions, spare)
    sums = ids.new_zeros(len(ids), size + 1).scatter_add_(1, places, values)
    times = ids.new_zeros(len(ids), size + 1).scatter_add_(1, places, torch.ones_like(places))
    mean = sums // times.clamp(min=1)
    return torch.where(times[:, :size] > 0, mean[:, :size], ids)
