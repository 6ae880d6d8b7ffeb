"""The table of all experiments: printed, and kept in RESULTS.md with date, versions and machine."""

import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

HEAD = """# What `make chaos` and `make soak` found

{setting}

Every trial ends, after `--resume` where the run was stopped, in the model, the log and the scores of an undisturbed
run, bit for bit. Tiny BERT (next sentence), T5 (span corruption) and ELECTRA in turn, with dropout, uneven
micro-batches and three epochs. `chaos.py` beside this file is the program; seconds are summed over trials.

"""


class Row(NamedTuple):
    experiment: str
    what: str
    trials: int
    passed: int
    seconds: int
    date: str = ""
    seed: str = ""


def table(rows: Sequence[Row]) -> str:
    titles = [name for name in Row._fields if any(getattr(row, name) != "" for row in rows)]
    lines = [titles, ["---"] * len(titles), *([str(getattr(row, name)) for name in titles] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(path: Path, rows: Sequence[Row], order: Sequence[str], seed: int) -> None:
    """Put these rows into RESULTS.md; others stay if they were found with the same versions on the same machine."""
    found = {row.experiment: row for row in earlier(path)}
    found |= {row.experiment: row._replace(date=time.strftime("%F"), seed=str(seed)) for row in rows}
    text = HEAD.format(setting=setting()) + table([found[name] for name in order if name in found])
    path.write_text(text + "\n", encoding="utf-8")


def earlier(path: Path) -> list[Row]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if setting() not in text:
        return []
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]
    return [Row(a, what, int(trials), int(passed), int(s), *more) for a, what, trials, passed, s, *more in lines]


def setting() -> str:
    """Versions and machine, in two lines."""
    versions = " · ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "ptk"))
    return f"Python {platform.python_version()} · {versions}  \n{processor()}, {os.cpu_count()} cores"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
