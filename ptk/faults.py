"""Faults on purpose, so that tests can break a run at a known place. Read here and nowhere else:

    PTK_FAULT=after-file:optimizer@step12:kill9              after writing that file of the checkpoint of step 12
    PTK_FAULT=begin@step6@process1:stop                      the second of several processes hangs in step 6
    PTK_FAULT=before-file:state:enospc,export-weights:kill9  several; without @step at the first that comes there

A process that was restarted after a fault meets none: what broke once must be able to go on.
"""

import errno
import os
import re
import signal
import time
from typing import NamedTuple, NoReturn

from ptk.processes import launch

SYNTAX = re.compile(r"(?P<point>[a-z:_-]+)(@step(?P<step>\d+))?(@process(?P<process>\d+))?:(?P<action>\w+)")


class Fault(NamedTuple):
    point: str
    step: int | None
    process: int | None
    action: str


def parse(text: str) -> list[Fault]:
    """The faults that ``PTK_FAULT`` plans; ValueError for what is none."""
    found = []
    for word in text.split(",") if text else ():
        match = SYNTAX.fullmatch(word)
        if match is None or match["action"] not in ACTIONS:
            raise ValueError(f"PTK_FAULT: {word!r} is not POINT[@stepN][@processP]:ACTION with one of {set(ACTIONS)}")
        step, process = (int(match[name]) if match[name] else None for name in ("step", "process"))
        found.append(Fault(match["point"], step, process, match["action"]))
    return found


def at(point: str, step: int | None = None) -> str | None:
    """A place where a fault may be planned: carries it out. ``nan`` is returned instead, for the caller to make."""
    if not PLANNED:
        return None
    for fault in PLANNED:
        here = fault.process is None or fault.process == int(os.environ.get("RANK", "0"))
        if here and fault.point == point and fault.step in (None, step):
            return ACTIONS[fault.action](point)
    return None


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


def full(point: str) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device (a planned fault)", point)


def read_only(point: str) -> NoReturn:
    raise OSError(errno.EROFS, "Read-only file system (a planned fault)", point)


def out_of_memory(_point: str) -> NoReturn:
    import torch

    raise torch.OutOfMemoryError("out of memory (a planned fault)")


ACTIONS = {
    "kill9": lambda _: kill(signal.SIGKILL),
    "stop": lambda _: kill(signal.SIGSTOP),  # all threads of the process stand still
    "hang": lambda _: time.sleep(3600),  # this thread does
    "slow": lambda _: time.sleep(0.5),
    "enospc": full,
    "erofs": read_only,
    "oom": out_of_memory,
    "nan": lambda _: "nan",
}


PLANNED = [] if launch.restarted() else parse(os.environ.get("PTK_FAULT", ""))
