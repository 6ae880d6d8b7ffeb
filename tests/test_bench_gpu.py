"""What the GPU bench tells of a run; its parts run on a GPU alone."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "bench"))
import gpu  # type: ignore[import-not-found]
import speed_cases  # type: ignore[import-not-found]

from ptk import recipe_file


def test_when_the_loss_was_reached() -> None:
    run = [{"step": at, "clm": clm, "seconds": at / 10} for at, clm in ((250, 1.6), (500, 1.469), (750, 1.48))]
    assert gpu.told(run) == "1.47 nats after 50 s, at step 500; lowest 1.4690 at step 500 after 50 s"
    assert gpu.told(run[:1]) == "1.47 nats not reached; lowest 1.6000 at step 250 after 25 s"


def test_cases_are_those_of_the_device_unless_they_are_named() -> None:
    assert gpu.cases("") == ["H1a", "H1b", "H2", "H3", "H4", "H5a", "H5b"]
    assert gpu.cases("H3,C1a") == ["H3", "C1a"]
    with pytest.raises(SystemExit, match="H9 unknown"):
        gpu.cases("H9")


def test_every_case_is_a_recipe_that_can_be_checked() -> None:
    """A model's settings, an objective's: an unknown one is an error."""
    from ptk.session import objective_of

    for name, case in speed_cases.CASES.items():
        assert objective_of(case.recipe()).at(case.length, 0.0), name
    recipe_file.load("gpt-char", gpu.NANO_GPT)
