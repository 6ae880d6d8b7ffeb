"""The built-in questions: answers are where they are said to be, modules on one side each, and the same every time."""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from ptk.data.functions import Function, Parameter, functions
from ptk.tasks import find, python_docs_parameters
from ptk.tasks.answer_scores import worth
from ptk.tasks.examples import Questions
from ptk.tasks.parameter_facts import entry
from ptk.tasks.python_docs import split_of
from ptk.tasks.python_docs_parameters import MAX_WORDS, MIN_WORDS, entries, passages, questions

FILLER = "Words that say nothing of it are here only so that the text is long enough to be one of its own. " * 2


def made(name: str, parameter: str, module: str = "shop", filler: str = FILLER) -> Function:
    docstring = f"{parameter} must be a {name} of good quality.\n\n{filler}"
    return Function(module, f"{module}.{name}", f"{parameter}=7", (Parameter(parameter, "7"),), docstring, 5)


@pytest.fixture(scope="module")
def library() -> Iterator[list[Function]]:
    """The whole standard library, parsed once."""
    found = [*functions()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(python_docs_parameters, "functions", lambda: found)
        yield found


@pytest.fixture(scope="module")
def built(library: list[Function]) -> dict[str, Questions]:
    return python_docs_parameters.examples()


def test_passages_are_entries_that_follow_each_other():
    found = [entry(made(f"f{number}", f"p{number}"), MAX_WORDS) for number in range(5)]
    taken = passages("shop", found)
    assert [[each.function.name for each in passage.entries] for passage in taken] == [
        ["shop.f0", "shop.f1"],
        ["shop.f2", "shop.f3"],
    ]  # the fifth is too short by itself
    long = entry(made("long", "p", filler="one two " * 62), MAX_WORDS)
    assert [passage.entries for passage in passages("shop", [found[0], long])] == [(long,)]
    assert all(MIN_WORDS <= len(passage.text.split()) <= MAX_WORDS for passage in taken)


def test_a_module_gives_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(python_docs_parameters, "MAX_PASSAGES", 1)
    dull = [
        entry(Function("shop", f"shop.d{n}", "p", (Parameter("p", None),), f"{n} {FILLER}", 1), 150) for n in (1, 2)
    ]
    told = [entry(made(f"f{n}", f"p{n}"), 150) for n in (1, 2)]
    (only,) = passages("shop", [*dull, *told])
    assert only.entries == tuple(told)


def test_what_another_split_asks_for_is_left_out():
    documented: set[str] = set()
    said: dict[str, str] = {}
    first = [*entries([made("f", "p")], "test", documented, said)]
    assert "must" in {fact.kind for fact in first[0].facts}
    assert [*entries([made("f", "p", "other")], "train", documented, said)] == []  # the same documentation
    (again,) = entries([made("f", "p", "third", FILLER + "More.")], "train", documented, said)
    assert {fact.kind for fact in again.facts} == {"default", "which default"}


def test_questions_without_an_answer_are_of_functions_that_lack_the_parameter():
    found = [entry(made(f"f{number}", f"parameter{number}"), MAX_WORDS) for number in range(8)]
    asked = [*questions(passages("shop", found))]
    without = [each for each in asked if each.start < 0]
    assert len(without) * 2 == pytest.approx(len(asked) - len(without), abs=4)
    for each in asked:
        named = re.search(r"f(\d)\b", each.question)
        parameter = re.search(r"parameter(\d)|a (f\d) of good", each.question)
        if named and parameter and parameter[1]:
            assert (named[1] == parameter[1]) == (each.start >= 0), each.question


def test_answers_are_in_their_contexts(built: dict[str, Questions]):
    for found in built.values():
        assert isinstance(found, Questions)
        assert len(found) == len(found.ids) == len(found.answers) == len(found.articles) == len(found.lines)
        assert len({*found.texts}) == len({*found.ids}) == len(found)
        for (_, context), (start, stop), answers in zip(found.texts, found.labels, found.answers, strict=True):
            assert answers == (() if start < 0 else (context[start:stop],))
            assert all(answer == answer.strip() != "" for answer in answers)
            assert (start, stop) == (-1, -1) or 0 <= start < stop <= len(context)


def test_nothing_scores_only_where_there_is_no_answer(built: dict[str, Questions]):
    """Of "", '' and a nothing is left by the rules: an answer that is one would be taken for none."""
    for found in built.values():
        exact, f1 = worth("squad2", found.answers, [""] * len(found))
        assert (exact == (found.labels[:, 0] < 0)).all()
        assert (f1 == exact).all()


def test_about_every_third_has_no_answer(built: dict[str, Questions]):
    for split, least in (("train", 1500), ("validation", 200), ("test", 200)):
        assert len(built[split]) > least
        assert 0.25 < np.mean(built[split].labels[:, 0] < 0) < 0.4


def test_splits_share_nothing(built: dict[str, Questions]):
    for split, found in built.items():
        assert {split_of(module) for module in found.articles} == {split}
        others = [other for name, other in built.items() if name != split]
        contexts = {context for other in others for _, context in other.texts}
        assert not contexts & {context for _, context in found.texts}
        long = {answer.lower() for answers in found.answers for answer in answers if len(answer.split()) > 3}
        assert not long & {answer.lower() for other in others for answers in other.answers for answer in answers}


def test_twice_is_the_same(built: dict[str, Questions]):
    again = python_docs_parameters.examples()
    assert [found.fingerprint for found in again.values()] == [found.fingerprint for found in built.values()]


def test_the_entry():
    task = find("python-docs/parameters")
    assert (task.kind, task.builtin, task.rule) == ("answering", "python_docs_parameters", "squad2")
