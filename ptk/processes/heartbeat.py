"""A process that hangs is named within the time-out, whether it runs alone or all others wait for it (R16).

The training loop marks what it does. Every second each process publishes its last mark to the others, over a
connection of its own that no blocked collective can block; when nobody has made a mark for ``timeout`` seconds, all
end with exit code 8 and one message says which process, at which step, doing what.
"""

import contextlib
import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import psutil

from ptk.errors import ProcessLostError
from ptk.processes import launch
from ptk.run import Run

EVERY = 1.0  # seconds between two looks
WRITTEN_EVERY = 10.0  # seconds between two heartbeat.json
PAUSED = 5.0  # a look that is late by so many seconds: this process itself stood still, and judges nobody
ENDING = 2.0  # seconds from the verdict to the end
WAITING, ENDED = "waiting", "ended"  # what a process does that hinders no other


class Beat(NamedTuple):
    """What a process publishes every second."""

    number: int  # of this beat: stands still when the process does
    marks: int
    marks_of_step: int
    step: int
    doing: str
    seconds: float  # since the last mark


@dataclass
class Seen:
    """The last beat of a process, and when (by the clock here) it came and when it had a new mark."""

    beat: Beat
    heard: float
    moved: float


class Verdict(NamedTuple):
    late: int  # the process that the others wait for
    silent: list[int]  # processes that stand still or are gone
    teller: int  # the process that says so


def verdict(seen: Sequence[Seen], me: int, now: float, timeout: float, reached: float) -> Verdict | None:
    """Who is late, once nobody has made a mark for ``timeout`` seconds; None before.

    Late is a process that is not even heard any more; else the one that has come least far, where one that waits for
    others has come further. reached: when this process last reached the store of the beats. Where the first process
    serves it and stands still, nobody hears anybody.
    """
    going = [i for i, one in enumerate(seen) if one.beat.doing != ENDED]
    if me not in going or now - max(seen[i].moved for i in going) < timeout:
        return None
    if me and now - reached > timeout / 2:
        return Verdict(0, [0], min(i for i in going if i))
    silent = [i for i in going if i != me and now - seen[i].heard > timeout / 2]
    teller = min(i for i in going if i not in silent)

    def far(i: int) -> tuple[bool, int, int, float]:
        beat = seen[i].beat
        return beat.doing == WAITING, beat.step, beat.marks_of_step, -beat.seconds

    late = min(silent, key=lambda i: seen[i].heard) if silent else min(going, key=far)
    return Verdict(late, silent, teller)


class Heartbeat:
    """``with Heartbeat(folder, index, processes, timeout) as beat``, and in the loop ``beat.at(step, "reading")``.

    folder: of the run, for the first process's heartbeat.json and a late process's stacks; None writes neither.
    timeout: seconds without any mark of any process after which they end; that of the process group must be longer.
    """

    def __init__(self, folder: Path | None, index: int, processes: int, timeout: float) -> None:
        self.folder, self.index, self.timeout = folder, index, timeout
        self.mark = (0, 0, 0, "starting", time.monotonic())  # marks, marks of the step, step, doing, when
        self.number = 0
        self.seen = [Seen(Beat(0, 0, 0, 0, "starting", 0.0), self.mark[-1], self.mark[-1]) for _ in range(processes)]
        self.reached, self.written = self.mark[-1], -WRITTEN_EVERY
        self.over = threading.Event()
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self.watch, self.exchange)]

    def __enter__(self) -> "Heartbeat":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.at(self.mark[2], ENDED)
        self.over.set()
        for thread in self.threads:
            thread.join(EVERY)  # the last beat tells the others not to wait for another

    def at(self, step: int, doing: str) -> None:
        """Mark that ``step`` has come to ``doing``. WAITING stands for what only other processes can end."""
        marks, marks_of_step, before, _, _ = self.mark
        # One assignment: the threads see all of it or nothing.
        self.mark = (marks + 1, marks_of_step + 1 if step == before else 1, step, doing, time.monotonic())

    def beat(self) -> Beat:
        marks, marks_of_step, step, doing, since = self.mark
        self.number += 1
        return Beat(self.number, marks, marks_of_step, step, doing, time.monotonic() - since)

    def hear(self, index: int, beat: Beat) -> None:
        now, one = time.monotonic(), self.seen[index]
        if beat.number != one.beat.number:
            self.seen[index] = Seen(beat, now, now if beat.marks != one.beat.marks else one.moved)

    def watch(self) -> None:
        """Look at what was heard, and end all when it is time. Touches neither disk nor network, which may hang."""
        before = time.monotonic()
        while not self.over.wait(EVERY):
            now = time.monotonic()
            self.hear(self.index, self.beat())
            if found := self.look(now, before):
                self.end(found)
            before = now

    def look(self, now: float, before: float) -> Verdict | None:
        """The verdict of this process, unless it stood still itself since it looked ``before``: then all begin anew."""
        if now - before > EVERY + PAUSED:
            self.seen = [Seen(one.beat, now, now) for one in self.seen]
            self.reached = now
        return verdict(self.seen, self.index, now, self.timeout, self.reached)

    def exchange(self) -> None:
        """Publish this process's beat, read the others', write the file; starts again after an error."""
        store = None
        alone = len(self.seen) == 1
        while True:
            last = self.over.is_set()
            self.hear(self.index, self.beat())
            try:
                if not alone:
                    store = store or connect()
                    self.swap(store)
                self.reached = time.monotonic()
            except RuntimeError:
                store = None
            self.write(last)
            if last:
                return
            self.over.wait(EVERY)

    def swap(self, store: Any) -> None:
        store.set(str(self.index), json.dumps(self.beat()))
        others = [str(i) for i in range(len(self.seen)) if i != self.index]
        known = others if store.check(others) else [key for key in others if store.check([key])]
        for key, text in zip(known, store.multi_get(known) if known else (), strict=True):
            self.hear(int(key), Beat(*json.loads(text)))

    def write(self, last: bool) -> None:
        """heartbeat.json of the first process, for people and programs that watch a run. Not flushed to disk, and
        gone when the loop is."""
        now = time.monotonic()
        if self.folder is None or self.index or (now - self.written < WRITTEN_EVERY and not last):
            return
        if last:
            with contextlib.suppress(OSError):
                (self.folder / "heartbeat.json").unlink(missing_ok=True)
            return
        self.written = now
        lines = [
            {
                "process": i,
                "step": one.beat.step,
                "doing": one.beat.doing,
                "seconds": round(one.beat.seconds + now - one.heard, 1),
            }
            for i, one in enumerate(self.seen)
        ]
        path, aside = self.folder / "heartbeat.json", self.folder / f".heartbeat-{os.getpid()}"
        with contextlib.suppress(OSError):  # a full disk is found, and named, where a checkpoint is written
            aside.write_text(json.dumps({"time": time.strftime("%FT%T%z"), "processes": lines}, indent=1) + "\n")
            aside.replace(path)

    def end(self, found: Verdict) -> NoReturn:
        """End this process; first, the one that tells says why, and ends those that cannot end themselves."""
        reason = self.reason(found)
        writing = threading.Thread(target=self.write_down, args=(found, reason), daemon=True)
        writing.start()
        if found.teller == self.index:
            if launch.launched():
                launch.leave_reason(reason)
                launch.leave_code(ProcessLostError.exit_code)
            else:
                print(f"error: {reason}; go on with --resume", file=sys.stderr, flush=True)
            writing.join(ENDING)  # once those have ended, the launcher ends this process too
            self.end_silent(found.silent)
        if len(self.seen) > 1:
            time.sleep(ENDING)  # all see it within a second or two; the late one writes where it hangs
        writing.join(ENDING)  # a disk that hangs may be the reason
        launch.end(ProcessLostError.exit_code)

    def reason(self, found: Verdict) -> str:
        beat, number = self.seen[found.late].beat, len(self.seen)
        who = f"process {found.late} of {number}" if number > 1 else "the run"
        if found.late in found.silent:  # it may have gone on for a second, as far as the others could
            step = max(beat.step, min((one.beat.step for i, one in enumerate(self.seen) if i not in found.silent)))
            where = f"step {step}, last heard of at step {beat.step}, {beat.doing}): it stands still"
        else:
            where = f"step {beat.step}, {beat.doing}): hung? its stacks are in {stacks(found.late)}"
        return f"{who} has not moved for {self.timeout:g} s ({where}"

    def write_down(self, found: Verdict, reason: str) -> None:
        if self.folder is None:
            return
        with contextlib.suppress(OSError):  # the message is out already
            if found.late == self.index:
                with open(self.folder / stacks(self.index), "w", encoding="utf-8") as file:
                    faulthandler.dump_traceback(file)
            if found.teller == self.index:
                Run(self.folder).status("failed", exit_code=ProcessLostError.exit_code, reason=reason)

    def end_silent(self, silent: Sequence[int]) -> None:
        """Kill those of the silent processes that the same launcher started here: torchrun would wait for them."""
        ranks = {str(i) for i in silent}
        with contextlib.suppress(psutil.Error):
            for one in psutil.Process(os.getppid()).children() if ranks else ():
                if one.environ().get("RANK") in ranks:
                    for process in (*one.children(recursive=True), one):
                        process.kill()


def stacks(index: int) -> str:
    """Where process ``index`` writes what each of its threads was doing when it hung."""
    return f"hang-process-{index}.txt"


def connect() -> Any:
    """A connection of its own to the store through which the processes found each other.

    torchrun serves it; without a launcher that does (srun) the first process. Raises RuntimeError (of torch).
    """
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    seconds = timedelta(seconds=5)
    store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=seconds)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"ptk/heartbeat/{attempt}", store)
