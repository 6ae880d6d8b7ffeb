"""Facts of documentation written by hand: each kind, where an answer ends, and what is no answer."""

import pytest

from ptk.data.functions import Function, Parameter
from ptk.tasks.parameter_facts import entry
from ptk.tasks.parameter_questions import TEMPLATES, called, question

PARAMETERS = (Parameter("path", None), Parameter("size", "3"), Parameter("fast", "False"), Parameter("safe", "False"))


def function(docstring: str, parameters: tuple[Parameter, ...] = PARAMETERS) -> Function:
    shown = [name if value is None else f"{name}={value}" for name, value in parameters]
    return Function("shop", "shop.f", ", ".join(shown), parameters, docstring, 1)


def facts(docstring: str) -> list[tuple[str, str, str, str]]:
    """(kind, parameter, what the question repeats, answer) of what the documentation says beyond the call."""
    made = entry(function(docstring), 200)
    of_call = made.text.index(")")
    return [
        (fact.kind, fact.parameter, fact.said, made.text[fact.start : fact.stop])
        for fact in made.facts
        if fact.start > of_call
    ]


def test_defaults_of_the_call():
    made = entry(function("Do it."), 200)
    assert made.text == "shop.f(path, size=3, fast=False, safe=False)\nDo it."
    assert [(fact.kind, fact.parameter, fact.start, fact.stop, fact.said) for fact in made.facts] == [
        ("default", "size", 18, 19, ""),
        ("which default", "size", 13, 17, "3"),
        ("default", "fast", 26, 31, ""),  # which parameter is False by default is not one's to say
        ("default", "safe", 38, 43, ""),
    ]


@pytest.mark.parametrize(
    ("docstring", "found"),
    [
        ("size -- how large it is", []),  # what it is cannot be told from a clause
        (
            "path -- the name of a file, which must exist",
            [("meaning", "path", "", "the name of a file"), ("which meaning", "path", "the name of a file", "path")],
        ),
        ("path (str): It.", [("type", "path", "", "str")]),
        (
            "Open it. The optional *size* argument is an integer giving a limit.",
            [
                ("meaning", "size", "", "an integer giving a limit"),
                ("which meaning", "size", "an integer giving a limit", "size"),
                ("type", "size", "", "an integer"),
            ],
        ),
        (
            "'path' must be a string or None. Size should be given.",
            [("must", "path", "must", "a string or None"), ("type", "path", "", "a string or None")],
        ),
        ("path can be 'r' (default), 'w' or 'x'.", []),  # the first of several
        ("path specifies where to look; nothing else.", [("verb", "path", "specify", "where to look")]),
        ("size determines the width.", [("verb", "size", "determine", "the width")]),
        ("If `fast` is true, then errors are ignored.", [("when", "fast", "is true", "errors are ignored")]),
        ("fast -- if true, errors are ignored", [("when", "fast", "is true", "errors are ignored")]),
        ("If fast is true, it stops.", [("when", "fast", "is true", "it stops")][:0]),  # two words say too little
        ("If other is true, errors are ignored.", []),
        ("It is said that path is a string.", []),
        ("path is the same object as before.", []),
        ("path is a name (broken off.", []),
        ("fast is the " + "very " * 20 + "long one.", []),
    ],
)
def test_said(docstring: str, found: list[tuple[str, str, str, str]]):
    assert facts(docstring) == found


def test_what_is_said_of_two_parameters_names_neither():
    kinds = [(kind, name) for kind, name, *_ in facts("fast -- a good choice\nsafe -- a good choice")]
    assert kinds == [("meaning", "fast"), ("meaning", "safe")]


def test_a_default_that_call_and_documentation_say_differently_is_not_asked_for():
    kinds = {(fact.kind, fact.parameter) for fact in entry(function("size defaults to 4."), 200).facts}
    assert kinds == {("default", "fast"), ("default", "safe")}
    assert ("default", "size") in {
        (fact.kind, fact.parameter) for fact in entry(function("size defaults to 3."), 200).facts
    }


def test_an_entry_is_cut_before_a_line():
    made = entry(function("One two three.\n\npath is a string.\n\nFour."), 9)
    assert made.text.endswith("\nOne two three.")
    assert all("default" in fact.kind for fact in made.facts)


def test_a_question_names_what_it_asks_for():
    made = entry(
        function("If fast is true, errors are ignored.\n\nsize must be an int.\n\npath -- the name of it"), 200
    )
    for fact in made.facts:
        said = question(fact, "shop.f")
        assert "shop.f" in said
        assert said.endswith("?")
        assert "{" not in said
        assert ("path" in said) != (fact.kind == "which meaning") or fact.parameter != "path"
        if fact.said:
            assert fact.said in said
    assert {fact.kind for fact in made.facts} <= {*TEMPLATES}


def test_a_name_is_shortened_where_it_stays_clear():
    names = [f"shop.Box.put{number}" for number in range(20)]
    assert {called(name, "shop", []).count(".") for name in names} == {1, 2}
    assert all(called(name, "shop", [f"other.{name.removeprefix('shop.')}"]) == name for name in names)
