"""``--processes N``: the same command again in N processes, started through torchrun; and joining what others started.

torchrun exits 1 whatever its processes return, waits 30 seconds for one that is stuck, and logs at length. So it runs
in a thread of this process, which has the signals, learns which process ended first and how, leaves the others three
seconds, and says it in one line. A process that knows better leaves its exit code, and the reason, in files.
"""

import contextlib
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import NoReturn

import psutil

from ptk.errors import ProcessLostError
from ptk.processes.torchrun import Failure, Torchrun

CODE_FILE = "PTK_EXIT_CODE_FILE"  # where a process that is one of several leaves its exit code
RESTARTS = "PTK_RESTARTS"  # how often all processes were started again
PARENT_EVERY = 1.0  # seconds between two looks whether the launcher is still there
PORTS = range(12000, 32000)  # below those that the system gives away
LOST, GO_ON = "another process of the run was lost", "; go on with --resume"
OWN_FAULT = re.compile(r"out of memory|invalid usage|[Dd]uplicate GPU")  # NCCL's words for what is no loss
PEER_GONE = re.compile(r"gloo|NCCL|TCPStore|ProcessGroup|[Cc]onnection (closed|reset|refused)")


def joined() -> bool:
    """Is this process one of several that a launcher started (torchrun, accelerate launch, srun)?"""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def processes() -> int:
    """How many processes the run has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def restarted() -> bool:
    """Were the processes started again after one was lost, by ``--max-restarts`` of ptk or of torchrun?"""
    return any(int(os.environ.get(name, "0")) > 0 for name in (RESTARTS, "TORCHELASTIC_RESTART_COUNT"))


def join() -> None:
    """The first act of a process that may be one of several."""
    join_step(os.environ)
    if joined() and processes() > 1:
        threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()


def join_step(environment: MutableMapping[str, str]) -> None:
    """What srun says to the tasks of a step, as torchrun says it; a batch script alone has no step of several."""
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) < 2 or "RANK" in environment:
        return
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["WORLD_SIZE"] = environment["SLURM_STEP_NUM_TASKS"]
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]
    environment.setdefault("MASTER_ADDR", first_node(environment))
    environment.setdefault("MASTER_PORT", str(PORTS[int(environment["SLURM_JOB_ID"]) % len(PORTS)]))


def first_node(environment: MutableMapping[str, str]) -> str:
    """Where the first task runs: ``gpu[007-009,012],cpu1`` begins with gpu007."""
    if nodes := environment.get("SLURM_STEP_NODELIST"):
        first = re.match(r"([^,\[]|\[[^\]]*\])+", nodes)
        if first:
            return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])
    return environment["SLURM_LAUNCH_NODE_IPADDR"]


def end_with(parent: int) -> NoReturn:
    """End when the launcher is gone: nobody else would. Checkpoints are whole or not there, so nothing is lost."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY)
    end(ProcessLostError.exit_code)


def end(code: int) -> NoReturn:
    """End at once, from any thread, with everything that this process started."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(code)


def lost(error: BaseException) -> ProcessLostError | None:
    """What torch raises when another process of the run is gone, as what it is; None for any other error."""
    if not (joined() and processes() > 1 and isinstance(error, RuntimeError)):
        return None
    from torch import distributed

    if OWN_FAULT.search(str(error)):
        return None
    if isinstance(error, distributed.DistError) or PEER_GONE.search(str(error)):
        first = next(iter(str(error).splitlines()), "")
        return ProcessLostError(f"{LOST} ({first[:200]}){GO_ON}")
    return None


def launched() -> bool:
    """Is ptk's own launcher there, which says in one line why the run ended?"""
    return CODE_FILE in os.environ


def leave_code(code: int) -> bool:
    """Tell the launcher the exit code of this process; the first to stop knows why. False when another was first."""
    return leave("", str(code))


def leave_reason(reason: str) -> bool:
    """Tell the launcher, where there is one, why all processes must end. False when another was first."""
    return leave(".reason", reason.removesuffix(GO_ON))


def leave(suffix: str, text: str) -> bool:
    try:
        if launched():
            with open(os.environ[CODE_FILE] + suffix, "x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        return False
    except OSError:
        return True  # the launcher is gone
    return True


def launch(number: int, command: list[str], run: Path, restarts: int = 0) -> int:
    """Run ``ptk`` with ``command`` in ``number`` processes; returns the documented exit code.

    After a process was lost, all are started again with ``--resume``, ``restarts`` times at most. Raises
    ProcessLostError when one was lost for good: ``status.json`` of the ``run`` then says so too.
    """
    from ptk.progress import Talk
    from ptk.run import Run

    for restart in range(restarts + 1):
        code, reason = once(number, command, restart)
        if code != ProcessLostError.exit_code:
            return code
        if restart < restarts:
            Talk().warn(f"{reason}; starting all again from the last checkpoint ({restart + 1} of {restarts})")
            command = [*(word for word in command if word not in ("--overwrite", "--resume")), "--resume"]
    if run.is_dir():
        Run(run).status("failed", exit_code=code, reason=reason)
    raise ProcessLostError(f"{run}: {reason}{GO_ON}")


def once(number: int, command: list[str], restart: int) -> tuple[int, str]:
    """Start all processes and wait for them. Returns the exit code, and for a lost process what happened."""
    # Without the --, torchrun takes our --run for a shortened --run-path.
    words = ["--standalone", f"--nproc-per-node={number}", "-m", "--", "ptk", *command]
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // number)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code"
        settings = {CODE_FILE: str(path), RESTARTS: str(restart), "OMP_NUM_THREADS": threads}
        with environment(**settings), Torchrun() as torchrun:
            failures = torchrun.run(words)
        if not failures:
            return 0, ""
        left = int(path.read_text() or 1) if path.exists() else None
        reason = path.with_suffix(".reason")
        said = reason.read_text(encoding="utf-8") if reason.exists() else LOST
    first = first_failure(failures, torchrun.passed_on)
    return outcome(first, number, left, said, torchrun.passed_on)


@contextlib.contextmanager
def environment(**settings: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def first_failure(failures: list[Failure], passed_on: set[int]) -> Failure:
    """Of those that ended together, the one that was killed: the others noticed."""
    return min(failures, key=lambda one: (one.code >= 0 or -one.code in passed_on, one.rank))


def outcome(first: Failure, number: int, left: int | None, said: str, passed_on: set[int]) -> tuple[int, str]:
    """The exit code of the run and, where a process was lost, the reason.

    left, said: the code and the reason that a process left in files. passed_on: signals sent to all processes.
    """
    lost_code = ProcessLostError.exit_code
    if not said.startswith(LOST):  # a process knows which
        return lost_code, said
    if -first.code in passed_on:  # it came before the process was ready for it
        return left or 128 - first.code, ""
    if first.code < 0:
        name = signal.Signals(-first.code).name
        hint = ": out of memory? (dmesg tells)" if first.code == -signal.SIGKILL else ""
        return lost_code, f"process {first.rank} of {number} was killed by signal {-first.code} ({name}){hint}"
    if (left or first.code) == lost_code:
        return lost_code, f"process {first.rank} of {number} lost the connection to the others{said.removeprefix(LOST)}"
    return left or first.code, ""
