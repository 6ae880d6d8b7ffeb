"""Files that are whole or not there: written aside, flushed to disk, renamed; and full disks by name."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from safetensors import SafetensorError

from ptk.errors import DiskError

NEARLY_FULL = 1 << 20  # bytes


def cache_folder() -> Path:
    """Where stores and built-in corpora are kept: ``$PTK_CACHE``, else the user's cache folder."""
    if named := os.environ.get("PTK_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ptk"


@contextmanager
def disk_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turns what the system says about a full or read-only disk into one line with the remedy.

    ``needed``: bytes of what is written, where they are known.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(path, needed) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise DiskError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
        raise
    except (RuntimeError, SafetensorError) as error:  # what torch and safetensors make of a full disk
        if shutil.disk_usage(existing(path)).free < max(NEARLY_FULL, needed or 0):
            raise no_space(path, needed) from error
        raise


def no_space(path: Path, needed: int | None) -> DiskError:
    free = shutil.disk_usage(existing(path)).free
    wants = f"{needed / 1e6:,.1f} MB are needed, " if needed else ""
    return DiskError(
        f"{path}: no space left: {wants}{free / 1e6:,.1f} MB are free; delete what you do not need, such as other "
        "runs' checkpoints, and go on with --resume"
    )


def require_space(path: Path, needed: int) -> None:
    """Raises DiskError when ``needed`` bytes will not fit."""
    free = shutil.disk_usage(existing(path)).free
    if free < needed:
        raise DiskError(
            f"{path}: checkpoints and model need about {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; "
            "free some, choose another --run, or keep fewer with train.keep"
        )


def size(*folders: Path) -> int:
    """Bytes of all files in some folders, which need not be there."""
    found = [path for folder in folders for path in folder.rglob("*")]
    return sum(path.stat().st_size for path in found if path.is_file())


def existing(path: Path) -> Path:
    """The nearest folder on the way up that is there."""
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def flush(path: Path) -> None:
    """Force a file, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """In UTF-8; half of a surrogate pair, for which it has no bytes, as ``\\udc80``: JSON's own way to write it."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: a temporary file in the same folder, flushed, then renamed."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # mkstemp gives 0600
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def remove_folder(path: Path) -> None:
    """Delete a folder of ours; a symbolic link is unlinked, never followed (S13)."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def digest(path: Path) -> str:
    """xxh3-128 of a file's bytes, as hexadecimal digits."""
    state = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def fingerprint(*parts: Any) -> str:
    """16 hexadecimal digits of anything JSON can hold; equal parts, equal digits, on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return xxhash.xxh3_64_hexdigest(text.encode())


def array(path: Path) -> np.ndarray:
    """A ``.npy`` file, memory-mapped, as a plain array: indexing ``np.memmap`` itself costs microseconds."""
    header = 128  # an array without elements cannot be mapped
    return np.asarray(np.load(path, mmap_mode="r" if path.stat().st_size > header else None))
