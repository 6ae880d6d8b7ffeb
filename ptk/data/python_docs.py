"""The built-in corpus ``python-docs``: the documentation in the Python and the packages that are installed.

The documentation strings of the standard library and of PACKAGES (those that are there), and the language
reference of ``pydoc_data.topics``; files are parsed, never imported. A module is a document, its docstrings in
their order, cleaned by ``docstrings.py``; so is a topic. Tests are left out, a paragraph that came before
(the same letters and digits) is dropped, and so is a document of fewer than MIN_SENTENCES sentences. Equal versions
give equal bytes, on any machine and with any number of processes.
"""

import ast
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import re
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import filelock
import xxhash

from ptk import files
from ptk.data.docstrings import docstrings, paragraphs
from ptk.data.sentences import split

NAME = "python-docs"
RULES = 1  # raised whenever the same versions give other documents
MIN_SENTENCES = 3
PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "numpy",
    "tokenizers",
    "huggingface_hub",
    "pydantic",
    "typer",
    "click",
    "rich",
    "jinja2",
    "fsspec",
    "pandas",
    "pyarrow",
    "sympy",
    "networkx",
    "psutil",
    "httpx",
    "safetensors",
    "packaging",
    "filelock",
    "yaml",
    "tqdm",
    "dill",
    "multiprocess",
)
_DISTRIBUTIONS = {"yaml": "PyYAML"}
_LEFT_OUT = re.compile(
    r"(?:^|/)(?:tests?|idlelib|lib2to3|turtledemo|ensurepip|site-packages|dist-packages|pydoc_data|__pycache__"
    r"|_?vendor(?:ed)?|config-[^/]*|test_[^/]*|[^/]*_test\.py|conftest\.py)(?:/|$)"
)
_CHUNK = 64  # files a worker takes at once
_NOT_LETTERS = re.compile(r"\W+")

Found = tuple[str, list[str]]
"""(module or topic, paragraphs)"""


@cache
def versions() -> dict[str, str]:
    """Python's version and those of PACKAGES, without those that are not installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(_DISTRIBUTIONS.get(package, package))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> str:
    """One line: ``python 3.11.7, torch 2.13.0, ...; not installed: httpx``."""
    absent = [package for package in PACKAGES if package not in versions()]
    named = ", ".join(f"{package} {number}" for package, number in versions().items())
    return named + (f"; not installed: {', '.join(absent)}" if absent else "")


def key() -> str:
    """What the documents depend on, in 16 hexadecimal digits."""
    return files.fingerprint(NAME, RULES, versions(), importlib.metadata.version("sentencex"))


def build(processes: int | None = None) -> Path:
    """The documents as JSON lines of ``text`` and ``name``: from the cache, or parsed now (half a minute)."""
    path = files.cache_folder() / "corpora" / f"{NAME}-{key()}.jsonl"
    if path.exists():
        return path
    with files.disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _write(path, module_files(), processes or _processors())
    return path


def dropped(path: str | Path) -> Counter[str]:
    """Reason to count, of the build that wrote ``path``."""
    return Counter(files.read_json(Path(path).with_suffix(".dropped.json")))


def module_files() -> list[tuple[str, Path]]:
    """(module, file) of the standard library and PACKAGES, in the corpus's order."""
    roots = [("", Path(sysconfig.get_path("stdlib")))]
    for package in versions():
        spec = importlib.util.find_spec(package) if package != "python" else None
        if spec and spec.submodule_search_locations:
            roots.append((package, Path(spec.submodule_search_locations[0])))
    return [pair for package, root in roots for pair in _modules(package, root)]


def _modules(package: str, root: Path) -> Iterator[tuple[str, Path]]:
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py"))
    for name in names:
        if not _LEFT_OUT.search(name):
            parts = [package, *name.removesuffix(".py").removesuffix("__init__").split("/")]
            yield ".".join(part for part in parts if part), root / name


def _write(path: Path, modules: Sequence[tuple[str, Path]], processes: int) -> None:
    """The corpus beside its counts, each written aside and renamed; the corpus last."""
    lost: Counter[str] = Counter()
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            for name, text in _documents([*_topics()], _extract(modules, processes), lost):
                file.write(json.dumps({"text": text, "name": name}, ensure_ascii=False) + "\n")
        files.write_json(path.with_suffix(".dropped.json"), dict(lost))
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _documents(topics: Iterable[Found], modules: Iterable[Found], lost: Counter[str]) -> Iterator[tuple[str, str]]:
    """(name, text) of the documents that are long enough, each paragraph where it comes first."""
    seen: set[int] = set()
    for found in (topics, modules):
        for name, written in found:
            new = []
            for paragraph in written:
                digest = xxhash.xxh3_64_intdigest(_NOT_LETTERS.sub(" ", paragraph.lower()).encode())
                if digest not in seen:
                    seen.add(digest)
                    new.append(paragraph)
            lost["duplicate paragraphs of docstrings"] += len(written) - len(new)
            if sum(len(split(paragraph)) for paragraph in new) >= MIN_SENTENCES:
                yield name, "\n\n".join(new)
            elif new:
                lost[f"modules with fewer than {MIN_SENTENCES} sentences"] += 1


def _topics() -> Iterator[Found]:
    """The language reference as ``help()`` shows it; nothing where Python comes without."""
    spec = importlib.util.find_spec("pydoc_data")
    if not spec or not spec.submodule_search_locations:
        return
    path = Path(spec.submodule_search_locations[0], "topics.py")
    module = ast.parse(path.read_bytes()) if path.exists() else ast.Module([], [])
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for topic, text in sorted(ast.literal_eval(node.value).items()):
                yield f"topic {topic}", paragraphs(text)


def _extract(modules: Sequence[tuple[str, Path]], processes: int) -> Iterator[Found]:
    """The prose of each module, in order, by ``processes`` spawned processes."""
    chunks = [modules[at : at + _CHUNK] for at in range(0, len(modules), _CHUNK)]
    if processes == 1 or len(chunks) < 2 or multiprocessing.current_process().daemon:
        for chunk in chunks:
            yield from _read_chunk(chunk)
        return
    with multiprocessing.get_context("spawn").Pool(min(processes, len(chunks))) as pool:
        for found in pool.imap(_read_chunk, chunks):
            yield from found


def _read_chunk(modules: Sequence[tuple[str, Path]]) -> list[Found]:
    return [
        (name, [each for text in docstrings(path.read_bytes()) for each in paragraphs(text)]) for name, path in modules
    ]


def _processors() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, 8)
