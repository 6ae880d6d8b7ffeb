"""What the commands share: their options, and how results are printed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a bundled one.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Settings in place of the recipe's."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Offline = Annotated[bool, typer.Option("--offline", help="Make no network call at all.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with a model.")]
ModelName = Annotated[str | None, typer.Option("--model", help="A run, a model folder or a hub id.")]
RunFolder = Annotated[Path | None, typer.Option("--run", help="The run directory; runs/<name> by default.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in that directory.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start again, deleting that run.")]
Processes = Annotated[int | None, typer.Option("--processes", min=1, help="All accelerators, else 1.")]
MaxRestarts = Annotated[
    int, typer.Option("--max-restarts", min=0, help="How often to go on by itself after a process was lost.")
]


def offline(wanted: bool) -> None:
    """No network: said to every library that would use it, before it is imported."""
    if wanted:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
            os.environ[name] = "1"


PREFIXES = {"metrics": "", "odd": "", "baselines": "baseline "}
"""What stands before the numbers of a part of the results; of others its name, ``train, examples``."""


def print_results(results: Mapping[str, Any], as_json: bool) -> None:
    """JSON, or a line a number, those of further splits that are scored after those of the first; on stdout."""
    if as_json:
        typer.echo(json.dumps(results, indent=1, ensure_ascii=False))
        return
    for name, value in results.items():
        if isinstance(value, Mapping):
            prefix = PREFIXES.get(name, f"{name}, ")
            for part, number in value.items():
                typer.echo(f"{prefix + part:<24} {shown(number)}")
        elif value is not None and not isinstance(value, list):
            typer.echo(f"{name:<24} {shown(value)}")
    for other in results.get("others", ()):
        if "score" in other:
            print_results(other, as_json)


def shown(value: Any) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
