"""What every experiment shares: tiny recipes, undisturbed runs to compare with, a folder and a seed for each trial."""

import json
import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import yaml
from conftest import TINY, sections_of
from running import logged
from tiny_tasks import EVERY_HEAD, write_recipe

from chaos.started import MARK, PATIENCE, Broken, Ptk, marked

# name -> objective of tests/conftest.py or head of tests/tiny_tasks.py, and how often it saves
RECIPES = {"bert": ("mlm-next", 1), "t5": ("span_corruption", 2), "electra": ("rtd", 2), "tagger": ("tagging", 2)}
DROPOUT = 0.1
KEEP = 2  # checkpoints
EVERY = {"epochs": 3, "batch_size": 24, "micro_batch_size": 5, "keep": KEEP, "eval_every": 8}
TIMED = ("seconds", "model")  # of results.json
LONGER = "heartbeat.json"  # what only a run of more than ten seconds writes


class Undisturbed(NamedTuple):
    """A run that nothing happened to, and its clock in seconds."""

    folder: Path
    steps: int
    start_up: float  # until the first line of metrics.jsonl
    training: float  # from there to the end, the export included


@dataclass
class Lab:
    """One pass of experiments. ``warm``: ptk is forked, see started.py."""

    folder: Path
    seed: int
    warm: bool = False
    undisturbed_runs: dict[tuple[str, int], Undisturbed] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def room(self, experiment: str, number: int) -> "Room":
        """The folder of a trial, empty, and its random numbers."""
        folder = self.folder / f"{experiment}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return Room(self, folder, random.Random(f"{self.seed} {experiment} {number}"))

    def recipe(self, name: str) -> Path:
        """A recipe file of ``RECIPES``, written once, on a text written once."""
        with self.lock:
            path, text = self.folder / f"{name}.yaml", self.folder / "text.txt"
            if not text.exists():
                text.write_text(documents(), encoding="utf-8")
            if not path.exists():
                objective, save_every = RECIPES[name]
                if objective in EVERY_HEAD:
                    recipe = yaml.safe_load(write_recipe(objective, self.folder, DROPOUT).read_text())
                else:
                    recipe = yaml.safe_load(TINY.replace("PATH", str(text)))
                    recipe |= {key: yaml.safe_load(value) for key, value in sections_of(objective, DROPOUT).items()}
                del recipe["train"]["steps"]
                recipe["train"] |= {**EVERY, "save_every": save_every}
                path.write_text(yaml.safe_dump(recipe))
            return path

    def undisturbed(self, name: str, processes: int = 1) -> Undisturbed:
        """Made when it is first asked for."""
        with self.lock:
            if (name, processes) not in self.undisturbed_runs:
                self.undisturbed_runs[name, processes] = self.measured(name, processes)
            return self.undisturbed_runs[name, processes]

    def measured(self, name: str, processes: int) -> Undisturbed:
        room = self.room(f"undisturbed-{name}", processes)
        room.ends(0, name, *of(processes))  # the first also builds the store and the tokenizer
        shutil.rmtree(room.run)
        began = time.monotonic()
        ptk = room.start(name, *of(processes))
        ptk.until(room.trains, "training")
        marked = time.monotonic()
        if code := ptk.wait():
            raise Broken(f"undisturbed {name} ends with {code}: {ptk.tail()}")
        steps = max(line["step"] for line in logged(room.run))  # type: ignore[type-var]
        return Undisturbed(room.run, steps, marked - began, time.monotonic() - marked)  # type: ignore[arg-type]


@dataclass
class Room:
    """Where one trial happens."""

    lab: Lab
    folder: Path
    random: random.Random
    started: list[Ptk] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def start(self, name: str, *words: str, fault: str = "", cache: Path | None = None, run: Path | None = None) -> Ptk:
        environment = {"PTK_CACHE": str(cache or self.lab.folder / "cache"), "PTK_FAULT": fault, MARK: str(self.folder)}
        makes = "finetune" if RECIPES[name][0] in EVERY_HEAD else "pretrain"
        command = [makes, str(self.lab.recipe(name)), "--run", str(run or self.run), "--offline", *words]
        log = self.folder / f"said-{len(self.started)}.txt"
        self.started.append(Ptk(command, environment, log, self.lab.warm))
        return self.started[-1]

    def ends(self, code: int, name: str, *words: str, seconds: float = PATIENCE, **more) -> str:
        """Run ptk to its end, which has to be ``code``; returns what it said."""
        ptk = self.start(name, *words, **more)
        if (found := ptk.wait(seconds)) != code:
            raise Broken(f"exit {found} instead of {code}: {ptk.tail()}")
        return ptk.said()

    def resume(self, name: str, *words: str, **more) -> str:
        """Go on to the end, which leaves what the undisturbed run did."""
        said = self.ends(0, name, "--resume", *words, **more)
        self.same(name, 2 if "--processes" in words else 1)
        return said

    def same(self, name: str, processes: int = 1) -> None:
        """The run is what the undisturbed one is."""
        same(self.run, self.lab.undisturbed(name, processes).folder)

    def clear(self) -> None:
        """End what a trial left running."""
        for ptk in self.started:
            ptk.kill()
        for process in marked(self.folder):
            process.kill()

    def metrics(self) -> list[str]:
        path = self.run / "metrics.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def trains(self) -> bool:
        return bool(self.metrics())

    def where(self) -> str:
        """How far a run came, in words."""
        steps = sorted(path.name for path in self.run.glob("checkpoints/step-*"))
        aside = [path.name for path in (*self.run.glob("checkpoints/.*"), *self.run.glob(".model-*"))]
        last = int(steps[-1][5:]) if steps else 0
        place = f"after step {last}" if steps else "in its first steps" if self.trains() else "before training"
        return f"{place}{', while writing ' + aside[0] if aside else ''}"


class Trial(NamedTuple):
    """``run`` returns what was seen, in a few words, and raises Broken."""

    name: str
    run: Callable[[Room], str]


def of(processes: int) -> list[str]:
    return ["--processes", str(processes)] if processes > 1 else []


def documents() -> str:
    """90 documents of 6 to 12 sentences, one a line, each about a few words of its own."""
    rng = random.Random(0)
    words = (
        ["the cat", "a dog", "my friend", "the old king", "her sister", "one bird"],
        ["sees", "finds", "likes", "follows", "forgets", "draws"],
        ["a red house", "the river", "an apple", "the long road", "some stones", "two small boats"],
    )
    found = []
    for _ in range(90):
        own = [rng.sample(choice, 3) for choice in words]
        lines = [" ".join(rng.choice(choice) for choice in own) + "." for _ in range(rng.randint(6, 12))]
        found.append("\n".join(lines))
    return "\n\n".join(found) + "\n"


def same(run: Path, undisturbed: Path) -> None:
    """The run is finished and has everything of the other, bit for bit but for clocks, and nothing else."""
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    status = json.loads((run / "status.json").read_text())
    if (status["status"], status["exit_code"]) != ("finished", 0):
        raise Broken(f"status.json says {status}")
    if more := names(run) ^ names(undisturbed):
        raise Broken(f"only in one of the two runs: {', '.join(sorted(more))}")
    for part in ("model", "predictions"):
        one, other = files(run / part), files(undisturbed / part)
        if different := [name for name in one | other if one.get(name) != other.get(name)]:
            raise Broken(f"{part}/ differs in {', '.join(different)}")
    if logged(run) != logged(undisturbed):
        line = next((a for a, b in zip(logged(run), logged(undisturbed), strict=False) if a != b), "its length")
        raise Broken(f"metrics.jsonl differs in {line}")
    results = [json.loads((folder / "results.json").read_text()) for folder in (run, undisturbed)]
    if any(results[0][name] != results[1][name] for name in results[0].keys() - set(TIMED)):
        raise Broken("results.json differs")


def names(run: Path) -> set[str]:
    """What lies in a run directory and in checkpoints/; the number of checkpoints may be another after a stop."""
    found = [*run.iterdir(), *(run / "checkpoints").iterdir()]
    return {path.name for path in found if not path.name.startswith(("step-", "damaged-step-", LONGER))}


def files(folder: Path) -> dict[str, bytes]:
    """Relative path -> bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
