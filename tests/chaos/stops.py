"""Signals that a run obeys, and a second run in its folder (R14, R23)."""

import shutil
import signal

from chaos.lab import RECIPES, Lab, Room, Trial, of
from chaos.started import Broken, Ptk

LATEST = 0.6  # of the time that training takes undisturbed
DRAWS = 6  # moments tried: one that comes too late is drawn again
FLAGS = ("", "--resume", "--overwrite")  # none of them takes a folder that is in use
SELDOM = "train.save_every=1000000"  # so that a checkpoint on the way is the signal's


def second_run(lab: Lab, trials: int | None = None) -> list[Trial]:
    """A second run in the folder of one that trains: exit 2, one message, and the first is unharmed"""
    return [second(name, flag) for name, flag in zip(RECIPES, FLAGS, strict=False)][:trials]


def second(name: str, flag: str) -> Trial:
    def run(room: Room) -> str:
        clock = room.lab.undisturbed(name)
        first = room.start(name)
        first.until(room.trains, "training")
        first.runs_for(room.random.uniform(0, clock.training / 2))
        first.send(signal.SIGSTOP)  # or it would end while the second starts
        said = room.ends(2, name, *filter(None, [flag]))
        who = f"process {first.pid}" if flag else "holds a run already"
        if said.count("error:") != 1 or who not in said:
            raise Broken(f"the second says {said[-300:]}")
        seen = room.where()
        first.send(signal.SIGCONT)
        if code := first.wait():
            raise Broken(f"the first ends with {code}: {first.tail()}")
        room.same(name)
        return seen

    return Trial(f"{name} {flag}".strip(), run)


def signals(lab: Lab, trials: int = 12) -> list[Trial]:
    """SIGTERM, SIGINT or SIGUSR1 at a random moment, to one process and to --processes 2"""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    names = list(RECIPES)
    found = []
    for trial in range(trials):
        number, processes = numbers[trial % 3], trial // 3 % 2 + 1
        name = names[(trial + trial // 6) % 3]
        found.append(saved(name, processes) if number == signal.SIGUSR1 else stopped(name, number, processes))
    return found


def stopped(name: str, number: signal.Signals, processes: int) -> Trial:
    """Exit 128 + the signal, status.json says the same, a checkpoint of the very step; then --resume."""

    def run(room: Room) -> str:
        from ptk.run import Run

        for _ in range(DRAWS):
            ptk = in_training(room, name, processes)
            ptk.send(number)
            code = ptk.wait()
            if code != 0 and Run(room.run).read_status()["status"] != "finished":
                break  # else the signal came with the last step, or behind it
        if code != 128 + number:
            raise Broken(f"exit {code} after {number.name}: {ptk.tail()}")
        checked(room, ptk, code)
        seen = room.where()
        room.resume(name, *of(processes))
        return seen

    return Trial(f"{name}, {number.name}, {processes} process{'es' * (processes > 1)}", run)


def in_training(room: Room, name: str, processes: int, *words: str) -> Ptk:
    """A run that has trained for a random part of its time."""
    clock = room.lab.undisturbed(name, processes)
    shutil.rmtree(room.run, ignore_errors=True)
    ptk = room.start(name, *of(processes), *words)
    ptk.until(room.trains, "training")
    ptk.runs_for(room.random.uniform(0, clock.training * LATEST))
    return ptk


def checked(room: Room, ptk: Ptk, code: int) -> None:
    from ptk import checkpoint
    from ptk.run import Run

    status = Run(room.run).read_status()
    newest = checkpoint.newest_first(room.run / "checkpoints")[0]
    steps = [line["step"] for line in Run(room.run).metrics()]
    if (status["status"], status["exit_code"]) != ("interrupted", code):
        raise Broken(f"status.json says {status}")
    if checkpoint.fault(newest) or newest.name != f"step-{max(steps):08d}":
        raise Broken(f"{newest.name} is not the whole checkpoint of the last step {max(steps)}")
    said = [line for line in ptk.said().splitlines() if "--resume" in line]
    if len(said) != 1 or "Traceback" in ptk.said():
        raise Broken(f"not one message: {ptk.said()[-300:]}")


def saved(name: str, processes: int) -> Trial:
    """SIGUSR1 saves and the run goes on to the same end; then it goes on from that checkpoint after a SIGKILL, too."""

    def run(room: Room) -> str:
        from ptk import checkpoint

        for _ in range(DRAWS):
            ptk = in_training(room, name, processes, SELDOM)
            ptk.send(signal.SIGUSR1)
            ptk.until(lambda: ptk.code() is not None or any(room.run.glob("checkpoints/step-*")), "a save", alive=False)  # noqa: B023
            seen = room.where()
            if code := ptk.wait():
                raise Broken(f"exit {code} after SIGUSR1: {ptk.tail()}")
            newest = checkpoint.newest_first(room.run / "checkpoints")
            if len(newest) > 1:
                break  # else the signal came with the last step
        else:
            raise Broken(f"no checkpoint but the last one, {DRAWS} times")
        room.same(name, processes)
        (newest[0] / "manifest.json").unlink()  # now from the one that the signal made
        room.resume(name, *of(processes), SELDOM)
        return seen

    return Trial(f"{name}, SIGUSR1, {processes} process{'es' * (processes > 1)}", run)
