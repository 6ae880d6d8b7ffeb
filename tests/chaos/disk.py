"""A disk that is full or turns read-only: exit 4, one message, no half checkpoint; with room again it goes on (R10).

As root on real file systems (tmpfs of a chosen size, remounted read-only); besides and otherwise on planned errors.
"""

import contextlib
import functools
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from chaos.kills import EXPORT_POINTS
from chaos.lab import KEEP, RECIPES, Lab, Room, Trial
from chaos.started import Broken

PAGE = 4096  # what the smallest file takes of a tmpfs
COARSE, FINE = 10, 6  # sizes of a disk: over one whole checkpoint, and a page apart under what suffices
MANY = 6  # checkpoints kept, so that the estimate of the run lets disks pass on which its last one fits in part only
FILLED = 6  # runs whose disk is filled by somebody else
MIDDLE = 8  # a step at which every recipe saves
AMPLE = 64 << 20
ENOUGH = 1.1  # of what a run needs
POINTS = (
    *(f"before-file:{name}@step{MIDDLE}" for name in ("model", "optimizer", "state", "manifest")),
    f"before-log@step{MIDDLE}",
    *(point for point in EXPORT_POINTS if point != "export-renamed"),
)


def full(lab: Lab, trials: int | None = None) -> list[Trial]:
    """The disk is full: at every file by plan, on disks of many sizes, and filled at a random moment"""
    names = list(RECIPES)
    found = [planned(names[number % len(names)], f"{point}:enospc") for number, point in enumerate(POINTS)]
    if can_mount():
        found += [sized("bert", less) for less in sizes(lab)]
        found += [just_enough(name) for name in names]
        found += [filled(names[number % len(names)]) for number in range(FILLED)]
    return found[:trials]


def planned(name: str, fault: str) -> Trial:
    def run(room: Room) -> str:
        room.lab.undisturbed(name)
        refused(room, room.ends(4, name, fault=fault))
        left = room.where()
        room.resume(name)
        return left

    return Trial(f"{name}, {fault}", run)


def sizes(lab: Lab) -> list[int]:
    """How many bytes less than it needs a run is given."""
    whole = need(lab.undisturbed("bert").folder, 1) - need(lab.undisturbed("bert").folder, 0)
    return [*(whole * number // COARSE for number in range(COARSE, 0, -1)), *(PAGE * n for n in range(FINE, -1, -1))]


def sized(name: str, less: int) -> Trial:
    def run(room: Room) -> str:
        room.run.mkdir()
        size = need(room.lab.undisturbed(name).folder, MANY + 1) - less
        with mounted(room.run, size):
            ptk = room.start(name, f"train.keep={MANY}")
            code = ptk.wait()
            if code not in (0, 4):
                raise Broken(f"exit {code} on a disk of {size:,} bytes: {ptk.tail()}")
            left = f"{size >> 10} kB: exit {code}, {room.where()}"
            if code == 0:
                room.same(name)
                return left
            refused(room, ptk.said())
            mount("-o", f"remount,size={AMPLE}", str(room.run))
            room.resume(name)
        return left

    return Trial(f"{name}, {less >> 10} kB too few", run)


def just_enough(name: str) -> Trial:
    """What suffices for a run suffices for going on with it: its own checkpoints are not in its way."""

    def run(room: Room) -> str:
        room.run.mkdir()
        clock = room.lab.undisturbed(name)
        with mounted(room.run, int(need(clock.folder, KEEP + 1) * ENOUGH)):
            ptk = room.start(name)
            ptk.until(room.trains, "training")
            ptk.runs_for(room.random.uniform(clock.training / 2, clock.training))
            ptk.kill()
            seen = room.where()
            room.resume(name)
        return seen

    return Trial(f"{name}, killed on a disk that just suffices", run)


def filled(name: str) -> Trial:
    def run(room: Room) -> str:
        room.run.mkdir()
        clock = room.lab.undisturbed(name)
        with mounted(room.run, AMPLE):
            ballast = room.run / "ballast"
            ptk = room.start(name)
            ptk.until(room.trains, "training")
            ptk.runs_for(room.random.uniform(0, clock.training / 2))
            left = room.random.randrange(need(clock.folder, 1))
            fill(ballast, left)
            if (code := ptk.wait()) not in (0, 4):
                raise Broken(f"exit {code} with {left:,} bytes free: {ptk.tail()}")
            seen = f"{left >> 10} kB left: {room.where()}"
            ballast.unlink()
            if code:
                refused(room, ptk.said())
                room.resume(name)
            else:  # by then it had all that it needs
                room.same(name)
                seen += ", which sufficed"
        return seen

    return Trial(f"{name}, filled while it trains", run)


def read_only(lab: Lab, trials: int | None = None) -> list[Trial]:
    """The disk turns read-only while the run trains (exit 4), or is so from the start (exit 2)"""
    names = list(RECIPES)
    found = [planned(names[number % len(names)], f"{point}:erofs") for number, point in enumerate(POINTS)]
    if can_mount():
        found += [remounted(name) for name in names]
        found += [closed(folder) for folder in ("run", "run/run")]
    return found[:trials]


def remounted(name: str) -> Trial:
    """checkpoints/ is a disk of its own: one with a file open for writing, such as the lock, cannot be remounted."""

    def run(room: Room) -> str:
        clock = room.lab.undisturbed(name)
        disk = room.run / "checkpoints"
        disk.mkdir(parents=True)
        with mounted(disk, AMPLE):
            ptk = room.start(name, "--resume")
            ptk.until(room.trains, "training")
            ptk.runs_for(room.random.uniform(0, clock.training / 3))
            ptk.until(lambda: mount("-o", "remount,ro", str(disk), check=False), "a moment between two saves")
            if (code := ptk.wait()) != 4:
                raise Broken(f"exit {code} on a read-only disk: {ptk.tail()}")
            message(ptk.said(), str(room.run))
            seen = room.where()
            mount("-o", "remount,rw", str(disk))
            room.resume(name)
        return seen

    return Trial(f"{name}, checkpoints/ remounted read-only", run)


def closed(folder: str) -> Trial:
    def run(room: Room) -> str:
        room.run.mkdir()
        with mounted(room.run, AMPLE):
            mount("-o", "remount,ro", str(room.run))
            said = room.ends(2, "bert", run=room.folder / folder)
        if "Traceback" in said or said.count("error:") != 1 or "model:" in said:
            raise Broken(f"not one message before any work: {said[-300:]}")
        return "exit 2"

    return Trial(f"--run {folder} on a read-only disk", run)


def refused(room: Room, said: str) -> None:
    """One message that names the place and the remedy; no half checkpoint; what is left is whole."""
    from ptk import checkpoint

    message(said, str(room.run))
    left = [path.name for path in (*room.run.glob("checkpoints/.*"), *room.run.glob(".model-*"))]
    broken = [path.name for path in room.run.glob("checkpoints/step-*") if checkpoint.fault(path)]
    if left or broken:
        raise Broken(f"left behind: {', '.join(left + broken)}")


def message(said: str, place: str) -> None:
    errors = [line for line in said.splitlines() if "error:" in line]
    remedies = ("--resume", "free", "choose another")
    if "Traceback" in said or len(errors) != 1 or place not in errors[0] or not any(r in errors[0] for r in remedies):
        raise Broken(f"not one message with place and remedy: {said[-300:]}")


def need(run: Path, checkpoints: int) -> int:
    """Bytes of so many checkpoints of a run, and of the logs beside them; its model is smaller than a checkpoint."""
    newest = max((run / "checkpoints").glob("step-*"))
    logs = [path for path in run.iterdir() if path.is_file()]
    return pages(logs) + checkpoints * pages(newest.iterdir())


def pages(files: Iterable[Path]) -> int:
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in files)


def fill(ballast: Path, left: int) -> None:
    """Take all of a disk but ``left`` bytes."""
    with contextlib.suppress(OSError), open(ballast, "wb") as file:
        while True:
            usage = os.statvfs(ballast.parent)
            more = usage.f_bavail * usage.f_frsize - left
            if more <= 0:
                return
            file.write(bytes(more))
            file.flush()


@functools.cache
def can_mount() -> bool:
    """As root, outside most containers."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        allowed = mount("-t", "tmpfs", "-o", f"size={PAGE}", "tmpfs", folder, check=False)
        if allowed:
            subprocess.run(["umount", folder], check=True)
    return allowed


def mount(*words: str, check: bool = True) -> bool:
    return subprocess.run(["mount", *words], check=check, capture_output=True).returncode == 0


@contextlib.contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """A disk of ``size`` bytes in a folder."""
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        time.sleep(0.05)
        subprocess.run(["umount", "-l", str(folder)], check=True)
