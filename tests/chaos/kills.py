"""SIGKILL of the process group: at a random moment, at every point of a save, during the export (R9, R24)."""

import shutil
import signal
from pathlib import Path

# Here and not where they are used: two lanes that import transformers at once break it.
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from chaos.lab import KEEP, RECIPES, Lab, Room, Trial, files
from chaos.started import Broken

AGAIN = 1 / 3  # how often a resumed run is killed too
DRAWS = 8  # moments tried: one that comes after the end of the run is drawn again
SAVE_POINTS = (
    "after-mkdir",
    *(f"after-file:{name}" for name in ("model", "optimizer", "state", "manifest")),
    "after-rename",
    "after-hide",
    "after-delete",
)
EXPORT_POINTS = tuple(f"export-{name}" for name in ("begin", "weights", "tokenizer", "card", "removed", "renamed"))
SLOW = ",".join(f"{point}:slow" for point in EXPORT_POINTS)
SLOW_SECONDS = 0.5  # each


def at_random(lab: Lab, trials: int = 50) -> list[Trial]:
    """SIGKILL of the process group at a random moment, then --resume, which is killed too now and then"""
    names = list(RECIPES)
    return [random_kill(names[number % len(names)], anywhere=number % 3 == 2) for number in range(trials)]


def random_kill(name: str, anywhere: bool) -> Trial:
    """``anywhere``: the start-up is as likely as training, with a cache of its own, so that building is killed too."""

    def run(room: Room) -> str:
        cache = room.folder / "cache" if anywhere else None
        for _ in range(DRAWS):
            if seen := killed(room, name, anywhere, cache):
                break
            shutil.rmtree(room.run)  # it had ended by then
        else:
            raise Broken(f"it ended before it was killed, {DRAWS} times")
        while room.random.random() < AGAIN:
            seen += "; again " + (killed(room, name, anywhere, cache, "--resume") or "when it had ended")
        room.resume(name, cache=cache)
        return seen

    return Trial(f"{name}, {'any moment' if anywhere else 'while training'}", run)


def killed(room: Room, name: str, anywhere: bool, cache: Path | None, *words: str) -> str:
    """Start, kill at a random moment, and say where that was; nothing when the run ended before."""
    clock, before = room.lab.undisturbed(name), room.metrics()
    ptk = room.start(name, *words, cache=cache)
    if not anywhere:
        ptk.until(lambda: room.metrics() != before or ptk.code() is not None, "training", alive=False)
    alive = ptk.runs_for(room.random.uniform(0, clock.training + clock.start_up * anywhere))
    ptk.kill()
    whole_or_absent(room, name)
    return room.where() if alive else ""


def whole_or_absent(room: Room, name: str) -> None:
    """What a kill leaves under its own name can be used, before anything has tidied up."""
    from ptk import checkpoint

    for folder in room.run.glob("checkpoints/step-*"):
        if reason := checkpoint.fault(folder):
            raise Broken(f"a kill left {folder.name}: {reason}")
    model = room.run / "model"
    if model.exists() and files(model) != files(room.lab.undisturbed(name).folder / "model"):
        raise Broken("a kill left a part of model/")


def at_points(lab: Lab, trials: int | None = None) -> list[Trial]:
    """SIGKILL after each step of a save (mkdir, each file, rename, delete), then --resume"""
    return [point_kill(name, point) for name in RECIPES for point in SAVE_POINTS][:trials]


def point_kill(name: str, point: str) -> Trial:
    def run(room: Room) -> str:
        every = RECIPES[name][1]
        saves = room.lab.undisturbed(name).steps // every
        step = every * room.random.randint(KEEP + 1, saves)  # an older one is deleted from the third save on
        planned(room, name, f"{point}@step{step}:kill9")
        room.resume(name)
        return f"step {step}"

    return Trial(f"{name}, {point}", run)


def every_point(name: str) -> Trial:
    """One run that is killed at every point in turn, each time a save later."""

    def run(room: Room) -> str:
        words: list[str] = []
        for number, point in enumerate(SAVE_POINTS, KEEP + 1):
            planned(room, name, f"{point}@step{number * RECIPES[name][1]}:kill9", *words)
            words = ["--resume"]
        room.resume(name)
        return f"{len(SAVE_POINTS)} kills"

    return Trial(f"{name}, every point of a save", run)


def planned(room: Room, name: str, fault: str, *words: str) -> None:
    """Run ptk into a planned SIGKILL."""
    ptk = room.start(name, *words, fault=fault)
    if (code := ptk.wait()) != -signal.SIGKILL:
        raise Broken(f"{fault} was not met: exit {code}: {ptk.tail()}")
    whole_or_absent(room, name)


def in_export(lab: Lab, trials: int = 20) -> list[Trial]:
    """SIGKILL at each point of the export and at random moments of it, then --resume; the model loads"""
    names = list(RECIPES)
    points = [*EXPORT_POINTS, *[None] * max(0, trials - len(EXPORT_POINTS))][:trials]
    return [export_kill(names[number % len(names)], point, number % 2 == 1) for number, point in enumerate(points)]


def export_kill(name: str, point: str | None, again: bool) -> Trial:
    """``again``: over the export of a finished run, as --resume does, so that an older model/ is there to lose."""

    def run(room: Room) -> str:
        words = []
        if again:
            shutil.copytree(room.lab.undisturbed(name).folder, room.run)
            words = ["--resume"]
        if point:
            planned(room, name, f"{point}:kill9", *words)
        else:
            random_moment_of_export(room, name, words)
        whole_or_absent(room, name)
        seen = room.where()
        room.resume(name)
        loads(room.run / "model")
        return seen

    return Trial(f"{name}, {point or 'random'}{', over an older export' if again else ''}", run)


def random_moment_of_export(room: Room, name: str, words: list[str]) -> None:
    """The export is slowed down; it begins when the folder that is written aside is there."""
    ptk = room.start(name, *words, fault=SLOW)
    ptk.until(lambda: any(room.run.glob(".model-*")), "the export")
    if not ptk.runs_for(room.random.uniform(0, (len(EXPORT_POINTS) - 1) * SLOW_SECONDS)):
        raise Broken(f"it ended before it was killed: {ptk.tail()}")
    ptk.kill()


def loads(model: Path) -> None:
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # that AutoModel leaves the heads out is known
    AutoModel.from_pretrained(model)
    AutoTokenizer.from_pretrained(model)
