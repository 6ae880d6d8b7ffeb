"""A damaged checkpoint is known, and the one before it used: flipped bits, cut and missing files (R11 to R13)."""

import itertools
import shutil
from pathlib import Path

from chaos.lab import KEEP, RECIPES, Lab, Room, Trial
from chaos.started import Broken

WHOLE_COMMAND = 6  # flips that go through ptk --resume
LENGTHS = {  # how a file is cut: name -> bytes of it that stay, None for no file at all
    "0 bytes": lambda size: 0,
    "1 byte": lambda size: 1,
    "half": lambda size: size // 2,
    "all but 1": lambda size: size - 1,
    "removed": lambda size: None,
}


def flips(lab: Lab, trials: int = 100) -> list[Trial]:
    """A random bit of a file of the newest checkpoint is flipped; the last few trials go through --resume"""
    through = min(WHOLE_COMMAND, trials // 10)
    found = []
    for number in range(trials):
        name = list(RECIPES)[number % len(RECIPES)]
        file = checkpoint_files(lab, name)[number // len(RECIPES) % len(checkpoint_files(lab, name))]
        found.append(flip(name, file, command=number >= trials - through))
    return found


def flip(name: str, file: str, command: bool) -> Trial:
    def run(room: Room) -> str:
        path = copied(room, name) / file
        content = bytearray(path.read_bytes())
        place, bit = room.random.randrange(len(content)), room.random.randrange(8)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        passed_over(room, name, command)
        return f"byte {place:,} bit {bit}"

    return Trial(f"{name}, {file}{' --resume' if command else ''}", run)


def cuts(lab: Lab, trials: int | None = None) -> list[Trial]:
    """Every file of the newest checkpoint cut to 0, 1, n/2, n-1 bytes or removed; some through --resume"""
    name = "bert"
    found = [cut(name, file, length, False) for file in checkpoint_files(lab, name) for length in LENGTHS]
    lengths = itertools.cycle(LENGTHS)
    found += [cut(name, file, next(lengths), True) for file in checkpoint_files(lab, name)]
    return [*found, nothing_left(name)][:trials]


def cut(name: str, file: str, length: str, command: bool) -> Trial:
    def run(room: Room) -> str:
        path = copied(room, name) / file
        content = path.read_bytes()
        stays = LENGTHS[length](len(content))
        path.unlink() if stays is None else path.write_bytes(content[:stays])
        passed_over(room, name, command)
        return f"of {len(content):,} bytes"

    return Trial(f"{name}, {file}, {length}{' --resume' if command else ''}", run)


def nothing_left(name: str) -> Trial:
    """Without an older checkpoint: exit 5, and nothing is thrown away."""

    def run(room: Room) -> str:
        newest = copied(room, name)
        for folder in newest.parent.glob("step-*"):
            (folder / "optimizer.pt").write_bytes(b"")
        said = room.ends(5, name, "--resume")
        if said.count("no usable checkpoint") != 1 or "Traceback" in said or len(list(newest.parent.iterdir())) != KEEP:
            raise Broken(f"not one message, or checkpoints gone: {said[-300:]}")
        return "exit 5, both named"

    return Trial(f"{name}, every checkpoint, exit 5", run)


def checkpoint_files(lab: Lab, name: str) -> list[str]:
    newest = max((lab.undisturbed(name).folder / "checkpoints").glob("step-*"))
    return sorted(path.name for path in newest.iterdir())


def copied(room: Room, name: str) -> Path:
    """A copy of the undisturbed run, finished but not exported; returns its newest checkpoint."""
    shutil.copytree(room.lab.undisturbed(name).folder, room.run)
    shutil.rmtree(room.run / "model")
    return max((room.run / "checkpoints").glob("step-*"))


def passed_over(room: Room, name: str, command: bool) -> None:
    """The damaged newest checkpoint is named and the older one taken; by the whole command if asked."""
    from ptk import checkpoint

    older, newest = sorted((room.run / "checkpoints").glob("step-*"))
    found, reasons = checkpoint.find(room.run / "checkpoints")
    if found != older or list(reasons) != [newest]:
        raise Broken(f"{found} is taken, faults are {reasons}")
    if command:
        said = room.resume(name)
        damaged = newest.with_name(f"damaged-{newest.name}")
        if f"resuming from {older}" not in said or str(newest) not in said or not damaged.exists():
            raise Broken(f"the older one was not taken, or nothing said: {said[-300:]}")
