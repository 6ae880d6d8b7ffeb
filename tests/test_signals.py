"""Flags, which the loop reads; the second signal ends the process at once (R14)."""

import os
import signal
import subprocess
import sys

from ptk import signals
from ptk.signals import Signals


def test_a_signal_sets_a_flag_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as flags:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (flags.stop, flags.save) == (0, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the same one, passed on by a launcher
        assert flags.stop == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


SECOND = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from ptk import signals
signals.SAME_SIGNAL = 0.05
with signals.Signals():
    os.kill(os.getpid(), signal.SIGTERM)
    print("on", flush=True)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)
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
            os.kill(os.getpid(), signal.SIGHUP)
            assert flags.stop == signal.SIGHUP
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Signals() as flags:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not flags.stop
    finally:
        signal.signal(signal.SIGHUP, before)
