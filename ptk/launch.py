"""``--processes N``: the same command again in N processes, started through torchrun.

torchrun itself exits 1 whatever its processes return; the documented code is the one in ``status.json``.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ptk.errors import ProcessLostError
from ptk.run import Run


def joined() -> bool:
    """Is this process one of several that a launcher started (torchrun, accelerate launch, srun)?"""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(processes: int, command: list[str], run: Path) -> int:
    """Run ``ptk`` with ``command`` in ``processes`` processes; returns the documented exit code."""
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    environment = {"OMP_NUM_THREADS": threads, **os.environ, "PTK_LAUNCHED": "1"}
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
    ]
    before = status(run)
    # Without the --, torchrun takes our --run for a shortened --run-path.
    child = subprocess.Popen([*torchrun, "-m", "--", "ptk", *command], env=environment, start_new_session=True)

    def forward(number: int, _frame: object) -> None:
        os.killpg(child.pid, number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = child.wait()
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
    if code == 0:
        return 0
    after = status(run)
    if after != before and after.get("exit_code"):
        return after["exit_code"]
    raise ProcessLostError(f"{run}: a process of the run was lost (torchrun exited with {code}); go on with --resume")


def status(run: Path) -> dict[str, Any]:
    return Run(run).read_status()
