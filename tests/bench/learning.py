"""How soon a loss is reached: the budget recipes, each of their changes alone, and the Trainer's twenty minutes.

    make bench-learning                                   # every change of every recipe, 3 seeds of 5 minutes: 10 hours
    make bench-learning BENCH='--of bert --minutes 1'     # of one recipe, in shorter runs
    make bench-learning BENCH='--beside 2'                # two runs at a time, each on half of the cores
    make bench-learning BENCH='--paces --keep FILE'       # how many steps a change has, which depends on the machine
    make bench-learning BENCH='--race --of gpt'           # the Trainer's 20 minutes, ptk's 5; --peers trainer,ptk
    make bench-learning BENCH='--keep FILE'               # goes on with what was measured before it was stopped

Changes (learning_cases.py): the base is a budget recipe with the published settings put back in place of its own, then
with a rate for the budget; over that comes each change alone, and what was tried and not taken up; then the recipe
itself, all changes together, and what was tried over that.
All have the same text, tokenizer, held-out rows and masks, and as many steps as take --minutes (short rows first, a
ramp and larger batches have as many tokens as the base, other rates as many steps).

Race: transformers' Trainer, with bf16 where the processor has it, trains the base's model for 20 minutes, on the
batches that ptk would train on, which it makes as it goes (less than a hundredth of a step); ptk trains as the budget
recipe says, for 5. `trainer` has the published settings, `trainer-rate` a rate for the budget, `trainer-tuned` all of
the recipe, which shows what of the gain is the recipe's and what is ptk's. Optimizer and schedule are ptk's for all of
them: the Trainer lacks some. ptk scores all of them.

Minutes are steps at the pace that both cores have with nothing else to do: the quickest of ROUNDS in which everyone has
a turn, since whatever else the machine does makes it slower. What is learned depends on these steps alone: when they
are made, or how many runs there are at a time, is no part of it. A run that fails is a row, too.

A loss is in nats, of what the objective predicts, on held-out text. Every run is a process of its own.
learning.jsonl is a FILE that --keep takes: what the tables in RESULTS.md are made of. Its paces are of the machine that
is named there; those of another one begin another file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import learning_cases
import learning_runs
from learning_cases import CASES, RATE, for_steps, says_steps, what_costs

MINUTES = 5.0  # of ptk's runs
PEERS = {  # of the race: what trains, with which change, and for how many times ptk's minutes
    "trainer": ("trainer", learning_cases.BASE, 4),
    "trainer-rate": ("trainer", learning_cases.RATE, 4),
    "trainer-tuned": ("trainer", learning_cases.ALL, 4),
    "ptk": ("ptk", learning_cases.ALL, 1),
}
ROUNDS = 5  # in which paces are measured


def in_its_own_process(beside: int, keep: Path | None, **asked: Any) -> dict[str, Any]:
    """Run this file again for one run, ``beside`` of which share the cores: what it prints last, or `failed`.

    A run that ``keep`` has is not made again, and one that is made is added to it.
    """
    if (before := kept(keep, asked)) is not None:
        return before
    words = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    settings = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    settings |= {"OMP_NUM_THREADS": str((os.cpu_count() or 1) // beside)} if beside > 1 else {}
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, env=os.environ | settings)
    if done.returncode:
        reason = (done.stderr.strip() or "nothing said").splitlines()[-1]
        found = {"failed": f"exit code {done.returncode}: {reason}"}
    else:
        found = json.loads(done.stdout.splitlines()[-1])
    print(f"# {asked}: {found}", file=sys.stderr, flush=True)
    if keep is not None and "failed" not in found:
        with keep.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"asked": asked, "found": found}) + "\n")
    return found


def kept(path: Path | None, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What the run that was ``asked`` for found before."""
    lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
    return next((line["found"] for line in map(json.loads, lines) if line["asked"] == asked), None)


# All of them ----------------------------------------------------------------------------------------------------------


def changes(name: str, options: argparse.Namespace) -> None:
    """The table of a recipe's changes."""
    wanted = options.change or CASES[name].named()
    names = list(dict.fromkeys((RATE, *wanted)))
    for change in names:
        CASES[name].words(change)  # KeyError now, not in an hour
    steps = steps_of_changes(name, names, options)
    if options.paces:
        return
    print(f"| {name} | steps | tokens | loss, mean (sd) | against {RATE} |\n|{'---|' * 5}", flush=True)
    pool = ThreadPoolExecutor(options.beside)

    def started(change: str, seed: int) -> Future[dict[str, Any]]:
        given = {"of": name, "change": change, "steps": steps[change], "seed": seed}
        return pool.submit(in_its_own_process, options.beside, options.keep, one="ptk", **given)

    try:
        # Seed by seed: where it is stopped there is something of every change.
        seeds = range(1, options.seeds + 1)
        runs = {(change, seed): started(change, seed) for seed in seeds for change in names}
        found = {change: [runs[change, seed].result() for seed in seeds] for change in names}
    finally:
        pool.shutdown(cancel_futures=True)
    for change in wanted:
        print(row(change, found[change], found[RATE]), flush=True)


def steps_of_changes(name: str, changes: Sequence[str], options: argparse.Namespace) -> dict[str, int]:
    """The steps of each change that take ``--minutes``: of the base where a change says its own."""
    alike: dict[str, str] = {}  # change -> the first one whose steps cost as much
    firsts: dict[frozenset[str], str] = {}
    for change in changes:
        words = CASES[name].words(change)
        alike[change] = RATE if says_steps(words) else firsts.setdefault(what_costs(words), change)
    asked = {change: {"by": "ptk", "change": change, "minutes": options.minutes} for change in alike.values()}
    found = steps_of_the_quickest(name, asked, options.keep)
    return {change: found[first] for change, first in alike.items()}


def steps_of_the_quickest(name: str, asked: Mapping[str, dict[str, Any]], keep: Path | None) -> dict[str, int]:
    """How many steps everyone's minutes are at the best pace they had in ROUNDS turns."""
    found: dict[str, list[int]] = {who: [] for who in asked}
    for turn in range(ROUNDS):
        for who, steps in found.items():
            run = in_its_own_process(1, keep, one="pace", of=name, **asked[who], turn=turn)
            if "failed" in run:
                raise SystemExit(f"{who}: {run['failed']}")
            steps.append(run["steps"])
    return {who: max(steps) for who, steps in found.items()}


def row(change: str, runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> str:
    """One line of the table; the difference is that of the means, with the standard error of it."""
    failed = [run["failed"] for run in (*runs, *base) if "failed" in run]
    if failed:
        return f"| {change} | {failed[0]} | | | |"
    losses, others = ([run["loss"] for run in some] for some in (runs, base))
    spread = f" ({statistics.stdev(losses):.3f})" if len(losses) > 1 else ""
    against = f"{statistics.mean(losses) - statistics.mean(others):+.3f}"
    if len(losses) > 1 and runs is not base:
        squares = sum(statistics.variance(some) / len(some) for some in (losses, others))
        against += f" +- {squares**0.5:.3f}"
    steps, tokens = (statistics.median(run[name] for run in runs) for name in ("steps", "tokens"))
    cells = [change, f"{steps:,.0f}", f"{tokens / 1e6:.2f} M"]
    return f"| {' | '.join([*cells, f'{statistics.mean(losses):.3f}{spread}', against])} |"


def race(name: str, options: argparse.Namespace) -> None:
    """The table of the Trainer's minutes and ptk's."""
    asked = {}
    for peer in options.peers.split(","):
        by, change, times = PEERS[peer]
        asked[peer] = {"by": by, "change": change, "minutes": times * options.minutes}
    steps = steps_of_the_quickest(name, asked, options.keep)
    if options.paces:
        return
    print(f"| {name} | seed | minutes | steps | tokens | loss |\n|{'---|' * 6}", flush=True)
    with ThreadPoolExecutor(options.beside) as pool:

        def started(peer: str, seed: int) -> Future[dict[str, Any]]:
            by, change, _ = PEERS[peer]
            given = {"change": change, "steps": steps[peer], "seed": seed}
            return pool.submit(in_its_own_process, options.beside, options.keep, one=by, of=name, **given)

        runs = {(peer, seed): started(peer, seed) for seed in range(1, options.seeds + 1) for peer in asked}
        for (peer, seed), future in runs.items():
            run = future.result()
            if "failed" in run:
                cells = [run["failed"], "", ""]
            else:
                cells = [f"{run['steps']:,}", f"{run['tokens'] / 1e6:.2f} M", f"{run['loss']:.3f}"]
            minutes = f"{asked[peer]['minutes']:g}"
            print(f"| {' | '.join([peer, str(seed), minutes, *cells])} |", flush=True)


def once(options: argparse.Namespace) -> dict[str, Any]:
    case = CASES[options.of]
    words = case.words(options.change[0])
    if options.one == "pace":
        paced = learning_runs.pace_of_trainer if options.by == "trainer" else learning_runs.pace
        return paced(case, words, options.minutes)
    train = learning_runs.trainer if options.one == "trainer" else learning_runs.ptk
    return train(case, for_steps(words, options.steps), options.seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", default=",".join(CASES), help="names of recipes, with commas between")
    parser.add_argument("--change", action="append", default=[], help="one change of one recipe; may be repeated")
    parser.add_argument("--race", action="store_true")
    parser.add_argument("--paces", action="store_true", help="measure how many steps the minutes are, and no more")
    parser.add_argument("--peers", default=",".join(PEERS), help="of the race, with commas between")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="of ptk's runs; the Trainer's race is 4 times it"
    )
    parser.add_argument("--seeds", type=int, help="3 of the changes, 1 of the race")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="each run is added to it; those there count")
    parser.add_argument("--beside", type=int, default=1, help="runs at a time")
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--turn", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", choices=["pace", "ptk", "trainer"], help=argparse.SUPPRESS)
    parser.add_argument("--by", choices=["ptk", "trainer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(once(options)))
        return 0
    options.seeds = options.seeds or (1 if options.race else 3)
    began = time.monotonic()
    for name in options.of.split(","):
        race(name, options) if options.race else changes(name, options)
    print(f"{(time.monotonic() - began) / 60:.0f} minutes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
