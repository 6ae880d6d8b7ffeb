"""``python-docs/library``: which library is this passage from? Built of the corpus python-docs, nothing to download.

A passage is whole paragraphs of one module's docstrings (or of one topic of the language reference), of MIN_WORDS to
MAX_WORDS words. What would give the answer away is replaced by MASK: the names of all libraries, words that are
written as code (``a_b``, ``a.b``, ``CamelCase``, ``f(``, digits), and the names of modules that are no ordinary words
(that fewer than ORDINARY libraries use). A module is wholly in one split, by the hash of its name; so are its passages
drawn, as many of each library at most as LARGEST says. Equal versions of Python and the packages give equal examples
on any machine; the labels are the libraries that are installed and have enough to read.

With Python 3.11, torch 2.13 and transformers 5.23: 14 libraries, 4,065, 631 and 656 passages. The most frequent label
scores 0.08; logistic regression on TF-IDF, on 1 %, 10 % and 100 % of the training passages, 0.15, 0.46 and 0.66 of the
test passages.

Pretraining on python-docs has read the unmasked text of all three splits, without the answers.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash

from ptk.data import python_docs
from ptk.tasks.examples import Examples
from ptk.tasks.task import Columns, Task

MIN_WORDS, MAX_WORDS = 30, 100
MIN_PASSAGES, MIN_MODULES = 300, 30
"""What a library must have to be a label."""
LARGEST = {"train": 300, "validation": 50, "test": 50}
"""Passages of a library."""
ORDINARY = 4
MASKED = 0.25
MASK = "something"
_BUCKETS = ("validation",) * 3 + ("test",) * 3 + ("train",) * 14
_TOPIC = "topic "
_ALSO_CALLED = ("pytorch", "libtorch", "hugging", "face", "hf", "python", "cpython", "pyyaml", "np", "pd", "nx")
_LETTERS = re.compile(r"[A-Za-z]+")
_WORD = re.compile(r"\S+")
_CODE = re.compile(r"[_@=\\<>{}]|[A-Za-z]\d|[a-z][A-Z]|[A-Z]{2}[a-z]{2}|\w[(\[]|\w\.\w|^[/-]+\w")
_ABBREVIATION = re.compile(r"\W*(?:i\.e|e\.g|a\.k\.a|w\.r\.t)\W*", re.IGNORECASE)
_END = re.compile(r"[.,;:!?]*$")


TASKS = (
    Task(
        name="python-docs/library",
        about="which library's documentation is the passage from? Built in, nothing to download",
        kind="classification",
        columns=Columns(("text",), "label"),
        metrics=("accuracy",),
        recipe="finetune/glue",
        builtin="python_docs",
    ),
)


class Passage(NamedTuple):
    text: str
    line: int
    """Of its module in the corpus's file, from 1."""
    order: int
    """By which passages are drawn: a hash of the module's name and of where in it the passage is."""


def examples() -> dict[str, Examples]:
    """The splits train, validation and test; the corpus is built first where it is not in the cache."""
    path = python_docs.build()
    with open(path, encoding="utf-8") as file:
        documents = [(row["name"], row["text"]) for row in map(json.loads, file)]
    hidden = giveaways(documents)
    libraries = _libraries(documents)
    names = tuple(sorted(libraries))
    seen: set[str] = set()
    drawn = {
        split: [_drawn(libraries[name][split], hidden, LARGEST[split], seen) for name in names]
        for split in reversed(LARGEST)
    }
    return {split: _examples(drawn[split], names, path) for split in LARGEST}


def library(module: str) -> str:
    """Whose a module or topic is, by its name in the corpus."""
    if module.startswith(_TOPIC):
        return "language reference"
    package = module.partition(".")[0]
    return package if package in python_docs.PACKAGES else "standard library"


def split_of(module: str) -> str:
    return _BUCKETS[_hash(module) % len(_BUCKETS)]


def passages(text: str) -> Iterator[str]:
    """Consecutive paragraphs until they have MIN_WORDS; what is too long or too short by itself is left out."""
    taken: list[str] = []
    words = 0
    for paragraph in text.split("\n\n"):
        length = len(paragraph.split())
        if words + length > MAX_WORDS:
            taken, words = [], 0
        if length <= MAX_WORDS:
            taken.append(paragraph)
            words += length
        if words >= MIN_WORDS:
            yield " ".join(taken)
            taken, words = [], 0


def giveaways(documents: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Lower-case words that name a library or a module of one, of (module, text).

    Of modules' names only those words that the texts of fewer than ORDINARY libraries use.
    """
    used: defaultdict[str, set[str]] = defaultdict(set)
    parts: set[str] = set()
    for module, text in documents:
        for word in {*_LETTERS.findall(text.lower())}:
            used[word].add(library(module))
        if not module.startswith(_TOPIC):
            parts.update(_LETTERS.findall(module.lower()))
    of_modules = {part for part in parts if len(used[part]) < ORDINARY}
    of_libraries = {word for package in python_docs.PACKAGES for word in _LETTERS.findall(package)}
    return frozenset(of_modules | of_libraries | {*_ALSO_CALLED})


def masked(text: str, hidden: frozenset[str]) -> str:
    """``text`` with MASK for code and for the words of ``hidden``; of several MASKs in a row, one."""
    words = _WORD.sub(lambda match: _masked_word(match[0], hidden), text).split()
    return " ".join(word for at, word in enumerate(words) if not (word == MASK and at and words[at - 1] == MASK))


def _masked_word(word: str, hidden: frozenset[str]) -> str:
    named = any(part in hidden for part in _LETTERS.findall(word.lower()))
    if named or (_CODE.search(word) and not _ABBREVIATION.fullmatch(word)):
        return MASK + _END.findall(word)[0]
    return word


def _libraries(documents: Iterable[tuple[str, str]]) -> dict[str, dict[str, list[Passage]]]:
    """The passages of each library by split; libraries that have enough only."""
    found: defaultdict[str, dict[str, list[Passage]]] = defaultdict(lambda: {split: [] for split in LARGEST})
    modules: Counter[str] = Counter()
    for line, (module, text) in enumerate(documents, 1):
        modules[library(module)] += 1
        found[library(module)][split_of(module)] += [
            Passage(passage, line, _hash(f"{module} {number}")) for number, passage in enumerate(passages(text))
        ]
    return {
        name: splits
        for name, splits in found.items()
        if modules[name] >= MIN_MODULES and sum(map(len, splits.values())) >= MIN_PASSAGES
    }


def _drawn(found: Sequence[Passage], hidden: frozenset[str], largest: int, seen: set[str]) -> list[Passage]:
    """``largest`` of them, masked; without those that are more than MASKED mask, or that are in ``seen``.

    Masked, the texts of two modules may be equal: what is taken is added to ``seen``, which all splits share.
    """
    drawn: list[Passage] = []
    for passage in sorted(found, key=lambda passage: passage.order):
        if len(drawn) == largest:
            break
        text = masked(passage.text, hidden)
        if _readable(text) and text not in seen:
            seen.add(text)
            drawn.append(passage._replace(text=text))
    return drawn


def _readable(text: str) -> bool:
    words = text.split()
    return sum(word.startswith(MASK) for word in words) <= MASKED * len(words)


def _examples(drawn: Sequence[Sequence[Passage]], names: tuple[str, ...], path: Path) -> Examples:
    """Of each label its passages -> one split, in the passages' order, which mixes the labels."""
    pairs = [(passage, label) for label, passages in enumerate(drawn) for passage in passages]
    pairs.sort(key=lambda pair: pair[0].order)
    return Examples(
        texts=[(passage.text,) for passage, _ in pairs],
        labels=np.array([label for _, label in pairs], np.int64),
        names=names,
        path=str(path),
        lines=np.array([passage.line for passage, _ in pairs], np.int64),
    )


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
