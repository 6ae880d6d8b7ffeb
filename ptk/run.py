"""The run directory: everything to redo, resume, inspect or load one run.

recipe.yaml  environment.json  status.json  metrics.jsonl  checkpoints/  model/  results.json
"""

import contextlib
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from ptk import __version__, faults, files
from ptk.errors import DiskError, PtkError, RecipeError

LOCK = ".lock"
OURS = (
    "recipe.yaml",
    "environment.json",
    "status.json",
    "metrics.jsonl",
    "results.json",
    "report.html",
    "heartbeat.json",
)
OUR_FOLDERS = ("checkpoints", "model", "predictions", "evaluation", "tensorboard", "wandb")


@dataclass(frozen=True)
class Run:
    """A directory. ``writes`` is true in the one process that writes into it."""

    folder: Path
    writes: bool = True
    lock: filelock.BaseFileLock | None = None

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl; a number that is not finite is written as text, which JSON can hold."""
        if not self.writes:
            return
        with files.disk_errors(self.folder):
            faults.at("before-log", line["step"])
            with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({name: printable(value) for name, value in line.items()}) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl that are whole (R24)."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line for text in lines if (line := parsed(text)) is not None]

    def rewind(self, step: int, validated: bool = True) -> None:
        """Drop what was logged after ``step``, its own validation too where that comes again (not ``validated``): a
        resumed run logs no step twice."""

        def stays(line: dict[str, Any]) -> bool:
            at = line.get("step", 0)
            return at < step or (at == step and (validated or line.get("split") != "validation"))

        if self.writes:
            kept = [line for line in self.metrics() if stays(line)]
            files.write_text(self.folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def status(self, state: str, **more: Any) -> None:
        """What the run is doing, or why it stopped and with which exit code."""
        if self.writes:
            files.write_json(self.folder / "status.json", {"status": state, "time": time.strftime("%FT%T%z"), **more})

    def read_status(self) -> dict[str, Any]:
        return files.read_json(self.folder / "status.json") if (self.folder / "status.json").exists() else {}

    def environment(self, **more: Any) -> None:
        if self.writes:
            files.write_json(self.folder / "environment.json", {**versions(), **more})


def printable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and value - value != 0 else value


def parsed(text: str) -> dict[str, Any] | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


def versions() -> dict[str, Any]:
    from importlib.metadata import version

    names = ("torch", "transformers", "tokenizers", "accelerate", "numpy")
    return {
        "ptk": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "platform": platform.platform(),
        "command": sys.argv,
    }


def used(folder: Path) -> bool:
    """Does the folder hold a run? Its lock alone does not count."""
    return any((folder / name).exists() for name in ("recipe.yaml", "metrics.jsonl", "checkpoints", "model"))


def check(folder: Path, resume: bool, overwrite: bool) -> None:
    """Raises RecipeError for a path that cannot be a run, or holds one that neither flag allows to touch (R8, R18)."""
    if folder.is_symlink() and not folder.exists():
        raise RecipeError(f"--run {folder}: a link to nowhere; choose another folder")
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"--run {folder}: a file; choose a folder")
    if used(folder) and not (resume or overwrite):
        raise RecipeError(f"--run {folder}: holds a run already; add --resume to go on or --overwrite to start again")
    if (
        overwrite
        and folder.is_dir()
        and not used(folder)
        and any(p.name not in (LOCK, f"{LOCK}.json", *OURS) for p in folder.iterdir())
    ):
        raise RecipeError(
            f"--run {folder}: holds files but no run; --overwrite deletes runs only: choose another folder"
        )


def open_run(folder: Path, resume: bool, overwrite: bool, writes: bool = True) -> Run:
    """Take a folder for a run; the process that writes locks it.

    Raises RecipeError when it is in use, holds another run and neither flag is given, or cannot be a folder (R8,
    R18, R23). With ``resume`` a folder without a run is a run that has not begun: one killed early goes on too.
    """
    if not writes:
        return Run(folder, writes)
    check(folder, resume, overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(folder, writes, take(folder))
    except OSError as error:
        raise RecipeError(f"--run {folder}: cannot be written ({error.strerror}); choose another folder") from error
    if overwrite:
        clear(folder)
    for left in (*folder.glob("checkpoints/.tmp-*"), *folder.glob(".model-*")):
        files.remove_folder(left)
    for pattern in (".heartbeat-*", *(f".{name}.*" for name in OURS)):  # of files that were being written
        for left in folder.glob(pattern):
            left.unlink(missing_ok=True)
    return run


def clear(folder: Path) -> None:
    """Delete what a run leaves, and nothing else."""
    for left in (*(folder / name for name in OURS), *folder.glob("hang-process-*.txt")):
        left.unlink(missing_ok=True)
    for name in OUR_FOLDERS:
        files.remove_folder(folder / name)


def take(folder: Path) -> filelock.BaseFileLock:
    """One run a folder: a lock of the operating system, which a dead process cannot keep; the file names its holder."""
    path = folder / LOCK
    lock = filelock.FileLock(path, timeout=0)
    holder = folder / f"{LOCK}.json"
    try:
        lock.acquire()
    except filelock.Timeout:
        with contextlib.suppress(OSError, ValueError):
            who = files.read_json(holder)
            raise RecipeError(
                f"--run {folder}: process {who['pid']} on {who['host']} is using it; wait, or choose another folder"
            ) from None
        raise RecipeError(f"--run {folder}: another process is using it; choose another folder") from None
    holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    return lock


def unlock(run: Run) -> None:
    if run.lock is not None:
        (run.folder / f"{LOCK}.json").unlink(missing_ok=True)
        run.lock.release()  # its file stays: another one may have it open already


def failed(run: Run, error: BaseException) -> None:
    """Leave in status.json why a run stopped and its exit code."""
    code = error.exit_code if isinstance(error, PtkError) else 130 if isinstance(error, KeyboardInterrupt) else 1
    state = "interrupted" if code > 128 else "failed"
    with contextlib.suppress(DiskError):  # a full disk may be the reason, or hide another
        run.status(state, exit_code=code, reason=str(error) or type(error).__name__)
