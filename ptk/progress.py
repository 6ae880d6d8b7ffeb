"""What a user sees while work goes on: a line that changes on a terminal, plain lines in a pipe.

Text of users and corpora is printed as it is, never as markup, and without control characters (S10).
"""

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

BIDIRECTIONAL = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def clean(text: str) -> str:
    """Without control characters (line ends stay) and without marks that turn the direction of text."""
    return "".join(c for c in text if c == "\n" or not (ord(c) < 32 or 127 <= ord(c) < 160 or ord(c) in BIDIRECTIONAL))


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


class Terminal(Console):
    """A console that falls silent when nobody listens any more: a run of days must not end with the shell it is in."""

    def on_broken_pipe(self) -> None:
        self.quiet = True  # rich would end the program, and send stdout nowhere

    def say(self, text: Text) -> None:
        try:
            self.print(text)
        except OSError:  # a terminal that was closed
            self.quiet = True


class Talk:
    """Everything that is said goes to stderr, so that stdout holds results alone; ``quiet`` in other processes."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Terminal(file=sys.stderr, highlight=False, soft_wrap=True, quiet=quiet)

    def say(self, text: str) -> None:
        self.console.say(Text(clean(text)))

    def warn(self, text: str) -> None:
        self.console.say(Text(f"warning: {clean(text)}", style="yellow"))


class Bar:
    """Progress of a task of known size, with the time left; in a pipe a line every ten seconds."""

    def __init__(self, talk: Talk, what: str, total: int, start: int = 0) -> None:
        self.talk, self.what, self.total, self.start = talk, what, total, start
        self.began = self.said = time.monotonic()
        self.live: Progress | None = None

    def __enter__(self) -> "Bar":
        if self.talk.console.is_terminal and not self.talk.console.quiet:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
            self.live = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.talk.console)
            with contextlib.suppress(OSError):
                self.live.start()
            self.task = self.live.add_task(self.what, total=self.total, completed=self.start)
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            with contextlib.suppress(OSError):  # a terminal that was closed
                self.live.stop()

    def __call__(self, done: int, total: int | None = None) -> None:
        self.total = total or self.total
        now = time.monotonic()
        if self.live:
            self.live.update(self.task, completed=done, total=self.total)
        elif now - self.said > 10 and done < self.total:
            self.said = now
            left = (now - self.began) / max(1, done - self.start) * (self.total - done)
            self.talk.say(f"{self.what}: {done:,} of {self.total:,}, about {duration(left)} left")

    def line(self, line: Mapping[str, Any]) -> None:
        """One line of metrics, and the bar moved to its step."""
        self(line["step"])
        self.talk.say(self.text(line))

    def text(self, line: Mapping[str, Any]) -> str:
        shown = [f"step {line['step']:>6,}/{self.total:,}", f"{line['split']:<10}"]
        rest = {k: v for k, v in line.items() if k not in ("step", "split", "tokens", "seconds", "tokens_per_second")}
        shown += [f"{name} {number(value)}" for name, value in rest.items()]
        if "tokens_per_second" in line:
            done = max(1, line["step"] - self.start)
            left = (time.monotonic() - self.began) / done * (self.total - line["step"])
            shown += [f"{line['tokens_per_second']:,} tokens/s", f"{duration(left)} left"]
        return "  ".join(shown)


def number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2e}" if value and abs(value) < 1e-2 else f"{value:.4f}"
