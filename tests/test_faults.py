"""Faults on purpose: read from one variable, met at the planned place only."""

import errno
import signal
import subprocess
import sys

import pytest
import torch

from ptk import faults
from ptk.faults import Fault


@pytest.fixture
def plan(monkeypatch):
    """Plan faults for this process: ``plan("begin:nan")``."""

    def planned(text: str) -> None:
        monkeypatch.setattr(faults, "PLANNED", faults.parse(text))

    return planned


def test_the_variable_is_read():
    text = "after-file:optimizer@step12:kill9,begin@step6@process1:stop,export-weights:enospc"
    assert faults.parse(text) == [
        Fault("after-file:optimizer", 12, None, "kill9"),
        Fault("begin", 6, 1, "stop"),
        Fault("export-weights", None, None, "enospc"),
    ]
    assert faults.parse("") == []


@pytest.mark.parametrize(
    "text",
    [
        "begin",
        "begin:explode",
        "begin@step:nan",
        "begin@stepx:nan",
        ":nan",
        "begin@process1@step2:nan",
        "begin:nan@step2",
    ],
)
def test_what_is_no_fault_is_refused(text):
    with pytest.raises(ValueError, match="is not POINT"):
        faults.parse(text)


def test_a_fault_is_met_at_its_point_and_step_only(plan):
    plan("loss@step3:nan")
    assert [faults.at("loss", step) for step in (2, 3, 4)] == [None, "nan", None]
    assert faults.at("begin", 3) is None
    assert faults.at("loss") is None


def test_without_a_step_the_first_that_comes_there_meets_it(plan):
    plan("loss:nan")
    assert [faults.at("loss", 5), faults.at("loss")] == ["nan", "nan"]


def test_a_fault_of_one_process_is_not_met_by_the_others(plan, monkeypatch):
    plan("loss@process1:nan")
    assert faults.at("loss", 1) is None  # alone, this is process 0
    for rank, met in (("0", None), ("1", "nan"), ("2", None)):
        monkeypatch.setenv("RANK", rank)
        assert faults.at("loss", 1) == met


def test_several_faults_are_told_apart(plan):
    plan("before-file:model@step2:enospc,before-file:model@step3:nan")
    assert faults.at("before-file:model", 3) == "nan"
    with pytest.raises(OSError, match="planned"):
        faults.at("before-file:model", 2)


@pytest.mark.parametrize(("action", "number"), [("enospc", errno.ENOSPC), ("erofs", errno.EROFS)])
def test_a_disk_fails_as_the_system_says_it(plan, action, number):
    plan(f"before-file:state:{action}")
    with pytest.raises(OSError, match=r"planned fault.*before-file:state") as caught:
        faults.at("before-file:state")
    assert caught.value.errno == number


def test_memory_runs_out_as_torch_says_it(plan):
    plan("begin:oom")
    with pytest.raises(torch.OutOfMemoryError):
        faults.at("begin", 1)


def test_slow_and_hang_sleep_and_go_on(plan, monkeypatch):
    slept = []
    monkeypatch.setattr(faults.time, "sleep", slept.append)
    plan("a:slow,b:hang")
    assert (faults.at("a"), faults.at("b")) == (None, None)
    assert 0 < slept[0] < 5
    assert slept[1] >= 600


@pytest.mark.parametrize(("action", "number"), [("kill9", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_kill_and_stop_send_the_signal_to_this_process(plan, monkeypatch, action, number):
    sent = []
    monkeypatch.setattr(faults.os, "kill", lambda _pid, number: sent.append(number))
    plan(f"begin:{action}")
    faults.at("begin", 1)
    assert sent == [number]


MEETS = "from ptk import faults; faults.at('begin', 6); print('after')"


def met(environment: dict[str, str], **more: str) -> subprocess.CompletedProcess:
    """A process of its own, which reads the variable when it imports faults."""
    command = [sys.executable, "-c", MEETS]
    return subprocess.run(command, env={**environment, **more}, capture_output=True, text=True)


def test_kill9_ends_the_process_at_once(environment):
    out = met(environment, PTK_FAULT="begin@step6:kill9")
    assert (out.returncode, out.stdout) == (-signal.SIGKILL, "")


@pytest.mark.parametrize("variable", ["PTK_RESTARTS", "TORCHELASTIC_RESTART_COUNT"])
def test_a_process_that_was_restarted_meets_no_fault(environment, variable):
    first, second = (met(environment, PTK_FAULT="begin@step6:kill9", **{variable: n}) for n in ("0", "1"))
    assert (first.returncode, second.returncode) == (-signal.SIGKILL, 0)


def test_a_mistake_in_the_variable_is_no_silent_run_without_faults(environment):
    out = met(environment, PTK_FAULT="begin:explode")
    assert out.returncode != 0
    assert "'begin:explode' is not POINT" in out.stderr
