"""Several processes: one that is lost ends the others with one message, and the run goes on to the same weights."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from running import equal
from torch.distributed import DistBackendError

from ptk.commands.run import LAUNCHERS, without
from ptk.errors import ProcessLostError
from ptk.processes import launch, slurm
from ptk.processes.launch import LOST
from ptk.processes.torchrun import Failure
from ptk.run import Run

STEPS = "train.steps=40"
PTK = [sys.executable, "-m", "ptk", "pretrain"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
AS_MODULE = ["-m", "--", "ptk", "pretrain"]
TWO = ["--processes", "2"]


class Started:
    """A run that was started, in two processes."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.run, self.log = folder, folder.with_suffix(".log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([*command, "--run", str(folder)], env=environment, stdout=log, stderr=log)

    def ranks(self, step: int) -> list[psutil.Process]:
        """Its processes, once ``step`` is logged."""
        until = time.monotonic() + 60
        while not any(line["step"] >= step for line in Run(self.run).metrics()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        found = psutil.Process(self.process.pid).children()
        return sorted((one for one in found if "RANK" in one.environ()), key=lambda one: one.environ()["RANK"])

    def ends(self, code: int, seconds: float = 60) -> str:
        assert self.process.wait(seconds) == code, self.log.read_text()
        return self.log.read_text()


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Path]:
    """The run that the others are compared with, by "run"; made by the first test that needs it."""
    return {}


@pytest.fixture
def recipe(tiny) -> str:
    train = "{steps: 4000, length: 32, batch_size: 16, log_every: 1, save_every: 5, precision: fp32, workers: 0}"
    return str(tiny(train=train, evaluate="{share: 0.2, examples: 8}"))


def reference(kept: dict[str, Path], recipe: str, environment: dict[str, str], folder: Path) -> Path:
    if "run" not in kept:
        Started([*PTK, recipe, STEPS, *TWO], folder / "reference", environment).ends(0)
        kept["run"] = folder / "reference"
    return kept["run"]


def test_a_killed_process_ends_the_others_and_a_restart_goes_on(recipe, tmp_path, environment, undisturbed):
    started = Started([*PTK, recipe, STEPS, *TWO, "--max-restarts", "1"], tmp_path / "run", environment)
    started.ranks(step=6)[1].kill()
    text = started.ends(0)
    assert "process 1 of 2 was killed by signal 9 (SIGKILL): out of memory?" in text
    assert text.count("starting all again from the last checkpoint (1 of 1)") == text.count("resuming from") == 1
    assert "Traceback" not in text
    assert equal(started.run, reference(undisturbed, recipe, environment, tmp_path))


def test_a_process_that_is_stuck_does_not_hold_up_the_end_of_the_others(recipe, tmp_path, environment):
    started = Started([*PTK, recipe, *TWO], tmp_path / "run", environment)
    ranks = started.ranks(step=2)
    ranks[0].suspend()
    began = time.monotonic()
    ranks[1].kill()
    text = started.ends(8, 20)
    assert time.monotonic() - began < 5
    assert not any(one.is_running() for one in ranks)
    last = text.splitlines()[-1]
    assert last.endswith("process 1 of 2 was killed by signal 9 (SIGKILL): out of memory? (dmesg tells)" + launch.GO_ON)
    assert text.count("error") == 1
    assert "Traceback" not in text
    status = Run(started.run).read_status()
    assert (status["status"], status["exit_code"]) == ("failed", 8)
    assert "process 1 of 2" in status["reason"]


def test_processes_end_with_a_launcher_that_was_killed(recipe, tmp_path, environment):
    started = Started([*PTK, recipe, *TWO], tmp_path / "run", environment)
    ranks = started.ranks(step=1)
    started.process.kill()
    started.process.wait()
    gone, alive = psutil.wait_procs(ranks, timeout=10)
    assert (len(gone), alive) == (2, [])


def test_plain_torchrun_passes_sigterm_on_and_one_checkpoint_is_left(recipe, tmp_path, environment):
    command = [*TORCHRUN, "--nproc-per-node=2", *AS_MODULE, recipe, "train.save_every=1000"]
    started = Started(command, tmp_path / "run", environment)
    started.ranks(step=2)
    started.process.send_signal(signal.SIGTERM)
    started.ends(1, 20)
    status = Run(started.run).read_status()
    assert (status["status"], status["exit_code"]) == ("interrupted", 143)
    last = Run(started.run).metrics()[-1]["step"]
    assert [path.name for path in Run(started.run).checkpoints.iterdir()] == [f"step-{last:08d}"]


def test_two_launchers_that_meet_train_as_one(recipe, tmp_path, environment, undisturbed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    command = [*TORCHRUN, *meet, "--rdzv-id=here", *AS_MODULE, recipe, STEPS, "--run", str(tmp_path / "run")]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait(90) for one in both] == [0, 0]
    assert equal(tmp_path / "run", reference(undisturbed, recipe, environment, tmp_path))


def test_accelerate_launch_is_joined(recipe, tmp_path, environment):
    # With --cpu it starts one process, whatever the number, unless MPI is there.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    started = Started([*command, "-m", "ptk", "pretrain", recipe, "train.steps=2"], tmp_path / "run", environment)
    assert "2 processes" in started.ends(0)


@pytest.mark.parametrize(
    ("failures", "passed_on", "first"),
    [
        ([Failure(0, 8), Failure(1, -9)], set(), Failure(1, -9)),  # one was killed, the other noticed
        ([Failure(0, 4)], set(), Failure(0, 4)),
        ([Failure(0, -15), Failure(1, 143)], {15}, Failure(0, -15)),
        ([Failure(0, -15), Failure(1, -9)], {15}, Failure(1, -9)),
    ],
)
def test_the_first_failure_is_the_one_that_was_killed(failures, passed_on, first):
    assert launch.first_failure(failures, passed_on) == first


@pytest.mark.parametrize(
    ("first", "left", "said", "passed_on", "code", "reason"),
    [
        (Failure(0, 4), 4, LOST, set(), 4, ""),
        (Failure(0, 2), None, LOST, set(), 2, ""),
        (Failure(0, 143), 143, LOST, {15}, 143, ""),
        (Failure(1, -15), None, LOST, {15}, 143, ""),  # before it could save anything
        (Failure(1, -15), None, LOST, set(), 8, "process 1 of 2 was killed by signal 15 (SIGTERM)"),
        (Failure(1, -11), 8, LOST, set(), 8, "process 1 of 2 was killed by signal 11 (SIGSEGV)"),
        (Failure(0, 8), 8, LOST, set(), 8, "process 0 of 2 lost the connection to the others"),
        (Failure(1, -9), 8, "process 1 of 2 has not moved", set(), 8, "process 1 of 2 has not moved"),
    ],
)
def test_the_exit_code_and_the_reason_of_a_run(first, left, said, passed_on, code, reason):
    assert launch.outcome(first, 2, left, said, passed_on) == (code, reason)


def test_the_first_process_to_stop_says_why(tmp_path, monkeypatch):
    monkeypatch.delenv(launch.CODE_FILE, raising=False)
    assert launch.leave_code(4)  # nobody else would say it
    monkeypatch.setenv(launch.CODE_FILE, str(tmp_path / "code"))
    assert launch.leave_code(4)
    assert not launch.leave_code(8)
    assert (tmp_path / "code").read_text() == "4"
    monkeypatch.setenv(launch.CODE_FILE, str(tmp_path / "gone" / "code"))
    assert launch.leave_code(4)


def test_errors_of_a_lost_peer_are_known_among_several_processes_only(monkeypatch):
    closed = RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [::1]:5")
    monkeypatch.delenv("RANK", raising=False)
    assert launch.lost(closed) is None
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for error in (closed, DistBackendError("anything")):
        assert "go on with --resume" in str(launch.lost(error))
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), torch.OutOfMemoryError("CUDA"), OSError()):
        assert launch.lost(error) is None


def test_a_restart_resumes_and_deletes_nothing(tmp_path, monkeypatch):
    given = []

    def lost(_number: int, command: list[str], _restart: int) -> tuple[int, str]:
        given.append(command)
        return 8, "process 1 of 2 was killed"

    monkeypatch.setattr(launch, "once", lost)
    with pytest.raises(ProcessLostError, match="process 1 of 2 was killed; go on with --resume"):
        launch.launch(2, ["pretrain", "r", "--overwrite"], tmp_path / "run", restarts=2)
    assert given == [["pretrain", "r", "--overwrite"], *[["pretrain", "r", "--resume"]] * 2]


@pytest.mark.parametrize("name", [launch.RESTARTS, "TORCHELASTIC_RESTART_COUNT"])
def test_a_restart_is_known(monkeypatch, name):
    for each in (launch.RESTARTS, "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.setenv(each, "0")
    assert not launch.restarted()
    monkeypatch.setenv(name, "2")
    assert launch.restarted()


STEP = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "4711",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
}


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[007-009,012],cpu1", "gpu007"), ("a,b[1-2]", "a"), ("r[1-2]n[03,04]", "r1n03"), ("", "10.0.0.1")],
)
def test_tasks_of_srun_are_processes_of_one_run(nodes, first):
    task = {**STEP, "SLURM_STEP_NODELIST": nodes}
    launch.join_step(task)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    assert [task[name] for name in names] == ["3", "4", "1", first, "16711"]


@pytest.mark.parametrize("other", [{"SLURM_STEP_NUM_TASKS": "1"}, {"RANK": "0"}])
def test_a_batch_script_alone_and_a_launcher_under_srun_are_left_as_they_are(other):
    task = {**STEP, **other}
    launch.join_step(task)
    assert task == {**STEP, **other}


def test_options_of_the_launcher_are_its_own():
    command = ["pretrain", "r", "--processes", "2", "--max-restarts=1", "--run", "x", "a.b=--processes"]
    assert without(command, *LAUNCHERS) == ["pretrain", "r", "--run", "x", "a.b=--processes"]


FAKE_SRUN = """#!/bin/bash
printf '%s\\n' "$@" > said
mkdir -p 'my runs'
printf '{\\n "status": "failed",\\n "time": "%s"%s\\n}\\n' "$RANDOM" "$LEFT" > 'my runs/status.json'
exit $ENDS
"""
FAKE_SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo node7; else echo "$@" > queued; fi
"""


@pytest.mark.parametrize(
    ("ends", "left", "restarts", "code", "queued"),
    [
        ("0", ', "exit_code": 0', "0", 0, False),
        ("1", ', "exit_code": 143', "99", 143, True),
        ("1", ', "exit_code": 8', "0", 8, True),
        ("1", "", "0", 8, True),  # all were killed at once
        ("1", ', "exit_code": 8', "10", 8, False),
        ("1", ', "exit_code": 6', "0", 6, False),
    ],
)
def test_a_job_goes_back_into_the_queue_when_that_helps(tmp_path, ends, left, restarts, code, queued):
    for name, text in (("srun", FAKE_SRUN), ("scontrol", FAKE_SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = tmp_path / "job.sh"
    job.write_text(slurm.script("r.yaml", ["corpus=it's $HOME.txt"], "tiny", Path("my runs"), 2, 8, 1.5))
    subprocess.run(["bash", "-n", str(job)], check=True)
    told = {
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "5",
        "SLURM_RESTART_COUNT": restarts,
    }
    told |= {"LEFT": left, "ENDS": ends, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["bash", str(job)], cwd=tmp_path, env=told).returncode == code
    assert (tmp_path / "queued").exists() == queued
    said = (tmp_path / "said").read_text().splitlines()
    assert "--rdzv-endpoint=node7:12005" in said
    assert said[said.index("ptk") :] == [
        "ptk",
        "pretrain",
        "r.yaml",
        "corpus=it's $HOME.txt",
        "--run",
        "my runs",
        "--resume",
    ]


def test_a_job_that_never_began_is_not_queued_again_for_what_the_last_one_left(tmp_path):
    (tmp_path / "srun").write_text("#!/bin/bash\nexit 1\n")
    (tmp_path / "scontrol").write_text(FAKE_SCONTROL)
    for name in ("srun", "scontrol"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "status.json").write_text('{"exit_code": 143}')
    (tmp_path / "job.sh").write_text(slurm.script("r.yaml", [], "tiny", Path("."), 1, 1, 24))
    told = {"SLURM_NNODES": "1", "SLURM_JOB_ID": "5", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=told).returncode == 1
    assert not (tmp_path / "queued").exists()


@pytest.mark.parametrize(("hours", "text"), [(1.5, "01:30:00"), (24, "24:00:00"), (0.1, "00:06:00")])
def test_hours_are_what_slurm_reads(hours, text):
    assert slurm.clock(hours) == text
