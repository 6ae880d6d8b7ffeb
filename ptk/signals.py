"""SIGTERM, SIGINT and SIGHUP stop a run at the end of a step, SIGUSR1 saves: flags, which the loop reads (R14).

Before the loop and behind it there is no step to wait for: there they stop a run on the spot.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ptk.errors import Interrupted, StoppedNow
from ptk.processes import launch

SAME_SIGNAL = 1.0  # seconds: a launcher and a terminal may both pass one on


@dataclass
class Signals:
    """One stop flag, set by a signal; the second signal stops at once."""

    stop: int = 0
    save: int = 0
    since: float = 0.0
    before: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> "Signals":
        for number in stopping():
            self.before[number] = signal.signal(number, self.on_stop)
        self.before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self.on_save)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self.before.items():
            # Of several processes the first that ends has the others told once more, as if it were news.
            signal.signal(number, signal.SIG_IGN if self.stop and launch.processes() > 1 else before)

    def on_stop(self, number: int, _frame: object) -> None:
        if self.stop and time.monotonic() - self.since > SAME_SIGNAL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.since = self.since if self.stop else time.monotonic()
        self.stop = self.stop or number

    def on_save(self, _number: int, _frame: object) -> None:
        self.save = 1


def stopping() -> tuple[signal.Signals, ...]:
    """The signals that stop a run; not SIGHUP where the run is to outlive its terminal, as nohup wants it."""
    outlives = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT, *(() if outlives else (signal.SIGHUP,)))


@contextmanager
def at_once() -> Iterator[None]:
    """Where the loop does not run, a signal stops a run of one process with StoppedNow, as soon as Python runs again.

    Those that follow within a second are the same one, passed on or doubled; a later one ends the process. Of several
    processes the launcher ends all, and knows why.
    """
    if launch.processes() > 1:
        yield
        return
    since: list[float] = []

    def stop(number: int, _frame: object) -> None:
        if since and time.monotonic() - since[0] > SAME_SIGNAL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if not since:
            since.append(time.monotonic())
            raise StoppedNow(number)

    before = {number: signal.signal(number, stop) for number in stopping()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(error: BaseException) -> Interrupted | None:
    """A StoppedNow as what a user is told; None for any other error."""
    if not isinstance(error, StoppedNow):
        return None
    return Interrupted(f"stopped by {signal.Signals(error.number).name}; go on with --resume", error.number)
