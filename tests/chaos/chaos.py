"""Breaks runs on purpose, in every way a machine can, and checks that each goes on to the same weights, bit for bit.

    python tests/chaos/chaos.py                       every experiment but the soak: make chaos
    python tests/chaos/chaos.py --only kill,export    these; --only kill:7 --seed 3 is one trial again
    python tests/chaos/chaos.py --only soak           half an hour: make soak

Prints a line a trial and a table. RESULTS.md beside this file gets the row of every experiment that ran in full. The
folder of a trial that failed is kept and named, and the exit code is 1.
"""

import argparse
import inspect
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # tests/: this package, and what tests share

from chaos import damage, disk, kills, lost, report, soak, stops
from chaos.lab import Lab, Trial
from chaos.started import Broken

MINUTES = 30.0  # of the soak
RESULTS = Path(__file__).with_name("RESULTS.md")
EXPERIMENTS: dict[str, Callable[..., list[Trial]]] = {
    "kill": kills.at_random,
    "points": kills.at_points,
    "export": kills.in_export,
    "flip": damage.flips,
    "cut": damage.cuts,
    "full": disk.full,
    "read-only": disk.read_only,
    "second": stops.second_run,
    "stop": stops.signals,
    "lost": lost.processes,
    "soak": soak.soak,
}


class Outcome(NamedTuple):
    seen: str
    failed: bool
    seconds: float


def attempt(lab: Lab, experiment: str, number: int, trial: Trial) -> Outcome:
    """Run one trial, print its line, and delete its folder unless it failed."""
    room = lab.room(experiment, number)
    began = time.monotonic()
    try:
        seen, failed = trial.run(room), False
    except Broken as error:
        seen, failed = str(error), True
    except Exception as error:
        traceback.print_exc()
        seen, failed = f"a bug of this program: {error}", True
    finally:
        room.clear()
    seconds = time.monotonic() - began
    kept = f"; kept: {room.folder}" if failed else ""
    word = "FAILED" if failed else "ok"
    print(f"{experiment}:{number} seed {lab.seed}  {word:<6} {seconds:5.1f} s  {trial.name}: {seen}{kept}", flush=True)
    if not failed:
        shutil.rmtree(room.folder)
    return Outcome(seen, failed, seconds)


def chosen(words: Sequence[str]) -> dict[str, set[int]]:
    """Experiment -> numbers of trials, none for all: from names and ``name:number``."""
    found: dict[str, set[int]] = {}
    for word in words:
        name, _, number = word.partition(":")
        if name not in EXPERIMENTS:
            sys.exit(f"--only {name}: not one of {', '.join(EXPERIMENTS)}")
        found.setdefault(name, set()).update([int(number)] if number else [])
    return found


def run(lab: Lab, experiment: str, numbers: set[int], options: argparse.Namespace) -> report.Row:
    """All trials of an experiment, or those of some numbers."""
    make = EXPERIMENTS[experiment]
    what = inspect.getdoc(make) or ""
    if experiment == "soak":
        trials = make(lab, options.minutes)
    else:
        trials = make(lab, options.trials) if options.trials else make(lab)
    tasks = [(number, trial) for number, trial in enumerate(trials) if not numbers or number in numbers]
    with ThreadPoolExecutor(options.lanes) as lanes:
        outcomes = list(lanes.map(lambda task: attempt(lab, experiment, *task), tasks))
    if len(outcomes) == 1:
        what += f": {outcomes[0].seen}"
    passed = sum(not outcome.failed for outcome in outcomes)
    return report.Row(experiment, what, len(outcomes), passed, round(sum(outcome.seconds for outcome in outcomes)))


def main() -> None:
    options = arguments()
    wanted = chosen(options.only.split(",") if options.only else [name for name in EXPERIMENTS if name != "soak"])
    lab = Lab(Path(tempfile.mkdtemp(prefix="ptk-chaos-")), options.seed, options.warm)
    rows = [run(lab, experiment, numbers, options) for experiment, numbers in wanted.items()]
    print(report.table(rows))
    whole = [row for row in rows if not wanted[row.experiment]]
    if whole and not (options.trials or options.warm or options.minutes != MINUTES):
        report.write(RESULTS, whole, list(EXPERIMENTS), options.seed)
    if any(row.passed < row.trials for row in rows):
        sys.exit(1)
    shutil.rmtree(lab.folder)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="experiments, separated by commas: " + ", ".join(EXPERIMENTS))
    parser.add_argument("--trials", type=int, help="of each experiment; left out: as many as it is meant to have")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=2, help="trials at a time")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of the soak")
    parser.add_argument("--warm", action="store_true", help="fork ptk instead of starting it: quicker, for a look")
    return parser.parse_args()


if __name__ == "__main__":
    main()
