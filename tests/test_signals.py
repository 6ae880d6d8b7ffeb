"""Flags, which the loop reads; the second signal ends the process at once (R14)."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from running import carried_out
from tiny_tasks import write_recipe

from ptk import recipe_file, signals, training
from ptk.errors import Interrupted, StoppedNow
from ptk.run import Run
from ptk.signals import Signals, at_once


def test_a_signal_sets_a_flag_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as flags:
        signal.raise_signal(signal.SIGUSR1)
        assert (flags.stop, flags.save) == (0, 1)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # the same one, passed on by a launcher
        assert flags.stop == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_without_a_loop_a_signal_stops_on_the_spot(number):
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]

    def swallowing():
        with at_once():
            try:
                with contextlib.suppress(Exception):
                    signal.raise_signal(number)
                    time.sleep(5)
            finally:  # a terminal that is closed sends two of them
                signal.raise_signal(signal.SIGTERM)
                time.sleep(0.01)

    with pytest.raises(StoppedNow) as stopped:
        swallowing()
    told = signals.interrupted(stopped.value)
    assert (told.exit_code, str(told)) == (128 + number, f"stopped by {number.name}; go on with --resume")
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


def doubled(*_):
    """Two signals at one time: raised, not sent to the process, where another thread would take them at once."""
    both = {signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    try:
        for number in both:
            signal.raise_signal(number)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
    time.sleep(5)


def test_a_run_that_is_stopped_behind_its_last_step_says_so_and_goes_on(tmp_path, monkeypatch):
    recipe = recipe_file.load(str(write_recipe("classification", tmp_path, 0.0)), ["train.steps=2"]).recipe
    with monkeypatch.context() as patched:
        patched.setattr(training, "finish", doubled)
        with pytest.raises(Interrupted):
            carried_out(recipe, tmp_path / "run")
    status = Run(tmp_path / "run").read_status()
    assert (status["status"], status["exit_code"]) == ("interrupted", 128 + signal.SIGHUP)
    assert carried_out(recipe, tmp_path / "run", resume=True)["steps"] == 2
    assert Run(tmp_path / "run").read_status()["status"] == "finished"


SECOND = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from ptk import signals
signals.SAME_SIGNAL = 0.05
with signals.Signals():
    signal.raise_signal(signal.SIGTERM)
    print("on", flush=True)
    time.sleep(0.2)
    signal.raise_signal(signal.SIGINT)
    print("never")
"""


def test_the_second_signal_ends_it_at_once(environment):
    root = os.path.dirname(os.path.dirname(signals.__file__))
    ended = subprocess.run([sys.executable, "-c", SECOND, root], env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (-signal.SIGINT, "on\n")


def test_a_closed_terminal_stops_a_run_unless_it_was_told_not_to_care(environment):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup changes
    try:
        with Signals() as flags:
            signal.raise_signal(signal.SIGHUP)
            assert flags.stop == signal.SIGHUP
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Signals() as flags:
            signal.raise_signal(signal.SIGHUP)
            assert not flags.stop
    finally:
        signal.signal(signal.SIGHUP, before)
