"""``python-docs/parameters``: questions about the parameters of functions, answered by their documentation or not at
all, as SQuAD 2.0 has them. Built of the standard library that is installed, nothing to download.

A context is the calls and the documentation of a few functions of one module that follow each other there
(``ptk/data/functions.py``), of MIN_WORDS to MAX_WORDS words; an answer is a part of it (``parameter_facts.py``). A
question without an answer is one that another function of the module answers, half of the time one of the same
context, asked of a function that has no such parameter; or one for the default of a parameter that has none. It is
about every third. A module is wholly in one split, by the hash of its name, and what two modules say in the same words
is asked in one split only.

With Python 3.11: 2,740, 447 and 569 questions, 31 %, 33 % and 32 % of them without an answer, on 529, 86 and 115
contexts; a vocabulary of BERT's makes them 200 tokens long with their questions, and hardly one longer than 384. The
answer None is every eleventh, a phrase of several words every third.
"""

import re
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import xxhash

from ptk.data.functions import Function, functions
from ptk.tasks.answer_scores import normalised
from ptk.tasks.examples import Questions
from ptk.tasks.parameter_facts import Entry, Fact, Kind, entry
from ptk.tasks.parameter_questions import called, question
from ptk.tasks.python_docs import split_of
from ptk.tasks.task import Columns, Task

MIN_WORDS, MAX_WORDS = 60, 150
SPLITS = ("train", "validation", "test")
MAX_PASSAGES = 15
"""Of a module."""
MAX_ASKED: dict[Kind, int] = {"default": 2, "which default": 1}
"""Of a context; they could fill it."""
SAID_ALIKE = 4
"""Words of an answer that is not to be learned in one split and asked in another."""

TASKS = (
    Task(
        name="python-docs/parameters",
        about="what the documentation of a function says of its parameters, if it does. Built in, nothing to download",
        kind="answering",
        columns=Columns(("question", "context"), "answers"),
        metrics=("f1",),
        recipe="finetune/squad2",
        rule="squad2",
        builtin="python_docs_parameters",
    ),
)


class Passage(NamedTuple):
    module: str
    entries: tuple[Entry, ...]

    @property
    def text(self) -> str:
        return "\n".join(entry.text for entry in self.entries)


class Asked(NamedTuple):
    question: str
    context: str
    start: int
    stop: int
    """Of the answer in the context; (-1, -1) where there is none."""
    module: str
    line: int


def examples() -> dict[str, Questions]:
    """The splits train, validation and test."""
    modules: defaultdict[str, list[Function]] = defaultdict(list)
    for function in functions():
        modules[function.module].append(function)
    documented: set[str] = set()
    said: dict[str, str] = {}
    asked: dict[str, list[Asked]] = {split: [] for split in SPLITS}
    for split in reversed(SPLITS):
        for module, found in modules.items():
            if split_of(module) == split:
                asked[split] += questions(passages(module, entries(found, split, documented, said)))
    return {split: _examples(asked[split]) for split in SPLITS}


def entries(found: Iterable[Function], split: str, documented: set[str], said: dict[str, str]) -> Iterator[Entry]:
    """Of the functions with parameters, without the documentation that is in ``documented``, which grows.

    ``said``: what is said of a parameter -> the split that asks for it. Facts of another split are left out.
    """
    for function in found:
        docstring = " ".join(re.findall(r"\w+", function.docstring.lower()))
        if function.parameters and docstring not in documented:
            documented.add(docstring)
            made = entry(function, MAX_WORDS)
            yield made._replace(facts=tuple(fact for fact in made.facts if _is_asked(fact, made.text, split, said)))


def _is_asked(fact: Fact, text: str, split: str, said: dict[str, str]) -> bool:
    """Whether no other split asks for it, and the rules see an answer there: of "", {} and "a" they leave nothing."""
    answer = text[fact.start : fact.stop]
    long = max(answer, fact.said, key=len).lower()
    is_new = len(long.split()) < SAID_ALIKE or said.setdefault(long, split) == split
    return is_new and normalised("squad2", answer) != ""


def passages(module: str, found: Iterable[Entry]) -> list[Passage]:
    """Entries that follow each other until they have MIN_WORDS; of many, the MAX_PASSAGES that say most."""
    made: list[Passage] = []
    taken: list[Entry] = []
    words = 0
    for each in found:
        length = len(each.text.split())
        if words + length > MAX_WORDS:
            taken, words = [], 0
        taken.append(each)
        words += length
        if words >= MIN_WORDS:
            made.append(Passage(module, tuple(taken)))
            taken, words = [], 0
    told = [sum("default" not in fact.kind for each in passage.entries for fact in each.facts) for passage in made]
    best = sorted(range(len(made)), key=lambda at: -told[at])[:MAX_PASSAGES]
    return [made[at] for at in sorted(best)]


def questions(module: Sequence[Passage]) -> Iterator[Asked]:
    """Of each passage the questions with an answer, and half as many without."""
    for passage in module:
        answered = [*_answered(passage)]
        yield from (_asked(passage, each, fact, fact) for each, fact in answered)
        others = [each for other in module for each in other.entries if other is not passage]
        used: set[tuple[str, str, str, str]] = set()
        for number, (_, fact) in enumerate(answered):
            if (number + _hash(passage.text)) % 2:
                continue
            sources = (passage.entries, others) if _hash(passage.text + str(number)) % 2 else (others, passage.entries)
            found = next(_unanswered(passage, fact.kind, sources, used), None)
            if found:
                used.add((found[0].function.name, *found[1].asked))
                yield _asked(passage, *found, None)


def _answered(passage: Passage) -> Iterator[tuple[Entry, Fact]]:
    """The facts to ask for, in the order of the text; of defaults a few, of those that are None the fewest."""
    taken: Counter[Kind] = Counter()
    chosen: set[tuple[int, Fact]] = set()
    facts = [(at, fact) for at, each in enumerate(passage.entries) for fact in each.facts]
    for at, fact in sorted(facts, key=lambda pair: _hash(passage.entries[pair[0]].function.name + str(pair[1].asked))):
        is_none = passage.entries[at].text[fact.start : fact.stop] == "None"
        room = MAX_ASKED.get(fact.kind, len(facts)) - taken[fact.kind]
        if room > 0 and not (is_none and _hash(passage.text) % 3):
            taken[fact.kind] += 1
            chosen.add((at, fact))
    for at, fact in facts:
        if (at, fact) in chosen:
            yield passage.entries[at], fact


def _unanswered(
    passage: Passage, kind: Kind, sources: Iterable[Sequence[Entry]], used: set[tuple[str, str, str, str]]
) -> Iterator[tuple[Entry, Fact]]:
    """(function of the passage, fact of another one that has no place in it), in an order that is like chance."""
    if kind == "default" and _hash(passage.text) % 3 == 0:
        yield from _required(passage, used)
    for source in sources:
        pairs = [(each, fact) for each in passage.entries for of in source if of is not each for fact in of.facts]
        chance = {pair: _hash(pair[0].function.name + str(pair[1].asked)) for pair in pairs}
        for each, fact in sorted(pairs, key=lambda pair: (pair[1].kind != kind, chance[pair])):
            if (each.function.name, *fact.asked) not in used and _is_foreign(each, fact):
                yield each, fact


def _required(passage: Passage, used: set[tuple[str, str, str, str]]) -> Iterator[tuple[Entry, Fact]]:
    """Questions for the default of what has to be given."""
    for each in passage.entries:
        for name, default in each.function.parameters:
            fact = Fact("default", name, -1, -1)
            silent = not re.search(r"default|optional|omitted|given|specified", each.text, re.IGNORECASE)
            if default is None and silent and (each.function.name, *fact.asked) not in used:
                yield each, fact


def _is_foreign(each: Entry, fact: Fact) -> bool:
    """Whether nothing in the entry is about the parameter, or about what is said of it."""
    has = re.search(rf"(?<!\w){re.escape(fact.parameter)}(?!\w)", each.text) or "**" in each.function.signature
    defaults = [parameter.default for parameter in each.function.parameters]
    says = fact.said in defaults if fact.kind == "which default" else len(fact.said) > 9 and fact.said in each.text
    return not has and not says


def _asked(passage: Passage, each: Entry, fact: Fact, answer: Fact | None) -> Asked:
    at = sum(len(before.text) + 1 for before in passage.entries[: passage.entries.index(each)])
    start, stop = (at + answer.start, at + answer.stop) if answer else (-1, -1)
    others = [other.function.name for other in passage.entries if other is not each]
    said = question(fact, called(each.function.name, passage.module, others))
    return Asked(said, passage.text, start, stop, passage.module, each.function.line)


def _examples(asked: Sequence[Asked]) -> Questions:
    return Questions(
        texts=[(each.question, each.context) for each in asked],
        labels=np.array([(each.start, each.stop) for each in asked], np.int64).reshape(-1, 2),
        names=(),
        path=sysconfig.get_path("stdlib"),
        lines=np.array([each.line for each in asked], np.int64),
        ids=_ids(asked),
        answers=tuple((each.context[each.start : each.stop],) if each.start >= 0 else () for each in asked),
        articles=tuple(each.module for each in asked),
    )


def _ids(asked: Sequence[Asked]) -> tuple[str, ...]:
    """``shutil-1``, ``shutil-2``, ..."""
    counts: defaultdict[str, int] = defaultdict(int)
    ids: list[str] = []
    for each in asked:
        counts[each.module] += 1
        ids.append(f"{each.module}-{counts[each.module]}")
    return tuple(ids)


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())
