"""Starting ptk: as a command, which is what users have, or forked from a process that has imported it already.

The second saves the 5 seconds that the imports of torch and transformers take; ``make test`` uses it.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

FORKS = multiprocessing.get_context("forkserver")
MODELS = [f"transformers.models.{name}.modeling_{name}" for name in ("auto", "bert", "t5", "electra")]
FORKS.set_forkserver_preload(["ptk.pretraining", "ptk.cli", "accelerate", "torch._dynamo", *MODELS])
PATIENCE = 180  # seconds, for what takes ten
MARK = "PTK_CHAOS_ROOM"  # in the environment of every process of a trial
Seen = TypeVar("Seen")


class Broken(AssertionError):
    """A promise that did not hold."""


class Forked(FORKS.Process):
    """A forked ptk with the few methods of Popen that are used here."""

    def poll(self) -> int | None:
        return self.exitcode


def forked(words: list[str], environment: dict[str, str], log: Path) -> None:
    """In the new process: become what ``python -m ptk`` would be."""
    import torch

    from ptk import cli, faults

    os.setsid()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # it read the variable when it was imported
    sys.argv = ["ptk", *words]
    faults.PLANNED = faults.parse(environment.get("PTK_FAULT", ""))
    cli.main()


class Ptk:
    """One ptk, in a process group of its own; what it says goes into a file."""

    def __init__(self, words: list[str], more: dict[str, str], log: Path, warm: bool) -> None:
        own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PTK_FAULT": "", **more}
        self.log = log
        self.child: Forked | subprocess.Popen
        if warm:
            self.child = Forked(target=forked, args=(words, own, log))
            self.child.start()
        else:
            command = [sys.executable, "-m", "ptk", *words]
            environment = {**os.environ, **own}
            with open(log, "w") as file:
                self.child = subprocess.Popen(
                    command, env=environment, stdout=file, stderr=file, start_new_session=True
                )

    @property
    def pid(self) -> int:
        assert self.child.pid is not None
        return self.child.pid

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self) -> str:
        return " | ".join(self.said().strip().splitlines()[-3:])[-400:]

    def code(self) -> int | None:
        """Exit code, or minus the signal that killed it; None while it runs."""
        return self.child.poll()

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code. A process that does not end in time is killed, and that is a promise broken."""
        return self.until(self.code, "its end", seconds, alive=False)

    def until(self, seen: Callable[[], Seen | None], what: str, seconds: float = PATIENCE, alive: bool = True) -> Seen:
        """Wait until ``seen()`` is neither None nor false, and return it; with ``alive`` ptk must be there still."""
        end = time.monotonic() + seconds
        while (value := seen()) is None or value is False:
            if alive and self.code() is not None:
                raise Broken(f"ended with {self.code()} before {what}: {self.tail()}")
            if time.monotonic() > end:
                self.kill()
                raise Broken(f"{what} did not come in {seconds:.0f} s: {self.tail()}")
            time.sleep(0.005)
        return value

    def runs_for(self, seconds: float) -> bool:
        """Does it still run after so long?"""
        end = time.monotonic() + seconds
        while self.code() is None and time.monotonic() < end:
            time.sleep(0.002)
        return self.code() is None

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended this moment
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole process group."""
        if self.code() is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.send(signal.SIGKILL)  # forked this moment, not yet the leader of a group
        self.child.join() if isinstance(self.child, Forked) else self.child.wait()


def marked(room: Path) -> list[psutil.Process]:
    """Every living process that was started in a trial's folder, whatever group it is in."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(room) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
