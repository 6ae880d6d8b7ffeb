"""A question for a fact that the documentation of a function states of a parameter (``parameter_facts.py``)."""

import xxhash

from ptk.tasks.parameter_facts import Fact, Kind

TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "default": (
        "What is the default of {p} in {f}?",
        "What is the default value of {p} in {f}?",
        "What does {p} default to in {f}?",
        "Which value does {p} have when it is left out of a call of {f}?",
        "If {f} is called without {p}, what is {p}?",
    ),
    "type": (
        "What type is {p} in {f}?",
        "Of which type is the parameter {p} of {f}?",
        "What kind of object does {f} take as {p}?",
    ),
    "meaning": (
        "What is {p} in {f}?",
        "What does {p} mean in {f}?",
        "What is the argument {p} of {f}?",
        "What does {f} take as {p}?",
    ),
    "must": ("What {x} {p} be in {f}?", "What {x} be given to {f} as {p}?", "In a call of {f}, what {x} {p} be?"),
    "can": ("What {x} {p} be in {f}?", "What {x} be given to {f} as {p}?", "In a call of {f}, what {x} {p} be?"),
    "verb": ("What does {p} {x} in {f}?", "What does the parameter {p} of {f} {x}?", "In {f}, what does {p} {x}?"),
    "when": (
        "What happens in {f} if {p} {x}?",
        "What does {f} do if {p} {x}?",
        "In a call of {f}, what follows if {p} {x}?",
    ),
    "which default": (
        "Which parameter of {f} is {x} by default?",
        "Which parameter of {f} has the default {x}?",
        "Which argument of {f} defaults to {x}?",
    ),
    "which meaning": (
        "Which parameter of {f} is {x}?",
        "Which argument of {f} is {x}?",
        "What is the name of the parameter of {f} that is {x}?",
    ),
}
"""With the function {f}, its parameter {p}, and what else the question says, {x}."""


def question(fact: Fact, function: str) -> str:
    """One of its kind; which one, and how the parameter is marked, is the choice of a hash."""
    chance = xxhash.xxh3_64_intdigest(f"{function} {fact.asked}".encode())
    templates = TEMPLATES[fact.kind]
    plain = "_" in fact.parameter  # which shows that it is no word of the sentence
    mark = ("" if plain else "`", "`", "'")[chance // 16 % 3]
    return templates[chance % len(templates)].format(p=f"{mark}{fact.parameter}{mark}", f=function, x=fact.said)


def called(name: str, module: str, others: list[str]) -> str:
    """A function of the module, as often without the module's name, where that means none of the ``others``."""
    short = name.removeprefix(f"{module}.")
    clear = not any(other == short or other.endswith(f".{short}") for other in others)
    return short if clear and xxhash.xxh3_64_intdigest(name.encode()) % 2 else name
