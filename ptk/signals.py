"""SIGTERM, SIGINT and SIGHUP stop a run at the end of a step, SIGUSR1 saves: flags, which the loop reads (R14)."""

import signal
import time
from dataclasses import dataclass, field
from typing import Any

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
        outlives = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # as nohup wants it
        for number in (signal.SIGTERM, signal.SIGINT, *(() if outlives else (signal.SIGHUP,))):
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
