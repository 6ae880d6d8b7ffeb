"""Jobs of a pool: each is done once, here or in another process, and what one raises is raised here."""

import os
import signal
import time
from collections import deque

import pytest

from ptk.data import pool
from ptk.errors import DataError, ProcessLostError

HERE = os.getpid()


def who_does_it(shared, job):
    """The process that did the job; waits until both have had one."""
    (shared / str(os.getpid())).touch()
    while len(list(shared.iterdir())) < 2:
        time.sleep(0.01)
    return job, os.getpid()


def fails_elsewhere(shared, job):
    here, folder = shared
    if os.getpid() != here:
        raise DataError(f"job {job}")
    time.sleep(0.05)
    (folder / str(job)).touch()


def fails_here(here, job):
    if os.getpid() == here:
        raise DataError("here")


def dies(here, job):
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)


def test_every_job_is_done_once_here_and_elsewhere(tmp_path):
    done = list(pool.unordered(who_does_it, tmp_path, range(40), 2, "here"))
    assert sorted(job for job, _ in done) == list(range(40))
    assert len({process for _, process in done}) == 2
    assert HERE in {process for _, process in done}


def test_more_processes_than_jobs():
    assert sorted(pool.unordered(max, 1, [0, 2], 8, "here")) == [1, 2]


def test_what_a_job_raises_elsewhere_is_raised_before_all_are_done(tmp_path):
    jobs = pool.unordered(fails_elsewhere, (HERE, tmp_path), range(1000), 2, "here")
    with pytest.raises(DataError, match="job"):
        deque(jobs, 0)
    assert not (tmp_path / "500").exists()


def test_what_a_job_raises_here_is_raised():
    with pytest.raises(DataError, match="here"):
        list(pool.unordered(fails_here, HERE, range(10), 2, "here"))


def test_a_process_that_is_killed_is_said():
    with pytest.raises(ProcessLostError, match="the store: a process that was building it is gone"):
        list(pool.unordered(dies, HERE, range(1000), 2, "the store"))


def test_who_stops_asking_stops_the_work(tmp_path, capfd):
    jobs = pool.unordered(who_does_it, tmp_path, range(1000), 2, "here")
    next(jobs)
    jobs.close()
    assert capfd.readouterr().err == ""
