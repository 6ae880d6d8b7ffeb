"""Checkpoints: a folder that is whole or not there, to resume from.

    checkpoints/step-00000100/
      model.safetensors   optimizer.pt   state.json   (scaler.pt with fp16)
      manifest.json       written last: the step, and the size and digest of every other file

A checkpoint is written into a hidden folder, flushed, and renamed; only then an older one goes. Loading takes the
newest whose manifest holds, says why it passes over another, and never unpickles anything but tensors (S1).
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ptk import files
from ptk.errors import CheckpointError

FORMAT = 1


@dataclass
class State:
    """The position of a run: all that is not a tensor."""

    step: int = 0  # updates made
    tokens: int = 0  # seen by all processes
    seconds: float = 0.0  # of training
    bad_steps: int = 0  # in a row, whose gradients were not finite
    window: dict[str, tuple[float, float]] = field(default_factory=dict)  # (total, count) since the last logged line
    window_start: tuple[int, float] = (0, 0.0)  # tokens and seconds at that line


def save(
    folder: Path,
    state: State,
    model: nn.Module,
    extra: Mapping[str, Any],
    about: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write the checkpoint of ``state.step`` and drop all but the ``keep`` newest.

    ``extra``: name -> a state_dict of tensors and numbers; ``about``: what else the manifest says.
    """
    final = folder / f"step-{state.step:08d}"
    if final.exists() and fault(final) is None:
        return final
    aside = folder / f".tmp-{state.step:08d}-{os.getpid()}"
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            aside.mkdir()
            safetensors.torch.save_model(model, str(aside / "model.safetensors"))
            for name, content in extra.items():
                torch.save(content, aside / f"{name}.pt")
            files.write_json(aside / "state.json", asdict(state))
            write_manifest(aside, {"step": state.step, **about})
            files.remove_folder(final)  # one that was damaged
            os.rename(aside, final)
            files.flush(folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    for old in newest_first(folder)[keep:]:
        files.remove_folder(old)
    return final


def write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    found = {}
    for path in sorted(folder.iterdir()):
        files.flush(path)
        found[path.name] = {"size": path.stat().st_size, "xxh3": files.digest(path)}
    files.write_json(folder / "manifest.json", {"format": FORMAT, **about, "files": found})
    files.flush(folder)


def newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []


def fault(folder: Path) -> str | None:
    """Why a checkpoint cannot be used, or None: every file is there, of its size and digest (R11 to R13)."""
    try:
        manifest = files.read_json(folder / "manifest.json")
        expected = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "manifest.json is missing or damaged"
    if manifest.get("format") != FORMAT:
        return f"format {manifest.get('format')}, this ptk reads {FORMAT}"
    for name, about in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != about["size"]:
            return f"{name} has {path.stat().st_size:,} bytes instead of {about['size']:,}"
        if files.digest(path) != about["xxh3"]:
            return f"{name} is damaged (its checksum differs)"
    return None


def size(model: nn.Module, copies: int) -> int:
    """Bytes of so many checkpoints of a model with two moments a weight, and of its export."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return 3 * weights * copies + weights


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint, so that it neither hides nor crowds out a good one."""
    aside = path.with_name(f"damaged-{path.name}")
    files.remove_folder(aside)
    os.rename(path, aside)
    return aside


def find(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest usable checkpoint, and each newer one that is not with the reason.

    Raises CheckpointError when there are some and none can be used.
    """
    faults: dict[Path, str] = {}
    for path in newest_first(folder):
        reason = fault(path)
        if reason is None:
            return path, faults
        faults[path] = reason
    if faults:
        lines = [f"{path}: {reason}" for path, reason in faults.items()]
        raise CheckpointError("no usable checkpoint:\n" + "\n".join(lines) + "\nuse --overwrite to start again")
    return None, faults


def load(folder: Path, model: nn.Module) -> tuple[State, dict[str, Any]]:
    """Weights into ``model``; the state, and the other state_dicts by name."""
    try:
        missing, unexpected = safetensors.torch.load_model(model, str(folder / "model.safetensors"), strict=False)
    except RuntimeError as error:
        missing, unexpected = [str(error).strip().splitlines()[-1].strip()], []
    if missing or unexpected:
        names = ", ".join([*missing, *unexpected][:5])
        raise CheckpointError(f"{folder}: weights of another model ({names}); use another --run for this one")
    extra = {path.stem: torch.load(path, map_location="cpu", weights_only=True) for path in folder.glob("*.pt")}
    values = json.loads((folder / "state.json").read_text())
    values["window"] = {name: (total, count) for name, (total, count) in values["window"].items()}
    values["window_start"] = tuple(values["window_start"])
    return State(**values), extra
