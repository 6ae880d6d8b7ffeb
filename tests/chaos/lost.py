"""One of two processes is killed: the other ends at once, or both start again from the checkpoint (R15)."""

import os
import signal
import time
from collections.abc import Callable

import psutil

from chaos.lab import Lab, Room, Trial, of
from chaos.started import Broken, Ptk, marked
from chaos.stops import in_training

NAMES = ("bert", "electra")
GONE = 5.0  # seconds until the last process has ended


def processes(lab: Lab, trials: int = 16) -> list[Trial]:
    """SIGKILL of one of --processes 2: with --max-restarts 1 the same end; without, exit 8 and all gone in 5 s"""
    found = []
    for number in range(trials):
        name, rank = NAMES[number % 2], number // 2 % 2
        kind = number % 8
        found.append(ended(name, rank) if kind in (3, 4) else orphaned(name) if kind == 7 else restarted(name, rank))
    return found


def restarted(name: str, rank: int) -> Trial:
    def run(room: Room) -> str:
        ptk, seen = killed(room, name, lambda ptk: rank_of(room, rank), "--max-restarts", "1")
        if code := ptk.wait():
            raise Broken(f"exit {code} with a restart left: {ptk.tail()}")
        room.same(name, 2)
        return seen

    return Trial(f"{name}, process {rank}, one restart", run)


def ended(name: str, rank: int) -> Trial:
    def run(room: Room) -> str:
        ptk, seen = killed(room, name, lambda ptk: rank_of(room, rank))
        seconds = gone(room)
        errors = [line for line in ptk.said().splitlines() if "error:" in line]
        if (code := ptk.wait()) != 8:
            raise Broken(f"exit {code} instead of 8: {ptk.tail()}")
        if len(errors) != 1 or "Traceback" in ptk.said():
            raise Broken(f"not one message: {ptk.said()[-400:]}")
        room.resume(name, *of(2))
        return f"{seen}; all gone in {seconds:.1f} s"

    return Trial(f"{name}, process {rank}, no restart", run)


def orphaned(name: str) -> Trial:
    """The launcher itself is killed: what it started must not train on, unseen, in a folder that is taken again."""

    def run(room: Room) -> str:
        _, seen = killed(room, name, lambda ptk: psutil.Process(ptk.pid))
        seconds = gone(room)
        room.resume(name, *of(2))
        return f"{seen}; all gone in {seconds:.1f} s"

    return Trial(f"{name}, the launcher", run)


def killed(room: Room, name: str, whom: Callable[[Ptk], psutil.Process], *words: str) -> tuple[Ptk, str]:
    """A run of two processes, one of which is killed at a random moment of training; and how far it had come."""
    ptk = in_training(room, name, 2, *words)
    victim = whom(ptk)
    os.kill(victim.pid, signal.SIGKILL)
    return ptk, room.where()


def rank_of(room: Room, rank: int) -> psutil.Process:
    for process in marked(room.folder):  # by age: what it started itself comes later
        environment = process.environ()
        if environment.get("RANK") == str(rank) and environment.get("LOCAL_RANK"):
            return process
    raise Broken(f"process {rank} of the run is not there")


def gone(room: Room) -> float:
    """Seconds until no process of the run is left."""
    began = time.monotonic()
    while left := marked(room.folder):
        if time.monotonic() - began > GONE:
            raise Broken(f"after {GONE:.0f} s there are still {[p.pid for p in left]}")
        time.sleep(0.02)
    return time.monotonic() - began
