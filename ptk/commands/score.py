"""``ptk eval``, ``ptk predict``: the commands that use a model."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ptk.commands.options import Json, ModelName, Offline, Overrides, Trust, offline, print_results
from ptk.commands.run import ready
from ptk.errors import RecipeError


def evaluate(
    model: Annotated[
        str | None, typer.Argument(metavar="[RUN_OR_MODEL]", help="A run, a model folder or a hub id; also --model.")
    ] = None,
    overrides: Overrides = None,
    named: ModelName = None,
    task: Annotated[str | None, typer.Option("--task", help="Score a fine-tuned model on this task.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Text to score; of a task its folder or file, of --glue that of all.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Of a task: validation, the default, test, or another it has.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", help="Score this prediction file of the task instead of a model.")
    ] = None,
    glue: Annotated[
        bool, typer.Option("--glue", help="Fine-tune on every task of GLUE that is found, and score each.")
    ] = False,
    tasks: Annotated[str | None, typer.Option("--tasks", help="Of GLUE only these: cola,mrpc.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where results.json goes.")] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=0, help="Show so many held-out rows with their answers.")
    ] = None,
    as_json: Json = False,
    no_network: Offline = False,
    trust: Trust = False,
) -> None:
    """Score a model: a pretrained one on held-out text or, fine-tuned, on GLUE; a fine-tuned one on its task."""
    settings = list(overrides or ())
    if model is not None and "=" in model and not Path(model).exists():
        model, settings = None, [model, *settings]
    if model is not None and named is not None:
        raise RecipeError(f"--model {named}: {model} is named already; name one")
    given = {"model": model or named, "data": data, "out": out, "task": task, "split": split, "samples": samples}
    given |= {"predictions": predictions, "tasks": tasks, "trust-remote-code": trust}
    options = {name: value for name, value in given.items() if value not in (None, False)}
    score = check(glue, options, settings)
    offline(no_network)
    score(options, settings, as_json)


def check(glue: bool, options: Mapping[str, Any], settings: Sequence[str]) -> Callable[..., None]:
    """What the options ask for. Raises RecipeError for one that says nothing there."""
    what, score, allowed = "a model alone", of_model, ("model", "data", "out", "split", "samples", "trust-remote-code")
    if glue:
        what, score, allowed = "--glue", of_glue, ("model", "data", "tasks", "out", "trust-remote-code")
    elif "predictions" in options:
        what, score, allowed = "--predictions", of_predictions, ("task", "data", "split", "predictions", "out")
        if "task" not in options:
            raise RecipeError("--predictions: of which task? name it with --task")
    elif "task" in options:
        what, score, allowed = "--task", of_task, ("task", "model", "data", "split", "out", "trust-remote-code")
    if wrong := next((name for name in options if name not in allowed), None):
        named = "the model" if wrong == "model" else f"--{wrong}"
        more = ", or add --glue" if wrong == "tasks" else ""
        raise RecipeError(f"{named} says nothing beside {what}; leave it out{more}")
    if settings and not glue:
        raise RecipeError(f"{settings[0]}: settings are of a recipe to train by; leave it out, or add --glue")
    return score


def of_glue(options: Mapping[str, Any], settings: Sequence[str], as_json: bool) -> None:
    ready()
    from rich.console import Console

    from ptk.evaluation import glue, glue_table

    model, data, tasks, out = (options.get(name) for name in ("model", "data", "tasks", "out"))
    results, error = glue.evaluate(model, data, tasks, out, settings, "trust-remote-code" in options)
    if as_json:
        print_results(results, as_json)
    else:
        glue_table.show(results, Console(highlight=False))
    if error is not None:
        raise error


def of_predictions(options: Mapping[str, Any], _settings: Sequence[str], as_json: bool) -> None:
    from ptk.evaluation import finetuned
    from ptk.recipe import TaskSpec

    spec = TaskSpec(name=options["task"], data=options.get("data"))
    file, split = options["predictions"], options.get("split", "validation")
    print_results(finetuned.score(spec, file, split, options.get("out")), as_json)


def of_task(options: Mapping[str, Any], _settings: Sequence[str], as_json: bool) -> None:
    from ptk.evaluation import finetuned
    from ptk.recipe import TaskSpec

    spec = TaskSpec(name=options["task"], data=options.get("data"))
    where = (options.get("split", "validation"), options.get("out"), "trust-remote-code" in options)
    print_results(finetuned.evaluate(spec, named_or_newest(options, options["task"]), *where), as_json)


def of_model(options: Mapping[str, Any], _settings: Sequence[str], as_json: bool) -> None:
    """A run of either kind is scored on what it held out; of a task, where it was fine-tuned on one."""
    from dataclasses import replace

    from ptk.evaluation import finetuned, glue, pretrained
    from ptk.models import load
    from ptk.prediction import head

    name, data, trust = named_or_newest(options), options.get("data"), "trust-remote-code" in options
    spec = glue.task_of(name)
    if spec is None and head.head_of(load.config(name, trust)) is not None:
        raise RecipeError(f"{name}: it is fine-tuned, but its folder does not say on what; name it with --task")
    only = ("samples",) if spec else ("split",)
    if wrong := next((option for option in only if option in options), None):
        kind = "fine-tuned" if spec else "pretrained"
        raise RecipeError(f"--{wrong} says nothing of a {kind} model ({name}); leave it out")
    if spec is None:
        results = pretrained.evaluate(name, data, options.get("out"), options.get("samples", 0), trust)
    else:
        spec = replace(spec, data=data, train=None, validation=None, test=None) if data else spec
        results = finetuned.evaluate(spec, name, options.get("split", "validation"), options.get("out"), trust)
    print_results(results, as_json)


def named_or_newest(options: Mapping[str, Any], task: str | None = None) -> str:
    """The model; where none is named the newest finished run of the task, or of pretraining, said aloud.

    Raises RecipeError where there is none.
    """
    from ptk.evaluation import finetuned
    from ptk.models import load
    from ptk.progress import Talk

    if "model" in options:
        return options["model"]
    name, of = (load.newest(), "pretraining") if task is None else (finetuned.newest(task), task)
    if name is None:
        raise RecipeError(f"no finished run of {of} under runs/; name a run, a model folder or a hub id with --model")
    Talk().say(f"model: {name}, the newest finished run of {of} (--model)")
    return name


def predict(
    model: ModelName = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="New tokens at most: 64 by default, for spans 16 each.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0, the default, takes the most probable token; 1 samples.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Sample from the k most probable tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="From the most probable that together reach p.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of sampling; 0 by default.")] = None,
    no_network: Offline = False,
    trust: Trust = False,
) -> None:
    """Answer lines of stdin on stdout, in order: continue the text; fill <extra_id_0>, <extra_id_1> ... or [MASK];
    say whether B follows A (A<TAB>B); of a fine-tuned model the label, tags, choice (text<TAB>choice<TAB>choice) or
    answer (question<TAB>context).
    JSON lines: {"text", "pair"}, {"words"}, {"text", "choices"}, {"question", "context"}, or
    {"text": "...", "max_tokens": 40}."""
    offline(no_network)
    from ptk.prediction import lines

    given = {"max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    options = {name: value for name, value in given.items() if value is not None}
    for answer in lines.answers(model, lines.decoded(sys.stdin.buffer), trust, options):
        typer.echo(answer)
