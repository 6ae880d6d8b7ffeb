"""The short pass of chaos.py: a little of everything, on a ptk that is forked instead of started."""

import shutil
import signal
from collections.abc import Iterator

import pytest

from chaos import damage, disk, kills, report, stops
from chaos.lab import RECIPES, Lab, Room, Trial
from chaos.started import Broken

FLIPS = 20


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("chaos"), seed=0, warm=True)


@pytest.fixture
def room(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Room]:
    made = lab.room(request.node.name, 0)
    yield made
    made.clear()


KILLS = [kills.random_kill(name, anywhere=False) for name in RECIPES]
EXPORTS = [kills.export_kill("t5", "export-weights", False), kills.export_kill("electra", "export-removed", True)]
OTHERS = [
    kills.every_point("bert"),
    *EXPORTS,
    damage.nothing_left("bert"),
    disk.planned("electra", "before-file:optimizer@step8:enospc"),
    disk.planned("bert", "before-file:state@step8:erofs"),
    stops.second("t5", "--resume"),
    stops.stopped("bert", signal.SIGTERM, 1),
    stops.saved("electra", 1),
]


@pytest.mark.parametrize("trial", [*KILLS, *OTHERS], ids=lambda trial: trial.name)
def test_a_disturbed_run_ends_as_the_undisturbed_one(room: Room, trial: Trial):
    trial.run(room)


def test_every_flipped_bit_is_found_and_the_older_checkpoint_taken(lab: Lab):
    for number, trial in enumerate(damage.flips(lab, FLIPS)):
        trial.run(lab.room("flip", number))


def test_every_cut_or_missing_file_is_found_and_the_older_checkpoint_taken(lab: Lab):
    for number, trial in enumerate(damage.cuts(lab)):
        trial.run(lab.room("cut", number))


DIFFERENCES = {
    "model/model.safetensors": (b"F32", b"F16"),
    "metrics.jsonl": (b'"loss": ', b'"loss": 1'),
    "results.json": (b'"steps": ', b'"steps": 1'),
    "checkpoints/.tmp-1": (b"", b"left over"),
}


@pytest.mark.parametrize("file", DIFFERENCES)
def test_the_judge_of_all_trials_sees_a_difference(room: Room, file: str):
    undisturbed = room.lab.undisturbed("bert").folder
    shutil.copytree(undisturbed, room.run)
    room.same("bert")
    path = room.run / file
    path.write_bytes((path.read_bytes() if path.exists() else b"").replace(*DIFFERENCES[file], 1))
    with pytest.raises(Broken, match=r"differs|only in one"):
        room.same("bert")


def test_results_keep_the_rows_of_experiments_that_did_not_run_again(tmp_path, monkeypatch):
    path, order = tmp_path / "RESULTS.md", ["kill", "flip", "soak"]
    one, two, again = (
        report.Row("kill", "a", 5, 5, 9),
        report.Row("soak", "b", 1, 0, 3),
        report.Row("kill", "a", 5, 4, 8),
    )
    report.write(path, [two], order, seed=0)
    report.write(path, [one], order, seed=0)
    report.write(path, [again], order, seed=3)
    found = [(row[:5], row.seed) for row in report.earlier(path)]
    assert found == [(again[:5], "3"), (two[:5], "0")]
    monkeypatch.setattr(report, "setting", lambda: "another torch")
    report.write(path, [one], order, seed=0)
    assert [row[:5] for row in report.earlier(path)] == [one[:5]]
