"""litgpt's training step on the batches of a decoder's case, by the Python of an environment of its own, without ptk.

    python3 -m venv .litgpt && .litgpt/bin/pip install litgpt
    LITGPT_PYTHON=.litgpt/bin/python make bench BENCH='--case C3a,C3b --peers ptk,litgpt'

The sizes are the case's; the model is litgpt's own, which has rotary positions where GPT-2 has learned ones, and no
dropout, which favours it. Its loop's calls: Fabric, its chunked cross entropy, clipping at 1, AdamW as it makes it, and
with --compile, as its loop always has it, torch.compile. Prints the end of each step by the monotonic clock, its loss,
when the process began, and its peak memory in MB (on a GPU of what torch has allocated there), as JSON.
"""

import time

BEGAN = time.monotonic()  # before the imports, which take a while

import argparse  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402

import lightning  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from litgpt.config import Config  # type: ignore[import-not-found]  # noqa: E402
from litgpt.model import GPT  # type: ignore[import-not-found]  # noqa: E402
from litgpt.utils import (  # type: ignore[import-not-found]  # noqa: E402
    chunked_cross_entropy,
    instantiate_torch_optimizer,
)

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


def model(settings: dict[str, int]) -> torch.nn.Module:
    """A decoder of GPT-2's sizes, its last matrix tied to the embeddings."""
    sizes = {name: settings[f"n_{name}"] for name in ("layer", "head", "embd")}
    made = GPT(
        Config(
            block_size=settings["n_positions"],
            padded_vocab_size=settings["vocab_size"],
            parallel_residual=False,
            attn_bias=True,
            gelu_approximate="tanh",
            intermediate_size=4 * settings["n_embd"],
            **{f"n_{name}": size for name, size in sizes.items()},
        )
    )
    made.lm_head.weight = made.transformer.wte.weight
    for weight in made.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.02)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the case, as speed_cases.py made it")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--weight-decay", type=float, required=True)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    fabric = lightning.Fabric(devices=1, precision=PRECISIONS[options.precision])
    torch.manual_seed(1)
    on_a_gpu = fabric.device.type == "cuda"
    made = model(json.loads((options.folder / "config.json").read_text()))
    if options.compile:
        made = torch.compile(made)
    optimizer = instantiate_torch_optimizer(
        "AdamW", made.parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=on_a_gpu
    )
    made, optimizer = fabric.setup(made, optimizer)
    ends, losses = [], []
    with np.load(options.folder / "peer.npz") as stored:
        ids = [torch.from_numpy(stored[name]) for name in sorted(stored, key=step_of) if name.endswith(" input_ids")]
    for step in range(options.steps):
        batch = ids[step % len(ids)].to(fabric.device)
        loss = chunked_cross_entropy(made(batch[:, :-1]), batch[:, 1:])
        fabric.backward(loss)
        fabric.clip_gradients(made, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        if on_a_gpu:
            torch.cuda.synchronize()
        ends.append(time.monotonic())
    memory = torch.cuda.max_memory_allocated() / 2**20 if on_a_gpu else peak()
    print(json.dumps({"ends": ends, "losses": [*map(float, losses)], "memory": memory, "began": BEGAN}))


def peak() -> float:
    """MB that this process has had at once, of those that Linux tells, as ``speed.peak_memory``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def step_of(name: str) -> int:
    return int(name.split(" ")[0])


if __name__ == "__main__":
    main()
