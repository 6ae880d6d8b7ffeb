"""What a step of training must compute at least: the share of the machine's peak in ``tests/bench/speed.py``."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ptk.objectives.objective import IGNORE, Batch


def step_flops(built: list[Any], batch: Batch) -> float:
    """Floating-point operations of one step: 6 for every weight of a matrix and position that goes through it (forward
    2, backward 4), padding left out; a head's matrices at the positions that have a label (a discriminator's at all).

    Not counted: embeddings, attention's own products, norms, the optimizer.
    """
    inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask") if name in batch}
    if built[0].config.is_encoder_decoder:
        inputs["labels"] = batch["labels"]
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
    text = float(mask.float().mean())
    labels = int((batch["labels"] != IGNORE).sum())
    head_positions = [labels] if len(built) == 1 else [int(mask.sum()), labels]
    return sum(
        6 * (text * body_products(network, inputs) + positions * head_size(network))
        for network, positions in zip(built, head_positions, strict=True)
    )


def matrices(network: Any, head: bool) -> list[nn.Module]:
    """Linear layers of the body, or of the ``head``: the output embedding and what is outside the base model."""
    from transformers.pytorch_utils import Conv1D

    body = set(network.base_model.modules()) - {network.get_output_embeddings()}
    found = (module for module in network.modules() if isinstance(module, nn.Linear | Conv1D))
    return [module for module in found if (module in body) != head]


def head_size(network: Any) -> int:
    return sum(module.weight.numel() for module in matrices(network, head=True))  # type: ignore[union-attr,operator]


@torch.no_grad()
def body_products(network: Any, inputs: Mapping[str, Tensor]) -> int:
    """Weights times positions, over every call of a layer: ALBERT calls the same ones many times. Of one row, times the
    rows: a large model is not run for its count."""
    rows, counted = len(inputs["input_ids"]), 0

    def count(module: Any, given: tuple[Tensor, ...], _output: Tensor) -> None:
        nonlocal counted
        counted += module.weight.numel() * given[0].shape[:-1].numel()

    hooks = [module.register_forward_hook(count) for module in matrices(network, head=False)]
    network.eval()(**{name: values[:1] for name, values in inputs.items()})
    for hook in hooks:
        hook.remove()
    return rows * counted
