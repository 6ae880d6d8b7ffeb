"""``--processes N``: the same command again in N processes, started through torchrun.

torchrun itself exits 1 whatever its processes return; the documented code comes back in a file.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from ptk.errors import ProcessLostError

CODE_FILE = "PTK_EXIT_CODE_FILE"  # where a process that is one of several leaves its exit code


def joined() -> bool:
    """Is this process one of several that a launcher started (torchrun, accelerate launch)?"""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def processes() -> int:
    """How many processes the run has."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launch(number: int, command: list[str], run: Path) -> int:
    """Run ``ptk`` with ``command`` in ``number`` processes; returns the documented exit code.

    Raises ProcessLostError when a process ended without leaving one.
    """
    threads = str(max(1, (os.cpu_count() or 1) // number))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code"
        environment = {"OMP_NUM_THREADS": threads, **os.environ, CODE_FILE: str(code)}
        # Without the --, torchrun takes our --run for a shortened --run-path.
        child = subprocess.Popen([*torchrun, "-m", "--", "ptk", *command], env=environment, start_new_session=True)
        if wait(child) == 0:
            return 0
        if code.exists():
            return int(code.read_text())
    raise ProcessLostError(f"{run}: a process of the run was lost (torchrun: {child.returncode}); go on with --resume")


def wait(child: subprocess.Popen) -> int:
    """Wait for torchrun; signals go on to the processes it started, once (torchrun would send them again)."""

    def forward(number: int, _frame: object) -> None:
        for rank in psutil.Process(child.pid).children():
            rank.send_signal(number)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    previous = {number: signal.signal(number, forward) for number in numbers}
    try:
        return child.wait()
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def leave_code(code: int) -> None:
    """Tell the launcher the exit code of this process; the first to stop knows why."""
    if path := os.environ.get(CODE_FILE):
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(str(code))
        except OSError:
            return  # another process was first, or the launcher is gone
