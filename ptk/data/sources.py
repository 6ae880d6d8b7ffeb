"""A path of a recipe to the files it means, and the format of each by its name and first bytes."""

import difflib
import glob
import os
import re
import unicodedata
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from ptk.data.decoding import COMPRESSED, open_bytes
from ptk.errors import DataError

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".mdx": "markdown",
    ".rst": "rst",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
# Files that hold text in a wrapping ptk does not take off: reading them as plain text would train on markup.
NOT_PLAIN = (".json", ".html", ".htm", ".xml", ".pdf", ".doc", ".docx", ".odt", ".epub", ".tex", ".rtf")
NOT_TEXT = (".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".arrow", ".pkl", ".npy", ".npz", ".bin", ".xlsx")
_WIKI_NAME = re.compile(r"wiki_\d+")
_WIKI_HEAD = re.compile(rb'(?:\xef\xbb\xbf)?\s*<doc id="')


class SourceFile(NamedTuple):
    path: str
    name: str
    """Relative to the source, with forward slashes: what the fingerprint and the order depend on."""
    format: str
    size: int


class Found(NamedTuple):
    files: tuple[SourceFile, ...]
    skipped: int
    """Files of a folder or glob that are hidden, begin with ``_``, or are of no known format."""


def find_files(path: str) -> Found | None:
    """The files of a path, folder or glob, in order of their names. None when nothing is there.

    In folders and globs, what begins with ``.`` or ``_``, or has no known extension, is skipped; a file that
    is named itself is plain text whatever its extension, unless that says otherwise.
    """
    target = Path(path).expanduser()
    if target.is_file():
        return Found((_source_file(target, target.parent, _named_format(target)),), 0)
    if target.is_dir():
        return _select(_walk(target), target)
    if glob.has_magic(path):
        matches = [Path(match) for match in glob.glob(str(target), recursive=True)]
        paths = [file for match in matches for file in ([match] if match.is_file() else _walk(match))]
        return _select(sorted(set(paths)), _fixed_part(target)) if paths else None
    return None


def not_found(path: str) -> str:
    """``no file or folder PATH``, with names near to it where the path stops existing."""
    target = Path(path).expanduser()
    parent, name = target.parent, target.name
    while not parent.is_dir() and parent != parent.parent:
        parent, name = parent.parent, parent.name
    names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(str(parent / n) for n in near)}?" if near else ""
    return f"no file or folder {path}{hint}"


def file_format(path: Path) -> str | None:
    """The format by extension, without .gz and .zst; text in a name without one only for WikiExtractor's."""
    name = path.name.lower()
    stem, extension = os.path.splitext(name)
    if extension in COMPRESSED:
        stem, extension = os.path.splitext(stem)
    if _WIKI_NAME.fullmatch(stem) and not extension:
        return "text"
    return FORMATS.get(extension)


def _named_format(path: Path) -> str:
    known = file_format(path)
    if known is None and path.suffix.lower() in NOT_PLAIN + NOT_TEXT:
        raise DataError(
            f"{path}: {path.suffix} is not read; give text as {', '.join(FORMATS)}"
            " (.gz and .zst of them too; .jsonl is one JSON object a line)"
        )
    return known or "text"


def _walk(folder: Path) -> list[Path]:
    files: list[Path] = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        files += [Path(where, name) for name in names]
    return files


def _select(paths: list[Path], root: Path) -> Found:
    files = [
        _source_file(path, root, kind)
        for path in paths
        if not path.name.startswith((".", "_")) and path.is_file() and (kind := file_format(path))
    ]
    return Found(tuple(sorted(files, key=lambda file: file.name)), len(paths) - len(files))


def _source_file(path: Path, root: Path, kind: str) -> SourceFile:
    name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
    return SourceFile(str(path), name, _sniffed(path) or kind if kind == "text" else kind, path.stat().st_size)


def _sniffed(path: Path) -> str | None:
    """WikiExtractor writes ``<doc id=...>`` or JSON lines into the same names."""
    try:
        with open_bytes(str(path)) as file:
            head = file.read(200)
    except Exception:  # damaged or unreadable: said when the file is checked
        return None
    if _WIKI_HEAD.match(head):
        return "wiki"
    if _WIKI_NAME.match(path.name.lower()) and head.lstrip().startswith(b"{"):
        return "jsonl"
    return None


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part that holds a glob character."""
    return Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parts))
