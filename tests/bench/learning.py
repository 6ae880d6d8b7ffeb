"""How soon a loss is reached: the budget recipes, each of their changes alone, and the Trainer's twenty minutes.

    make bench-learning                                   # every change of every recipe, 3 seeds of 5 minutes: 4 hours
    make bench-learning BENCH='--of bert --minutes 1'     # of one recipe, in shorter runs
    make bench-learning BENCH='--beside 2'                # two runs at a time, each on half of the cores: half the time
    make bench-learning BENCH='--race --of gpt'           # the Trainer for 20 minutes, ptk for 5; --peers trainer,ptk
    make bench-learning BENCH='--keep FILE'               # goes on with what was measured before it was stopped

Changes (learning_cases.py): the base is a budget recipe with the published settings put back in place of its own, then
with a rate for the budget; over that comes each change alone, and what was tried and not taken up; then the recipe
itself, all changes together, and what was tried over that.
All have the same text, tokenizer, held-out rows and masks, and as many minutes, which ptk turns into steps (short rows
first and a ramp into as many as take the same time; the table has the minutes of each). A run that fails is a row, too.

Race: transformers' Trainer, with bf16 where the processor has it, trains the base's model for 20 minutes, on the
batches that ptk would train on, which it makes as it goes (less than a hundredth of a step); ptk trains as the budget
recipe says, for 5. `trainer` has the published settings, `trainer-rate` a rate for the budget, `trainer-tuned` all of
the recipe, which shows what of the gain is the recipe's and what is ptk's. Optimizer and schedule are ptk's for all of
them: the Trainer lacks some. ptk scores all of them.

A loss is in nats, of what the objective predicts, on held-out text. Every run is a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import learning_cases
from learning_cases import CASES, RATE, Case

PEERS = {"trainer": 20.0, "trainer-rate": 20.0, "trainer-tuned": 20.0, "ptk": 5.0}  # minutes
CHANGES = {"trainer": learning_cases.BASE, "trainer-rate": learning_cases.RATE, "trainer-tuned": learning_cases.ALL}
PROBED, WARM = 12, 4  # steps that tell how many fit into the Trainer's minutes; the first ones are not counted


# One process ----------------------------------------------------------------------------------------------------------


def ptk(case: Case, words: Sequence[str], seed: int) -> dict[str, Any]:
    """``ptk pretrain`` with ``words`` over the recipe: what it reached, and in how many steps."""
    from ptk import recipe_file
    from ptk.pretraining import pretrain
    from ptk.progress import Talk

    recipe = recipe_file.load(str(case.recipe), [*words, f"seed={seed}", "train.eval_every=1000000"]).recipe
    with tempfile.TemporaryDirectory() as out:
        results = pretrain(recipe, Path(out) / "run", talk=Talk(quiet=True))
    return {
        "loss": results["metrics"][case.measure],
        **{name: results[name] for name in ("steps", "tokens", "seconds")},
    }


def trainer(case: Case, words: Sequence[str], seed: int, minutes: float) -> dict[str, Any]:
    """transformers' Trainer for ``minutes``, on ptk's batches; its loss by ptk."""
    from ptk import device, engine, recipe_file
    from ptk.pretraining import Pretraining
    from ptk.progress import Talk
    from ptk.run import Run
    from ptk.session import with_steps
    from ptk.step import Wrapped

    recipe = recipe_file.load(str(case.recipe), [*words, f"seed={seed}"]).recipe
    # Only now: a warm-up may be longer than what is probed.
    recipe = replace(recipe, train=replace(recipe.train, minutes=None, steps=PROBED))
    recipe, objective, data = Pretraining.prepared(recipe, Talk(quiet=True))
    plan = Pretraining.plan_of(recipe, objective, data)
    accelerator = device.accelerator(device.precision("auto", device.kind()))
    session = Pretraining(recipe, Run(Path()), data, objective, plan, accelerator, Talk(quiet=True))
    pace = learning_cases.by_trainer(session, session.fresh_model())[WARM:]
    # A schedule needs steps, of which it is known only now how many there are.
    steps = max(1, int(60 * minutes / statistics.median(pace)))
    recipe = replace(recipe, train=replace(recipe.train, steps=steps))
    session = replace(session, plan=with_steps(plan, steps), recipe=recipe)
    model = session.fresh_model()
    seconds = learning_cases.by_trainer(session, model)
    whole = Wrapped(objective, model)
    losses = engine.evaluate(whole, session.held_out_batches(), session.accelerator, session.score)
    tokens = sum(objective.tokens(batch) for batch in first_batches(session, steps))
    return {"loss": losses[case.measure].value, "steps": steps, "tokens": tokens, "seconds": sum(seconds)}


def first_batches(session: Any, steps: int) -> Iterator[Any]:
    batches = session.batches()
    return (batches[step][0] for step in range(steps))


def in_its_own_process(beside: int, keep: Path | None, **more: Any) -> dict[str, Any]:
    """Run this file again for one run, ``beside`` of which share the cores: what it prints last, or `failed`.

    A run that ``keep`` has is not made again, and one that is made is added to it.
    """
    asked = {**more, "beside": beside}
    if (before := kept(keep, asked)) is not None:
        return before
    words = [f"--{name.replace('_', '-')}={value}" for name, value in more.items()]
    settings = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    settings |= {"OMP_NUM_THREADS": str((os.cpu_count() or 1) // beside)} if beside > 1 else {}
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, env=os.environ | settings)
    if done.returncode:
        reason = (done.stderr.strip() or "nothing said").splitlines()[-1]
        found = {"failed": f"exit code {done.returncode}: {reason}"}
    else:
        found = json.loads(done.stdout.splitlines()[-1])
    print(f"# {more}: {found}", file=sys.stderr, flush=True)
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
    for change in wanted:
        CASES[name].words(change)  # KeyError now, not in an hour
    print(f"| {name} | minutes | steps | tokens | loss, mean (sd) | against {RATE} |\n|{'---|' * 6}", flush=True)
    pool = ThreadPoolExecutor(options.beside)

    def started(change: str, seed: int, base_steps: int) -> Future[dict[str, Any]]:
        given = {"of": name, "change": change, "minutes": options.minutes, "base_steps": base_steps}
        return pool.submit(in_its_own_process, options.beside, options.keep, one="ptk", seed=seed, **given)

    try:
        first = started(RATE, 1, 0)
        if "failed" in first.result():
            raise SystemExit(f"{RATE}: {first.result()['failed']}")
        steps, seeds = first.result()["steps"], range(1, options.seeds + 1)
        names = dict.fromkeys((RATE, *wanted))
        # Seed by seed: what else the machine does meanwhile is shared by all of a seed.
        runs = {
            (change, seed): started(change, seed, steps)
            for seed in seeds
            for change in names
            if (change, seed) != (RATE, 1)
        }
        runs[RATE, 1] = first
        found = {change: [runs[change, seed].result() for seed in seeds] for change in names}
    finally:
        pool.shutdown(cancel_futures=True)
    for change in wanted:
        print(row(change, found[change], found[RATE]), flush=True)


def row(change: str, runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> str:
    """One line of the table; the difference is that of the means, with the standard error of it."""
    failed = [run["failed"] for run in (*runs, *base) if "failed" in run]
    if failed:
        return f"| {change} | {failed[0]} | | | | |"
    losses, others = ([run["loss"] for run in some] for some in (runs, base))
    spread = f" ({statistics.stdev(losses):.3f})" if len(losses) > 1 else ""
    against = f"{statistics.mean(losses) - statistics.mean(others):+.3f}"
    if len(losses) > 1 and runs is not base:
        squares = sum(statistics.variance(some) / len(some) for some in (losses, others))
        against += f" +- {squares**0.5:.3f}"
    seconds, steps, tokens = (statistics.median(run[name] for run in runs) for name in ("seconds", "steps", "tokens"))
    cells = [change, f"{seconds / 60:.1f}", f"{steps:,.0f}", f"{tokens / 1e6:.2f} M"]
    return f"| {' | '.join([*cells, f'{statistics.mean(losses):.3f}{spread}', against])} |"


def race(name: str, options: argparse.Namespace) -> None:
    """The table of the Trainer's minutes and ptk's."""
    print(f"| {name} | seed | minutes | steps | tokens | loss |\n|{'---|' * 6}", flush=True)
    for seed in range(1, options.seeds + 1):
        for peer in options.peers.split(","):
            minutes = PEERS[peer] * options.minutes / PEERS["ptk"]
            run = in_its_own_process(1, options.keep, one=peer, of=name, minutes=minutes, seed=seed)
            if "failed" in run:
                cells = [run["failed"], "", "", ""]
            else:
                cells = [f"{run['seconds'] / 60:.1f}", f"{run['steps']:,}", f"{run['tokens'] / 1e6:.2f} M"]
                cells.append(f"{run['loss']:.3f}")
            print(f"| {' | '.join([peer, str(seed), *cells])} |", flush=True)


def once(options: argparse.Namespace) -> dict[str, Any]:
    case = CASES[options.of]
    if options.one == "ptk":
        words = case.words(options.change[0])
        if not any(word.startswith(("train.steps", "train.phases")) for word in words):
            words = [*words, f"train.minutes={options.minutes}"]
        return ptk(
            case, [Template(word).substitute(learning_cases.shares(options.base_steps)) for word in words], options.seed
        )
    return trainer(case, case.words(CHANGES[options.one]), options.seed, options.minutes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", default=",".join(CASES), help="names of recipes, with commas between")
    parser.add_argument("--change", action="append", default=[], help="one change of one recipe; may be repeated")
    parser.add_argument("--race", action="store_true")
    parser.add_argument("--peers", default=",".join(PEERS), help="of the race, with commas between")
    parser.add_argument("--minutes", type=float, default=5.0, help="of ptk's runs")
    parser.add_argument("--seeds", type=int, help="3 of the changes, 1 of the race")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="each run is added to it; those there count")
    parser.add_argument("--beside", type=int, default=1, help="runs at a time, of the changes")
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--base-steps", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", choices=PEERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        options.change = options.change or [learning_cases.ALL]
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
