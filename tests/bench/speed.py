"""A step of training by ptk beside transformers' Trainer and Lightning: the same model, weights, tokens and labels.

    make bench                                        # the usual cases of the device, 5 rounds of every peer
    make bench BENCH='--case C1a,C3c --rounds 1'      # some of them
    make bench BENCH='--keep FILE'                    # goes on with what was measured before it was stopped
    make bench BENCH='--losses'                       # equal losses at equal steps, or it exits with 1

Peers: `trainer`, with its documented defaults (fp32); `trainer-best`, with bf16 where the processor multiplies it;
`lightning` in the same precision; for decoders `litgpt`, compiled as its own loop has it and not, and, in fp32,
`simpletransformers`, where they are installed (``speed_litgpt.py`` and a line of the output say how). All have the
logits of every position, and batches that are ready: the collator only stacks them. ptk's step is the one that
`ptk pretrain` makes. On a GPU (on a CPU by --peers) come `ptk-compiled` and `trainer-compiled`: the same with
torch.compile. Batches of like length, as the Trainer's `group_by_length` and ptk's `length_window` make them, are a
case of their own (C1c): with them all are at their best.
AdamW, constant 1e-4, weight decay 0.01, clipping at 1, transformers' default dropout.

Every measurement is a process of its own, the peers in turn. In each, WARM steps come first, then --steps timed ones,
whose median is its figure; a peer's is the median over the rounds. Tokens are those of text, without padding. Memory is
the process's peak (VmHWM), on a GPU that of what torch has allocated there; no checkpoint is written. First step:
seconds from the start of the process to the first step's end, with data that are ready. Share of peak: the operations
a step needs (``speed_flops.step_flops``) a second, of what the larger of the machine's two measured matrix peaks gives,
whatever precision the row is in.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import speed_cases
import speed_peer
import torch
from speed_peer import Trained

from ptk import device, engine, files
from ptk.checkpoint import State

# Peers and their precision.
PEERS = {"ptk": "auto", "trainer": "fp32", "trainer-best": "auto", "lightning": "auto"}
PEERS |= {"litgpt": "auto", "litgpt-compiled": "auto", "simpletransformers": "fp32"}
COMPILED = {"ptk-compiled": "auto", "trainer-compiled": "auto"}
ON_A_GPU = device.kind() == "cuda"
WARM = 10 if ON_A_GPU else 2  # steps that are not timed
TIMED = 30 if ON_A_GPU else 6
COMPARED = 5  # steps of --losses
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}  # of losses, relative
SIDE, PRODUCTS = (16384, 10) if ON_A_GPU else (4096, 1)  # of the matrices whose products are the machine's peak
COLUMNS = ("case", "peer", "s/step", "tokens/s", "ptk is faster by", "share of peak", "peak memory, MB")
COLUMNS += ("of the Trainer's", "first step, s", "last loss")


# One process ----------------------------------------------------------------------------------------------------------


def ptk(case: speed_cases.Case, steps: int, precision: str, dropout: bool, compiled: bool) -> Trained:
    """Steps of ``ptk pretrain``."""
    from ptk.models.electra import Electra
    from ptk.session import objective_of
    from ptk.step import prepare

    recipe, folder = case.recipe(), speed_cases.prepared(case)
    objective = objective_of(recipe).at(case.length, 0.0)
    built = speed_cases.networks(folder, dropout)
    model = built[0] if len(built) == 1 else Electra(built[1], built[0])
    spec, shared = replace(recipe.train, precision=precision, compile=compiled), device.accelerator(precision)
    training = prepare(objective, model, steps, spec, recipe.seed, recipe.fidelity, shared)
    batches, state = speed_cases.load(folder, "ptk"), State()
    training.strategy.module.train()
    ends, parts = [], []
    for step in range(steps):
        parts.append(training.step([batches[step % len(batches)]], state, (0, 0))[0])
        ends.append(speed_peer.now())
    return Trained(ends, [engine.report(objective, engine.reduced(part, shared))["loss"] for part in parts])


def trained(peer: str, case: speed_cases.Case, steps: int, precision: str, dropout: bool, compiled: bool) -> Trained:
    """``precision``: fp32 or bf16. Without ``dropout`` nothing is left to chance, ELECTRA's samples neither."""
    if peer == "ptk":
        return ptk(case, steps, precision, dropout, compiled)
    folder = speed_cases.prepared(case)
    if peer == "litgpt":
        return speed_peer.litgpt(folder, steps, precision, compiled)
    made = speed_peer.model(speed_cases.networks(folder, dropout), by_uniform=not dropout)
    batches = speed_cases.load(folder, "peer")
    if peer == "simpletransformers":
        return speed_peer.simpletransformers(made, batches, steps)
    if peer == "lightning":
        return speed_peer.lightning(made, batches, steps, precision)
    return speed_peer.trainer(made, batches, steps, precision, compiled)


def once(options: argparse.Namespace) -> dict[str, Any]:
    """What one process prints: the figures of one peer in one case."""
    steps, case = COMPARED if options.losses else WARM + options.steps, speed_cases.CASES[options.case]
    precision = device.precision(options.precision or (PEERS | COMPILED)[options.one], device.kind())
    peer, compiled = options.one.removesuffix("-compiled"), options.one in COMPILED
    done = trained(peer, case, steps, precision, not options.losses, compiled)
    if options.losses:
        return {"losses": done.losses}
    facts = files.read_json(speed_cases.prepared(case) / "facts.json")
    numbers = range(WARM, steps)
    seconds = statistics.median(done.ends[step] - done.ends[step - 1] for step in numbers)
    tokens = statistics.mean(facts["tokens"][step % speed_cases.STORED] for step in numbers)
    return {
        "seconds": seconds,
        "tokens": tokens / seconds,
        "flops": facts["flops"] / seconds,
        "memory": done.memory or peak_memory(),
        "first": done.ends[0] - (done.began or options.began),
        "losses": done.losses,
    }


def peak_memory() -> float:
    """MB that this process has had at once, of those that Linux tells, or on the GPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def matrix_peak() -> dict[str, float]:
    """Operations a second of a product of two large matrices, the best of three after one that warms up."""
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        if name == "bf16" and device.precision("auto", device.kind()) != "bf16":
            continue
        matrix = torch.randn(SIDE, SIDE, device=device.kind()).to(dtype)
        times = []
        for _ in range(4):
            began = speed_peer.now()
            for _product in range(PRODUCTS):
                torch.mm(matrix, matrix)
            times.append(speed_peer.now() - began)
        found[name] = 2 * SIDE**3 * PRODUCTS / min(times[1:])
    return found


def in_its_own_process(one: str, options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Run this file again for one measurement; returns what it prints last. Raises Failed."""
    words = [f"--{name}={value}" for name, value in more.items()]
    words += ["--losses"] * options.losses
    command = [sys.executable, __file__, "--one", one, "--began", str(time.monotonic()), *words]
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet)
    if done.returncode:
        told(f"{one} {more}:\n{done.stderr[-2000:]}")
        raise Failed(f"exit code {done.returncode}: {(done.stderr.strip() or 'nothing said').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


class Failed(Exception):
    """A peer ended without figures."""


def told(text: str) -> None:
    print(f"# {text}", file=sys.stderr, flush=True)


# All of them ----------------------------------------------------------------------------------------------------------


def compare_speed(names: list[str], options: argparse.Namespace, write: Callable[[str], None]) -> bool:
    """The table of all cases. Has every peer ended with figures?"""
    whole = True
    peaks = in_its_own_process("peak", options)
    write(f"Matrix peak: {', '.join(f'{name} {peak / 1e9:.0f} GF/s' for name, peak in peaks.items())}.")
    for peer, reason in speed_peer.LACKING.items():
        if peer in options.peers and not speed_peer.is_there(peer):
            write(f"{peer}: {reason}")
    write(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in names:
        told(f"{name}: preparing")
        speed_cases.prepared(speed_cases.CASES[name])
        peers = [peer for peer in options.peers if speed_peer.can_run(peer, speed_cases.CASES[name])]
        found, failed = kept(options.keep, name, peers), {}
        for number in range(options.rounds):
            for peer, runs in found.items():
                if peer in failed or len(runs) > number:
                    continue
                try:
                    runs.append(in_its_own_process(peer, options, case=name, steps=options.steps))
                except Failed as reason:
                    failed[peer] = f"{name} {peer} failed: {reason}"
                    continue
                keep(options.keep, name, peer, runs[-1])
                told(f"{name} round {number + 1} {peer}: {shortened(runs[-1])}")
        write(rows(name, {peer: runs for peer, runs in found.items() if runs}, max(peaks.values())))
        for line in failed.values():
            write(line)
        whole = whole and not failed
    return whole


def kept(path: Path | None, case: str, peers: list[str]) -> dict[str, list[dict[str, Any]]]:
    """What was measured of a case before, by peer."""
    lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
    before = [json.loads(line) for line in lines]
    return {peer: [each["run"] for each in before if (each["case"], each["peer"]) == (case, peer)] for peer in peers}


def keep(path: Path | None, case: str, peer: str, run: dict[str, Any]) -> None:
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"case": case, "peer": peer, "run": run}) + "\n")


def shortened(run: dict[str, Any]) -> str:
    losses = " ".join(f"{loss:.4f}" for loss in run["losses"])
    return f"{run['seconds']:.3f} s, {run['memory']:.0f} MB, first after {run['first']:.1f} s; losses {losses}"


def rows(name: str, found: dict[str, list[dict[str, Any]]], peak: float) -> str:
    """The case's lines of the table, one for each peer."""
    middle = {
        peer: {what: statistics.median(run[what] for run in runs) for what in runs[0] if what != "losses"}
        for peer, runs in found.items()
    }
    about = f"{name} {speed_cases.CASES[name].about}, V {speed_cases.CASES[name].vocabulary:,}"
    lines = []
    for peer, has in middle.items():
        alike = "ptk-compiled" if peer.endswith("-compiled") and "ptk-compiled" in middle else "ptk"
        ratio = f"{has['seconds'] / middle[alike]['seconds']:.2f}" if alike in middle else ""
        memory = f"{has['memory'] / middle['trainer']['memory']:.0%}" if "trainer" in middle else ""
        cells = [about, peer, f"{has['seconds']:.3f}", f"{has['tokens']:,.0f}", ratio, f"{has['flops'] / peak:.0%}"]
        cells += [f"{has['memory']:,.0f}", memory, f"{has['first']:.1f}", f"{found[peer][0]['losses'][-1]:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compare_losses(names: list[str], options: argparse.Namespace, write: Callable[[str], None]) -> bool:
    """COMPARED steps without dropout, side by side. Do all agree?"""
    equal = True
    write("| case | precision | ptk | Trainer | largest difference | allowed |\n|---|---|---|---|---|---|")
    for name in names:
        told(f"{name}: preparing")
        speed_cases.prepared(speed_cases.CASES[name])
        for precision, allowed in TOLERANCE.items():
            how = {"case": name, "precision": precision}
            ours, theirs = (in_its_own_process(peer, options, **how)["losses"] for peer in ("ptk", "trainer"))
            off = difference(ours, theirs)
            equal = equal and off <= allowed
            sides = (" ".join(f"{loss:.4f}" for loss in losses) for losses in (ours, theirs))
            write(f"| {name} | {precision} | {' | '.join(sides)} | {off:.1e} | {allowed:.0e} |")
    return equal


def difference(ours: list[float], theirs: list[float]) -> float:
    """The largest relative one; infinite where one has a loss that is no number."""
    off = [abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True)]
    return max(one if one == one else float("inf") for one in off)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="all", help="names, with commas between")
    usual = [*PEERS, *COMPILED] if ON_A_GPU else PEERS
    parser.add_argument("--peers", default=",".join(usual), help="some of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=TIMED, help="that are timed in each process")
    parser.add_argument("--losses", action="store_true", help="compare losses instead, without dropout")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the table goes there too")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="each measurement is added to it; those there count")
    parser.add_argument("--precision", choices=TOLERANCE, help=argparse.SUPPRESS)
    parser.add_argument("--one", choices=(*PEERS, *COMPILED, "peak"), help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, default=time.monotonic(), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(matrix_peak() if options.one == "peak" else once(options)))
        return 0
    options.peers = options.peers.split(",")
    lines: list[str] = []

    def write(text: str) -> None:
        lines.append(text)
        print(text, flush=True)
        if options.write:
            options.write.write_text("\n".join(lines) + "\n", encoding="utf-8")

    compare = compare_losses if options.losses else compare_speed
    return 0 if compare(speed_cases.named(options.case), options, write) else 1


if __name__ == "__main__":
    sys.exit(main())
