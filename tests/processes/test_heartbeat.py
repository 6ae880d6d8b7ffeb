"""A process that hangs is named, with its step, within the time-out; one that is only slow, or paused, is let be."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ptk.processes.heartbeat import ENDED, WAITING, Beat, Heartbeat, Seen, Verdict, verdict

REDUCING = Path(__file__).with_name("reducing.py")
TIMEOUT = 2


def seen(step: int, doing: str, heard: float, moved: float, marks_of_step: int = 1, seconds: float = 0.0) -> Seen:
    return Seen(Beat(1, 100, marks_of_step, step, doing, seconds), heard, moved)


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        # Somebody made a mark in the last ten seconds.
        ([seen(6, "reading", 99, 80), seen(6, WAITING, 99, 91)], None),
        # The first waits for the second, which reads; and the other way round.
        ([seen(6, WAITING, 99, 89), seen(6, "reading", 99, 88)], Verdict(1, [], 0)),
        ([seen(6, "reading", 99, 88), seen(6, WAITING, 99, 89)], Verdict(0, [], 0)),
        # One that has come less far, and one that waits in an earlier step for the one that saves.
        ([seen(7, "backward", 99, 89), seen(6, "backward", 99, 88)], Verdict(1, [], 0)),
        ([seen(6, "backward", 99, 89, 2), seen(6, "backward", 99, 88, 3)], Verdict(0, [], 0)),
        ([seen(6, "saving", 99, 88), seen(6, WAITING, 99, 89)], Verdict(0, [], 0)),
        # Nothing is heard of the first, or of the last two: the one that fell silent before.
        ([seen(6, WAITING, 88, 88), seen(6, "reading", 99, 89)], Verdict(0, [0], 1)),
        ([seen(6, WAITING, 99, 89), seen(6, "a", 88, 88), seen(6, "a", 87, 87)], Verdict(2, [1, 2], 0)),
        # One that has ended, and is silent for that reason, is not waited for, and tells nothing.
        ([seen(9, ENDED, 20, 20), seen(9, "exporting", 99, 88)], Verdict(1, [], 1)),
    ],
)
def test_who_is_late(processes, expected):
    me = 0 if expected is None else expected.teller
    assert verdict(processes, me, now=100, timeout=10, reached=99) == expected


def test_the_first_process_is_late_when_nobody_reaches_the_store_that_it_serves():
    alone = [seen(6, "a", 88, 88), seen(6, WAITING, 99, 89), seen(6, WAITING, 87, 87)]
    assert verdict(alone, 1, now=100, timeout=10, reached=88) == Verdict(0, [0], 1)
    assert verdict(alone, 1, now=98, timeout=10, reached=88) is None


def run(
    folder: Path, environment: dict[str, str], fault: str, processes: int, timeout: int = TIMEOUT
) -> tuple[int, str, float]:
    """Returns the exit code, stderr and the seconds it took."""
    folder.mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command = [*(torchrun if processes > 1 else [sys.executable]), str(REDUCING), str(folder), str(timeout)]
    began = time.monotonic()
    done = subprocess.run(
        command, env={**environment, "PTK_FAULT": fault}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr, time.monotonic() - began


def told(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error:")]


@pytest.mark.parametrize("late", [0, 1])
def test_a_process_that_stands_still_is_named_and_all_end(tmp_path, environment, late):
    code, text, seconds = run(tmp_path / "run", environment, f"begin@step6@process{late}:stop", 2)
    assert code != 0
    assert len(told(text)) == 1
    assert told(text)[0].startswith(f"error: process {late} of 2 has not moved for 2 s (step 6, last heard of at step ")
    assert seconds < 20  # torchrun would wait for 30
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["status"], status["exit_code"]) == ("failed", 8)


def test_a_process_that_hangs_leaves_its_stacks(tmp_path, environment):
    # Beside other work the beat of every second may come later than half of two seconds: that would be silence.
    code, text, _ = run(tmp_path / "run", environment, "begin@step3@process1:hang", 2, timeout=5)
    assert code != 0
    message = "process 1 of 2 has not moved for 5 s (step 3, reading): hung? its stacks are in hang-process-1.txt"
    assert told(text) == [f"error: {message}; go on with --resume"]
    assert "faults.py" in (tmp_path / "run" / "hang-process-1.txt").read_text()
    assert not (tmp_path / "run" / "hang-process-0.txt").exists()


def test_a_run_of_one_process_that_hangs_ends_too(tmp_path, environment):
    code, text, _ = run(tmp_path / "run", environment, "begin@step2:hang", 1)
    assert code == 8
    assert told(text)[0].startswith("error: the run has not moved for 2 s (step 2, reading): hung?")
    assert "faults.py" in (tmp_path / "run" / "hang-process-0.txt").read_text()
    (one,) = json.loads((tmp_path / "run" / "heartbeat.json").read_text())["processes"]
    assert (one["process"], one["doing"]) == (0, "starting")  # the first second's; the next comes ten seconds later


def test_two_processes_that_work_longer_than_the_time_out_end_well(tmp_path, environment):
    code, text, seconds = run(tmp_path / "run", environment, "", 2)
    assert (code, told(text)) == (0, [])
    assert seconds > 2 * TIMEOUT
    assert not (tmp_path / "run" / "heartbeat.json").exists()


def test_a_process_that_was_paused_judges_nobody_by_the_time_it_slept():
    paused, awake = Heartbeat(None, 0, 2, 10), Heartbeat(None, 0, 2, 10)
    now = paused.mark[-1] + 100
    assert paused.look(now, before=now - 90) is None
    assert paused.look(now + 5, before=now + 4) is None
    assert paused.look(now + 11, before=now + 10) is not None
    assert awake.look(now, before=now - 1) is not None


def test_a_mark_costs_less_than_a_hundred_thousandth_of_a_step():
    beat = Heartbeat(None, 0, 1, 10)
    began = time.perf_counter()
    for step in range(20_000):
        beat.at(step, "reading")
    assert (time.perf_counter() - began) / 20_000 < 1e-5
    beat.at(19_999, WAITING)
    assert beat.mark[:4] == (20_001, 2, 19_999, WAITING)
