"""Checkpoints: a folder that is whole or not there, to resume from.

    checkpoints/step-00000100/
      model.safetensors   optimizer.pt   state.json   (scaler.pt with fp16)
      manifest.json       written last: the step, and the size and digest of every other file

A checkpoint is written into a hidden folder, flushed, and renamed; only then an older one goes. Loading takes the
newest whose manifest holds, says why it passes over another, and never unpickles anything but tensors (S1). The
tensors are whole ones, whatever the number of processes and however they shared them: another number goes on.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ptk import faults, files
from ptk.errors import CheckpointError

FORMAT = 2


@dataclass
class State:
    """The position of a run: all that is not a tensor."""

    step: int = 0  # updates made
    tokens: int = 0  # seen by all processes
    seconds: float = 0.0  # of training
    bad_steps: int = 0  # in a row, whose gradients were not finite
    window: dict[str, tuple[float, float]] = field(default_factory=dict)  # (total, count) since the last logged line
    window_start: tuple[int, float] = (0, 0.0)  # tokens and seconds at that line
    best: tuple[int, float] | None = None  # step and rank (Objective.rank) of the best validation, where it is kept
    due: bool = False  # a validation of this step is still to be made


def folder_of(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"step-{step:08d}"


# Writing ---------------------------------------------------------------------------------------------------


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Every weight and saved buffer once: a tied one under the first of its names."""
    once: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        once.setdefault(id(tensor), (name, tensor.detach()))
    return dict(once.values())


def write(
    folder: Path,
    state: State,
    tensors: Mapping[str, Tensor],
    extra: Mapping[str, Any],
    about: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of ``state.step``.

    ``tensors``: the weights, each in memory of its own; ``extra``: name -> a state_dict of tensors and numbers;
    ``about``: what else the manifest says. DiskError, and no trace of it, when the disk is full or read-only.
    """
    final, step = folder_of(folder, state.step), state.step
    aside = folder / f".tmp-{step:08d}-{os.getpid()}"
    with files.disk_errors(folder, needed=nbytes(tensors) + nbytes(extra)):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            aside.mkdir()
            faults.at("after-mkdir", step)
            with written(aside / "model.safetensors", step) as path:
                safetensors.torch.save_file(dict(tensors), path, metadata={"format": "pt"})
            for name, content in extra.items():
                with written(aside / f"{name}.pt", step) as path:
                    torch.save(content, path)
            with written(aside / "state.json", step) as path:
                files.write_json(path, asdict(state))
            with written(aside / "manifest.json", step) as path:
                write_manifest(path, {"step": step, **about})
            files.remove_folder(final)  # one that was damaged
            os.rename(aside, final)
            faults.at("after-rename", step)
            files.flush(folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return final


@contextmanager
def written(path: Path, step: int) -> Iterator[Path]:
    """A file of the checkpoint: when this ends it is on the disk."""
    faults.at(f"before-file:{path.stem}", step)
    yield path
    files.flush(path)
    faults.at(f"after-file:{path.stem}", step)


def write_manifest(path: Path, about: Mapping[str, Any]) -> None:
    others = sorted(other for other in path.parent.iterdir() if other != path)
    found = {other.name: {"size": other.stat().st_size, "xxh3": files.digest(other)} for other in others}
    files.write_text(path, manifest_text({"format": FORMAT, **about, "files": found}))
    files.flush(path.parent)


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """The manifest with its own digest: not a bit of it can change unnoticed."""
    own = files.fingerprint(manifest)
    return json.dumps({**manifest, "xxh3": own}, indent=1, ensure_ascii=False) + "\n"


def nbytes(value: Any) -> int:
    """Bytes of all tensors in a nest of mappings and sequences."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(nbytes, value.values()))
    return sum(map(nbytes, value)) if isinstance(value, (list, tuple)) else 0


def size(model: nn.Module, copies: int) -> int:
    """Bytes of so many checkpoints of a model with two moments a weight, and of its export."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return 3 * weights * copies + weights


def prune(folder: Path, step: int, keep: int, best: int | None = None) -> dict[Path, str]:
    """After that of ``step``, drop all but the ``keep`` newest and the one of step ``best``.

    Returns what could not be deleted, and why: that is no reason to stop (R19). One that goes is renamed first: half
    deleted, it is no checkpoint.
    """
    failed = {}
    left = list(folder.glob(".tmp-old-*"))  # which could not be deleted before
    for old in [*left, *newest_first(folder)[keep:]]:
        if best is not None and old == folder_of(folder, best):
            continue
        try:
            aside = old if old in left else old.rename(old.with_name(f".tmp-old-{old.name}"))
            faults.at("after-hide", step)
            files.remove_folder(aside)
        except OSError as error:
            failed[old] = error.strerror or str(error)
    faults.at("after-delete", step)
    return failed


# Reading ---------------------------------------------------------------------------------------------------


def newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises ValueError when a bit of it is not what was written."""
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    without = {name: value for name, value in manifest.items() if name != "xxh3"}
    if text != manifest_text(without):
        raise ValueError("its checksum differs")
    return manifest


def fault(folder: Path) -> str | None:
    """Why a checkpoint cannot be used, or None: every file is there, of its size and digest (R11 to R13)."""
    try:
        manifest = read_manifest(folder)
        expected = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "manifest.json is missing or damaged"
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder}: a checkpoint of format {manifest.get('format')}, this ptk reads {FORMAT}; go on with the ptk "
            f"that wrote it ({manifest.get('ptk')}), or use another --run"
        )
    return next((reason for name, about in expected.items() if (reason := fault_of(folder / name, about))), None)


def fault_of(path: Path, about: Mapping[str, Any]) -> str | None:
    """Why a file is not the one of the manifest, or None."""
    if not path.is_file():
        return f"{path.name} is missing"
    if (size := path.stat().st_size) != about["size"]:
        return f"{path.name} has {size:,} bytes instead of {about['size']:,}"
    try:
        return None if files.digest(path) == about["xxh3"] else f"{path.name} is damaged (its checksum differs)"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"


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
    reasons: dict[Path, str] = {}
    for path in newest_first(folder):
        reason = fault(path)
        if reason is None:
            return path, reasons
        reasons[path] = reason
    if reasons:
        lines = [f"{path}: {reason}" for path, reason in reasons.items()]
        raise CheckpointError("no usable checkpoint:\n" + "\n".join(lines) + "\nuse --overwrite to start again")
    return None, reasons


def load_weights(folder: Path, model: nn.Module) -> None:
    """Weights of a checkpoint into ``model``. Raises CheckpointError when they are another model's."""
    try:
        missing, unexpected = safetensors.torch.load_model(model, str(folder / "model.safetensors"), strict=False)
    except RuntimeError as error:
        missing, unexpected = [str(error).strip().splitlines()[-1].strip()], []
    if missing or unexpected:
        names = ", ".join([*missing, *unexpected][:5])
        raise CheckpointError(f"{folder}: weights of another model ({names}); use another --run for this one")


def load(folder: Path, model: nn.Module) -> tuple[State, dict[str, Any]]:
    """Weights into ``model``; the state, and the other state_dicts by name."""
    load_weights(folder, model)
    states = [folder / name for name in read_manifest(folder)["files"] if name.endswith(".pt")]
    extra = {path.stem: torch.load(path, map_location="cpu", weights_only=True) for path in states}
    values = json.loads((folder / "state.json").read_text())
    values["window"] = {name: (total, count) for name, (total, count) in values["window"].items()}
    values["window_start"] = tuple(values["window_start"])
    values["best"] = tuple(values["best"]) if values["best"] else None
    return State(**values), extra
