"""The GPU cases, on a machine that may have neither network nor ``datasets``: all that they read is packed elsewhere.

    make bench-gpu BENCH='--pack'               # on any machine: batches, texts, a tokenizer, into build/bench-gpu
    make bench-gpu                              # on the machine with the GPU, that folder beside it
    make bench-gpu BENCH='--only steps --case H1a,H3 --rounds 1' BENCH_PYTHON=python3   # with what is installed there

steps        H1 to H5 of speed.py: BERT-base and -large, GPT-2 124M, T5-base, ELECTRA-small and -base
squad        H6: questions a second in fine-tuning a BERT-base of random weights, beside run_qa's settings
shakespeare  H7: seconds to 1.47 nats of validation with nanoGPT's settings for characters (its README: 1.4697)

Other options go to the scripts of steps and squad: `--only steps --keep FILE --peers ptk,trainer-best --rounds 1` goes
on with what a machine that was taken away has measured, and its FILE. Without ptk's packages the machine needs wheels
of those that importing ptk needs: pydantic, annotated-types, sentencex, xxhash, zstandard.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import places
import speed_cases

PACKED = Path("build/bench-gpu")
PARTS = ("steps", "squad", "shakespeare")
TEXTS = ("squad2_dev/dev-v2.0.json", "text_en_shakespeare/input.txt")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
REACHED = 1.47  # nats
NANO_GPT = [f"model.{name}={size}" for name, size in (("n_embd", 384), ("n_layer", 6), ("n_head", 6))]
NANO_GPT += [f"model.{name}=0.2" for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")]
NANO_GPT += ["model.n_positions=256", "train.length=256", "train.batch_size=64", "train.steps=5000", "train.lr=1e-3"]
NANO_GPT += ["train.final_lr=0.1", "train.warmup=100", "train.eval_every=250", "train.workers=2"]


def cases(text: str) -> list[str]:
    return speed_cases.named(text or ",".join(name for name in speed_cases.CASES if name.startswith("H")))


def pack(folder: Path, names: list[str]) -> None:
    """Everything that the parts read, into ``folder``."""
    os.environ["PTK_CACHE"] = str(folder / "cache")
    for name in names:
        print(f"# {name}: batches", file=sys.stderr, flush=True)
        speed_cases.prepared(speed_cases.CASES[name])
    for text in TEXTS:
        path = folder / "data" / text
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(places.DATA / text, path)
    (folder / "tokenizer").mkdir(exist_ok=True)
    for name in TOKENIZER:
        if (source := Path(places.encoder()) / name).exists():
            shutil.copyfile(source, folder / "tokenizer" / name)
    for made in (folder / "cache").iterdir():  # what the batches were made of is not needed any more
        if made.name != "bench":
            shutil.rmtree(made)


def steps(options: argparse.Namespace, environment: dict[str, str]) -> int:
    words = ["--case", ",".join(cases(options.case)), "--rounds", str(options.rounds), *options.more]
    return subprocess.run([sys.executable, Path(__file__).with_name("speed.py"), *words], env=environment).returncode


def squad(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from transformers import AutoTokenizer, BertConfig, BertModel

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(options.packed / "tokenizer")
        tokenizer.save_pretrained(folder)
        BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
        words = ["--only", "speed", "--tasks", "squad2", "--model", folder, "--seeds", str(options.rounds)]
        script = Path(__file__).with_name("squad.py")
        return subprocess.run([sys.executable, script, *words, *options.more], env=environment).returncode


def shakespeare(options: argparse.Namespace, environment: dict[str, str]) -> int:
    text = options.packed / "data" / TEXTS[1]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [f"corpus={{path: {text.resolve()}, split_documents: file}}", *NANO_GPT, *options.settings]
        command = [sys.executable, "-m", "ptk", "pretrain", "gpt-char", "--run", str(run), "--offline", *words]
        if code := subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode:
            return code
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    print(told([line for line in lines if line["split"] == "validation"]), flush=True)
    return 0


def told(validated: list[dict[str, float]]) -> str:
    """When the loss was reached, of the validations of a run, and the lowest one."""
    least = min(validated, key=lambda line: line["clm"])
    lowest = f"lowest {least['clm']:.4f} at step {least['step']:,} after {least['seconds']:.0f} s"
    soon = next((line for line in validated if line["clm"] <= REACHED), None)
    if soon is None:
        return f"{REACHED} nats not reached; {lowest}"
    return f"{REACHED} nats after {soon['seconds']:.0f} s, at step {soon['step']:,}; {lowest}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", action="store_true", help="make the folder, measure nothing")
    parser.add_argument("--packed", type=Path, default=PACKED, help="the folder")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--case", default="", help="of the steps: names, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settings", nargs="*", default=[], help="of the Shakespeare run, over nanoGPT's")
    options, options.more = parser.parse_known_args()
    if options.pack:
        pack(options.packed, cases(options.case))
        return 0
    if not (options.packed / "cache").is_dir():
        raise SystemExit(f"{options.packed} is not there; make it on a machine with ptk's packages: --pack")
    mine = {"PTK_CACHE": options.packed / "cache", "BENCH_DATA": options.packed / "data"}
    environment = os.environ | {name: str(path.resolve()) for name, path in mine.items()}
    parts = {"steps": steps, "squad": squad, "shakespeare": shakespeare}
    # One after the other, whatever becomes of the one before.
    codes = [parts[name](options, environment) for name in options.only.split(",")]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
