"""``ptk launch --slurm``: a job script for several machines. Right for the first job and for every one that follows.

One torchrun a node; they find each other at the first node. Two minutes before the time is over Slurm sends SIGTERM to
the processes of the step, not to the script (that would be ``--signal=B:``): all save one checkpoint and end, and the
script puts itself in the queue again. ``--resume`` begins a run that has not begun.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

LEFT = 120  # seconds before the end of the time at which the processes are told
CPUS = 8  # for each GPU
ATTEMPTS = 10  # jobs after which a run that loses processes is left alone

SCRIPT = """\
#!/bin/bash
# Submit with: sbatch FILE. Partition, account, memory and the like are your cluster's: add #SBATCH lines for them.
# The text is prepared by the first process, unless `ptk data build`, with the same settings, did it before.
#SBATCH --job-name={job}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
#SBATCH --cpus-per-task={cpus}
#SBATCH --time={time}
#SBATCH --signal=TERM@{left}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

export OMP_NUM_THREADS=$(( ${{SLURM_CPUS_PER_TASK:-{cpus}}} / {gpus} ))
export SRUN_CPUS_PER_TASK=${{SLURM_CPUS_PER_TASK:-{cpus}}}  # srun does not take it from sbatch
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT={saving}  # seconds for saving (torch 2.12 on; 30 before)
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$(( 12000 + SLURM_JOB_ID % 20000 ))
status={status}
before=$(cat "$status" 2>/dev/null)

# No node is killed because another has ended: each ends by itself, after its checkpoint.
srun --kill-on-bad-exit=0 {python} -m torch.distributed.run \\
  --nnodes="$SLURM_NNODES" --nproc-per-node={gpus} \\
  --rdzv-backend=c10d --rdzv-endpoint="$first:$port" --rdzv-id="$SLURM_JOB_ID-${{SLURM_RESTART_COUNT:-0}}" \\
  -m -- {command} && exit 0

# torchrun's exit code says nothing; the run's status.json does, once this job has written it.
code=1
if [ "$(cat "$status" 2>/dev/null)" != "$before" ]; then
  code=$(sed -n 's/.*"exit_code": *\\([0-9]*\\).*/\\1/p' "$status")
fi
case "${{code:-8}}" in  # a run that all its processes lost still says "running", without a code
  143) scontrol requeue "$SLURM_JOB_ID" ;;  # stopped in time, with a checkpoint
  8) [ "${{SLURM_RESTART_COUNT:-0}}" -lt {attempts} ] && scontrol requeue "$SLURM_JOB_ID" ;;  # a process was lost
esac
exit "${{code:-8}}"
"""


def script(
    recipe: str,
    overrides: Sequence[str],
    name: str,
    run: Path,
    nodes: int,
    gpus: int,
    hours: float,
    command: str = "pretrain",
) -> str:
    """The job script of ``ptk command recipe overrides --run run`` on ``nodes`` machines with ``gpus`` each.

    A run's status is looked for where the run is, so relative paths are those of the folder ``sbatch`` is called in.
    """
    words = ["ptk", command, recipe, *overrides, "--run", str(run), "--resume"]
    return SCRIPT.format(
        job=f"ptk-{name}",
        nodes=nodes,
        gpus=gpus,
        cpus=CPUS * gpus,
        time=clock(hours),
        left=LEFT,
        saving=LEFT - 10,
        python=shlex.quote(sys.executable),
        command=shlex.join(words),
        status=shlex.quote(str(run / "status.json")),
        attempts=ATTEMPTS,
    )


def clock(hours: float) -> str:
    """Slurm's time limit, in whole minutes: 1.5 to 01:30:00."""
    minutes = max(1, round(hours * 60))
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
