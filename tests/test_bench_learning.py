"""The bench of the budget recipes: each of its changes is a recipe that ptk takes, and differs in itself alone."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "bench"))
import learning  # type: ignore[import-not-found]
import learning_cases  # type: ignore[import-not-found]
from learning_cases import ALL, BASE, CASES, RATE  # type: ignore[import-not-found]

from ptk import recipe_file
from ptk.session import objective_of

EVERY = [(name, change) for name, case in CASES.items() for change in case.named()]


def settings(name: str, change: str) -> dict[str, str]:
    words = learning_cases.for_steps(CASES[name].words(change), 100)
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize(("name", "change"), EVERY)
def test_every_change_is_a_recipe(name: str, change: str) -> None:
    words = [f"{key}={value}" for key, value in settings(name, change).items()]
    recipe = recipe_file.load(str(CASES[name].recipe), words).recipe
    assert objective_of(recipe).at(recipe.train.length, 0.0)


@pytest.mark.parametrize(("name", "change"), [(name, c) for name, c in EVERY if c not in (BASE, RATE, ALL)])
def test_a_change_is_one_setting_of_its_base(name: str, change: str) -> None:
    case = CASES[name]
    base = settings(name, ALL if change in case.over else RATE)
    differs = base.items() ^ settings(name, change).items()
    given = [*case.published.get(change, []), *case.tried.get(change, []), *case.over.get(change, [])]
    takes = {"train.steps"} if learning_cases.says_steps(given) else set()
    assert {key for key, _ in differs} == {word.partition("=")[0] for word in given} | takes


def test_an_unknown_change_is_no_base() -> None:
    with pytest.raises(KeyError, match="no dropuot; of bert there are published settings"):
        CASES["bert"].words("no dropuot")


def test_a_change_has_as_many_steps_as_its_quickest_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, asked = tmp_path / "keep", []
    steps = {RATE: iter((90, 60, 100, 95, 90)), "Muon": iter((80, 70, 75, 70, 70))}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        words = dict(word.removeprefix("--").split("=", 1) for word in command[2:])
        asked.append(words)
        found = {"steps": next(steps[words["change"]])}
        return subprocess.CompletedProcess(command, 0, json.dumps(found), "")

    monkeypatch.setattr(subprocess, "run", run)
    options = argparse.Namespace(minutes=5.0, keep=keep)
    changes = [RATE, BASE, "Muon", "batch ramp", "short rows first", "the rate not decayed"]
    expected = dict.fromkeys(changes, 100) | {"Muon": 80}
    assert learning.steps_of_changes("bert", changes, options) == expected
    assert [words["change"] for words in asked] == [RATE, "Muon"] * 5  # in turn
    assert {words["one"] for words in asked} == {"pace"}
    assert learning.steps_of_changes("bert", changes, options) == expected  # of what was kept


def test_a_race_is_of_steps_at_the_best_paces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        words = dict(word.removeprefix("--").split("=", 1) for word in command[2:])
        asked.append(words)
        if words["one"] == "pace":
            found = {"steps": 100 * int(float(words["minutes"])) - int(words["turn"])}
        else:
            found = {"steps": int(words["steps"]), "tokens": 2_000_000, "loss": 4.0}
        return subprocess.CompletedProcess(command, 0, json.dumps(found), "")

    monkeypatch.setattr(subprocess, "run", run)
    options = argparse.Namespace(
        minutes=5.0, keep=tmp_path / "keep", peers="trainer,ptk", paces=False, seeds=2, beside=2
    )
    learning.race("bert", options)
    paces, runs = ([words for words in asked if (words["one"] == "pace") == kind] for kind in (True, False))
    turns = [("trainer", BASE, "20.0"), ("ptk", ALL, "5.0")] * learning.ROUNDS
    assert [(words["by"], words["change"], words["minutes"]) for words in paces] == turns
    found = {(words["one"], words["change"], words["steps"], words["seed"]) for words in runs}
    assert found == {(by, c, s, i) for by, c, s in (("trainer", BASE, "2000"), ("ptk", ALL, "500")) for i in "12"}
    assert "| trainer | 1 | 20 | 2,000 | 2.00 M | 4.000 |" in capsys.readouterr().out


def test_steps_of_its_own_are_shares_of_the_base_s() -> None:
    assert learning_cases.for_steps(["train.lr=1e-3"], 90) == ["train.lr=1e-3", "train.steps=90"]
    ramp = learning_cases.for_steps(CASES["gpt"].tried["batch ramp"], 90)
    assert ramp == ["train.steps=120", "train.batch_ramp={start: 4, steps: 60}"]
    (phases,) = learning_cases.for_steps(CASES["gpt"].tried["short rows first"], 90)
    assert phases.count("steps: 45") == 2


def test_a_row_has_steps_and_the_difference_of_means() -> None:
    def run(loss: float) -> dict[str, float]:
        return {"loss": loss, "seconds": 60, "steps": 100, "tokens": 2_000_000}

    base = [run(4.0), run(4.2), run(4.4)]
    row = learning.row("Muon", [run(3.0), run(3.0), run(3.0)], base)
    assert row == "| Muon | 100 | 2.00 M | 3.000 (0.000) | -1.200 +- 0.115 |"
    assert learning.row("Muon", [{"failed": "exit code 6: diverged"}], base) == "| Muon | exit code 6: diverged | | | |"


def test_a_run_that_was_kept_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep, made = tmp_path / "keep", []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        made.append(command)
        code = int("--seed=3" in command)
        return subprocess.CompletedProcess(command, code, json.dumps({"loss": float(len(made))}), "diverged")

    monkeypatch.setattr(subprocess, "run", run)
    for beside, seed, loss in ((1, 1, 1.0), (2, 1, 1.0), (1, 2, 2.0), (1, 4, 3.0), (1, 2, 2.0)):
        assert learning.in_its_own_process(beside, keep, one="ptk", seed=seed) == {"loss": loss}
    for _ in range(2):
        assert learning.in_its_own_process(1, keep, one="ptk", seed=3) == {"failed": "exit code 1: diverged"}
    assert len(made) == 5
