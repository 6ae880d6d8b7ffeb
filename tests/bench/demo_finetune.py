"""make demo-finetune: what pretraining is worth. One task, few labels and many, from make demo's model and from
random weights of the same shape, the same budget, three seeds."""

import argparse
import statistics
import time
from pathlib import Path

from ptk import recipe_task
from ptk.finetuning import finetune
from ptk.progress import Talk

SHARES = {0.01: 100, 0.1: 200, 1.0: 500}  # share of the labels -> steps


def accuracy(model: str, share: float, seed: int, from_scratch: bool, out: Path) -> float:
    settings = [f"task.examples={share}"] * (share < 1) + [f"seed={seed}", "train.lr=5e-4"]
    settings += [f"train.steps={SHARES[share]}", "train.length=96", f"from_scratch={str(from_scratch).lower()}"]
    settings += [f"train.eval_every={SHARES[share]}", "train.log_every=1000"]
    recipe = recipe_task.recipe_for(None, settings, "python-docs/library", model, None)
    return finetune(recipe, out, overwrite=True, talk=Talk(quiet=True))["metrics"]["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="runs/demo")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/demo-finetune"))
    options = parser.parse_args()
    talk, began = Talk(), time.monotonic()
    lines = []
    for share in SHARES:
        found = {}
        for from_scratch in (False, True):
            runs = [accuracy(options.model, share, seed, from_scratch, options.out) for seed in range(options.seeds)]
            spread = f" +- {100 * statistics.stdev(runs):.1f}" if len(runs) > 1 else ""
            found[from_scratch] = f"{100 * statistics.mean(runs):.1f}{spread}"
            start = "random weights" if from_scratch else "the pretrained model"
            talk.say(f"{share:.0%} of the labels, from {start}: {found[from_scratch]} % right")
        lines.append(f"{share:>8.0%}  {found[False]:>16}  {found[True]:>16}")
    print(f"\npython-docs/library: which library is this passage from? Validation accuracy, {options.seeds} seeds, %")
    print(f"{'labels':>8}  {'pretrained':>16}  {'random weights':>16}", *lines, sep="\n")
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
