"""Checkpoints written while training goes on: a step waits for a copy in memory, not for the disk.

One is written at a time. What fails in the background is raised in the loop, by the step that finds out. Where memory
has no room for a copy of weights and moments, the step does wait for the disk.
"""

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from ptk import checkpoint, files
from ptk.checkpoint import State
from ptk.processes import sharding

LOOK = 1.0  # seconds between signs of life while a slow disk is waited for
ROOM = 2  # times a copy that must be free before it is made: a step needs memory of its own


class Saver:
    """Keeps the ``keep`` newest checkpoints of a run in ``folder``, and its best one.

    ``about``: what else each manifest says; ``writes``: true in the one process that writes; ``warn``: told of what
    could not be deleted. ``alive`` is called while a write is waited for.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        keep: int,
        writes: bool = True,
        warn: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.about, self.keep, self.writes = folder, about, keep, writes
        self.warn = warn
        self.alive: Callable[[], None] = lambda: None
        self.copies: dict[tuple[Any, ...], Tensor] = {}  # memory of the last copy, used again for the next
        self.pool = ThreadPoolExecutor(1, "checkpoint")
        self.pending: Future[dict[Path, str]] | None = None

    def save(self, state: State, weights: Mapping[str, Tensor], extra: Mapping[str, Any]) -> None:
        """Copy and go on; all processes call it. DiskError when the write before this one failed."""
        self.wait()
        content: dict[str, Any] = {"model": weights, **extra}
        ahead = bool(self.copies) or has_room(checkpoint.nbytes(content))
        content = self.copied(content) if ahead else sharding.whole(content, self.writes)
        if not self.writes:
            return
        self.pending = self.pool.submit(self.write, copy.deepcopy(state), content)
        if not ahead:
            self.wait()

    def write(self, state: State, content: dict[str, Any]) -> dict[Path, str]:
        final = checkpoint.folder_of(self.folder, state.step)
        if not final.exists() or checkpoint.fault(final) is not None:
            checkpoint.write(self.folder, state, content.pop("model"), content, self.about)
        return checkpoint.prune(self.folder, state.step, self.keep, state.best and state.best[0])

    def copied(self, value: Any, *path: Any) -> Any:
        """The same nest with every tensor whole, in memory of this machine's own; of None in a process that does not
        write, which only gives its shares."""
        if isinstance(value, Tensor):
            value = sharding.whole(value, self.writes)
            if not self.writes:
                return None
            held = self.copies.get(path)
            if held is None or held.shape != value.shape or held.dtype != value.dtype:
                held = self.copies[path] = torch.empty(value.shape, dtype=value.dtype)
            return held.copy_(value)
        if isinstance(value, Mapping):
            return {name: self.copied(part, *path, name) for name, part in value.items()}
        if isinstance(value, list):
            return [self.copied(part, *path, number) for number, part in enumerate(value)]
        return value

    def check(self) -> None:
        """Raises what the write in the background raised, if it has ended."""
        if self.pending is not None and self.pending.done():
            done, self.pending = self.pending, None
            for path, reason in done.result().items():
                self.warn(f"{path}: an old checkpoint could not be deleted ({reason})")

    def wait(self) -> None:
        """Until nothing is being written. Raises what that raised."""
        written = -1
        while self.pending is not None and not self.pending.done():
            wait([self.pending], timeout=LOOK)
            if written != (written := files.size(*self.folder.glob(".tmp-*"))):
                self.alive()  # a disk that takes nothing more hangs
        self.check()

    def close(self) -> None:
        """Lets a write end; what it raises comes too late."""
        self.pool.shutdown()


def has_room(needed: int) -> bool:
    """Can this machine's memory take so many bytes, and still train?"""
    return psutil.virtual_memory().available > ROOM * needed
