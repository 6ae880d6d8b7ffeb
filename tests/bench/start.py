"""How long a user waits: for help, for a run's first step, and what its batches cost beside the steps.

    make bench-start                                     # about 3 minutes on 2 cores

Help and first step: the whole command, as it is typed, from its start until it has ended; the run is the recipe's with
one step (and its validation on 64 rows), from a store that exists. Beside it the same with the imports alone that
every command with a model needs: transformers and torch, whatever ptk does.

Batches: stored rows to masked, stacked batches, by one process on one core, tokens a second (special tokens included,
padding not); and the share of a step's time, both on all cores, that this takes.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RECIPES = ("bert-mlm-nsp", "gpt-clm", "t5-span", "electra-rtd", "albert-mlm-sop")
IMPORTS = "import torch; from transformers import BertForPreTraining, PreTrainedTokenizerFast"
FEW = ("evaluate.examples=64", "train.log_every=1", "train.save_every=1")
BATCHES, STEPS, WARM = 200, 12, 2


def seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - began


def commands(runs: int) -> None:
    ptk = [sys.executable, "-m", "ptk"]
    with tempfile.TemporaryDirectory() as folder:
        run = [
            *ptk,
            "pretrain",
            RECIPES[0],
            "train.steps=1",
            *FEW,
            "--run",
            f"{folder}/run",
            "--overwrite",
            "--offline",
        ]
        cases = {
            "ptk --help": [*ptk, "--help"],
            "ptk pretrain --help": [*ptk, "pretrain", "--help"],
            "the imports of a model": [sys.executable, "-c", IMPORTS],
            f"ptk pretrain {RECIPES[0]}, one step": run,
        }
        seconds(run)  # the store is there from now on
        print("| command | seconds, median | least |\n|---|---|---|")
        for name, command in cases.items():
            found = [seconds(command) for _ in range(runs)]
            print(f"| {name} | {statistics.median(found):.2f} | {min(found):.2f} |", flush=True)


def batches(name: str) -> None:
    """A line of the table of one recipe, in a process of its own."""
    from ptk import device, recipe_file
    from ptk.checkpoint import State
    from ptk.pretraining import Pretraining
    from ptk.progress import Talk
    from ptk.run import Run

    talk = Talk(quiet=True)
    recipe, objective, data = Pretraining.prepared(recipe_file.load(name).recipe, talk)
    plan = Pretraining.plan_of(recipe, objective, data)
    shared = device.accelerator(device.precision("auto", device.kind()))
    session = Pretraining(recipe, Run(Path()), data, objective, plan, shared, talk)
    ready = session.batches()
    taken = [ready[step] for step in range(WARM)]  # tables of rows are built, pages read

    def timed(work: Callable[[int], Any], steps: range) -> list[float]:
        found = []
        for step in steps:
            began = time.perf_counter()
            work(step)
            found.append(time.perf_counter() - began)
        return found

    cost = timed(lambda step: taken.append(ready[step]), range(WARM, BATCHES))
    tokens = statistics.mean(sum(objective.tokens(batch) for batch in step) for step in taken[WARM:])
    training, state = session.training(session.fresh_model()), State()
    training.strategy.module.train()
    step = statistics.median(timed(lambda at: training.step(taken[at], state, (0, 0)), range(STEPS))[WARM:])
    one = statistics.mean(cost)
    print(
        f"| {name} | {tokens / one / 1e6:.2f} | {1000 * one:.2f} | {1000 * step:.0f} | {one / step:.2%} |", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.of:
        return batches(options.of)
    commands(options.runs)
    print(
        "\n| recipe | M tokens/s a core | batches of a step, ms | step, ms | share |\n|---|---|---|---|---|", flush=True
    )
    for name in RECIPES:
        subprocess.run([sys.executable, __file__, "--of", name], check=True)
    return None


if __name__ == "__main__":
    main()
