"""What test_sharding.py runs in two processes, through torchrun, and in its own: steps of one way to train."""

import contextlib
import copy
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from running import session
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from ptk import checkpoint, optim
from ptk.checkpoint import State
from ptk.processes import deepspeed, sharding
from ptk.recipe import TrainSpec
from ptk.step import Wrapped

LR = 3e-4  # eight updates must not blow rounding up
BERT = "mlm-next.yaml"
MICRO = "train.micro_batch_size=3"  # three micro-batches of a process's eight rows


class Way:
    """``plain``, ``fsdp`` or ``deepspeed``: a model, its module and optimizer, from the recipe of ``path``."""

    def __init__(
        self, path: Path, way: str, optimizer: str = "adamw", clip: float = 0.0, before: dict[str, Any] | None = None
    ) -> None:
        self.made = session(path, *([] if way == "plain" else [MICRO]))
        self.objective, self.accelerator = self.made.objective, self.made.accelerator
        self.strategy, self.clip = way, clip
        self.model = self.made.fresh_model()
        if before:
            self.model.load_state_dict(
                before["weights"], strict=False
            )  # ties are written once; before anything is shared out
        self.module: Any = Wrapped(self.objective, self.model)
        if way == "fsdp":
            self.module = sharding.shard(self.module, self.accelerator)
        self.module.train()
        groups = optim.parameter_groups(self.model, 0.01)
        self.optimizer: Any = optim.build(optimizer, groups, LR, (0.9, 0.999), 1e-8)
        if way == "deepspeed":
            config = deepspeed.config(TrainSpec(optimizer=optimizer, clip=clip, micro_batch_size=3), "fp32")  # type: ignore[arg-type]
            self.module, self.optimizer = deepspeed.start(self.module, self.optimizer, config)
        if before:
            load = deepspeed.load_state_dict if way == "deepspeed" else sharding.load_state_dict
            load(self.optimizer, before["optimizer"])

    def over_processes(self, values: list[float]) -> list[float]:
        summed: Any = self.accelerator.reduce(torch.tensor(values, dtype=torch.float64))
        return summed.tolist()

    def losses(self, step: int) -> dict[str, float]:
        """Gradients of a global batch, and its mean losses."""
        batches, names = self.made.batches()[step], list(self.objective.weights)
        counts = self.over_processes([sum(self.objective.counts(b)[name] for b in batches) for name in names])
        totals = dict.fromkeys(names, 0.0)
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            alone = self.strategy == "deepspeed" or last
            with contextlib.nullcontext() if alone else sharding.no_sync(self.module, self.accelerator):
                parts = self.module(batch)
                weighted = [self.objective.weights[n] * parts[n].total / c for n, c in zip(names, counts, strict=True)]
                loss = sum(weighted[1:], weighted[0]) * self.accelerator.num_processes
                if self.strategy == "deepspeed":
                    deepspeed.backward(self.module, loss, last)
                else:
                    loss.backward()
            totals = {name: totals[name] + float(parts[name].total.detach()) for name in names}
        summed = self.over_processes(list(totals.values()))
        return {name: total / count for name, total, count in zip(names, summed, counts, strict=True)}

    def step(self, step: int) -> dict[str, float]:
        losses = self.losses(step)
        if self.strategy == "deepspeed":
            return {**losses, "norm": deepspeed.update(self.module)}
        norm = sharding.clip(self.module.parameters(), self.clip or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {**losses, "norm": norm}

    def run(self, start: int, stop: int) -> list[dict[str, float]]:
        return [self.step(step) for step in range(start, stop)]

    def state(self) -> dict[str, Any]:
        """What a checkpoint of any way holds; a copy, as training goes on in the tensors."""
        if self.strategy == "deepspeed":
            found = deepspeed.weights(self.model, self.optimizer), deepspeed.optimizer_state(self.optimizer)
        else:
            found = sharding.whole(checkpoint.weights(self.model)), sharding.whole(self.optimizer.state_dict())
        return copy.deepcopy(dict(zip(("weights", "optimizer"), found, strict=True)))


class Counted(TorchDispatchMode):
    """Calls of each operation on tensors, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[str(func)] += 1
        return func(*args, **(kwargs or {}))


def exchanges(way: Way) -> int:
    """How often gradients are exchanged in one global batch."""
    with Counted() as counted:
        way.losses(0)
    way.optimizer.zero_grad()
    return sum(number for name, number in counted.calls.items() if "reduce_scatter" in name)


def ddp_exchanges(path: Path) -> int:
    """The same of DDP, in a step of the engine: each exchange is of all gradients, which fill one bucket."""
    made = session(path, MICRO)
    training, seen = made.training(made.fresh_model()), []

    def hook(_state: None, bucket: distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
        seen.append(bucket.is_last())
        return default_hooks.allreduce_hook(None, bucket)  # type: ignore[arg-type]

    training.strategy.module.register_comm_hook(None, hook)
    training.strategy.module.train()
    batches = made.batches()[0]
    assert len(batches) == 3
    training.step(batches, State(), (0, 0))
    return len(seen)


def shares(way: Way) -> list[tuple[int, int, int]]:
    """Of every tensor the numbers that this process has, all of it, and of one row."""
    return [(p.to_local().numel(), p.numel(), p[:1].numel()) for p in way.module.parameters()]


def clipped(way: Way) -> tuple[float, float]:
    """The norm of gradients before and after it is clipped to a hundredth."""
    way.losses(0)
    norm = sharding.clip(way.module.parameters(), float("inf"))
    sharding.clip(way.module.parameters(), norm / 100)
    after = sharding.clip(way.module.parameters(), float("inf"))
    way.optimizer.zero_grad()
    return norm, after


def evaluated(way: Way) -> tuple[float, bool]:
    """A loss without gradients, and whether weights are shared out again after it."""
    way.module.eval()
    with torch.no_grad():
        losses, _ = way.module(way.made.held_out_batches()[0])
    way.module.train()
    return float(losses["mlm"].total), all(isinstance(p, sharding.DTensor) for p in way.module.parameters())


def fsdp(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        way = Way(path, "fsdp")
        found[path.stem] = {
            "shares": shares(way),
            "groups": sum(isinstance(module, sharding.FSDPModule) for module in way.module.modules()),
            "exchanges": exchanges(way),
            "lines": way.run(0, 8),
            "state": way.state(),
            "names": len(way.model.state_dict()),
        }
    way = Way(folder / BERT, "fsdp")
    found["ddp_exchanges"] = ddp_exchanges(folder / BERT)
    found |= {"clipped": clipped(way), "evaluated": evaluated(way)}
    found["dropped"] = sharding.whole(checkpoint.weights(way.model), keep=False)
    return found


def resumed(folder: Path, kind: str) -> dict[str, Any]:
    """A run of a plain process with each optimizer, gone on with: what was loaded, steps 4 to 7, the state at last."""
    found: dict[str, Any] = {}
    for optimizer, before in torch.load(folder / "before.pt").items():
        if kind == "deepspeed" and optimizer not in deepspeed.OPTIMIZERS:
            continue
        way = Way(folder / BERT, kind, optimizer, clip=1.0, before=before)
        found[optimizer] = {"loaded": way.state(), "lines": way.run(4, 8), "state": way.state()}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, where = sys.argv[1], Path(sys.argv[2])
    found = fsdp(where) if kind == "fsdp" else {"lines": Way(where / BERT, kind).run(0, 8)}
    results = {**found, "resumed": resumed(where, kind)}
    if distributed.get_rank() == 0:
        torch.save(results, where / f"{kind}.pt")
    distributed.destroy_process_group()
