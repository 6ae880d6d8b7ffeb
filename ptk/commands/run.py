"""``ptk pretrain``, ``ptk finetune``, ``ptk launch``: the commands that make a run, or have one made."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptk.commands.options import (
    Json,
    MaxRestarts,
    ModelName,
    Offline,
    Overrides,
    Overwrite,
    Processes,
    RecipeName,
    Resume,
    RunFolder,
    offline,
    print_results,
)
from ptk.errors import RecipeError

if TYPE_CHECKING:
    from ptk.recipe import Recipe

LAUNCHERS = ("--processes", "--max-restarts")  # options that the processes of a launcher do not get


def pretrain(
    recipe: RecipeName,
    overrides: Overrides = None,
    run: RunFolder = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    processes: Processes = None,
    max_restarts: MaxRestarts = 0,
    as_json: Json = False,
    no_network: Offline = False,
) -> None:
    """Pretrain: corpus, tokenizer, store, training, model."""
    offline(no_network)
    from ptk import recipe_file

    ready()
    loaded = recipe_file.load(recipe, overrides or ()).recipe
    if loaded.task is not None:
        raise RecipeError(f"{recipe}: a recipe for a task; run it with ptk finetune {recipe}")

    def train(*settings: Any) -> dict[str, Any]:
        from ptk.pretraining import pretrain

        return pretrain(*settings)

    carry_out(loaded, train, run, resume, overwrite, processes, max_restarts, as_json)


def finetune(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="A recipe file, or the name of a bundled one.")
    ] = None,
    overrides: Overrides = None,
    task: Annotated[str | None, typer.Option("--task", help="The task by name; `--task list` prints them.")] = None,
    model: ModelName = None,
    data: Annotated[str | None, typer.Option("--data", help="The task's folder, or a file of your own.")] = None,
    run: RunFolder = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    processes: Processes = None,
    max_restarts: MaxRestarts = 0,
    as_json: Json = False,
    no_network: Offline = False,
) -> None:
    """Fine-tune a model on a task: GLUE, tagging, multiple choice, or labelled files of your own."""
    offline(no_network)
    from ptk import recipe_task, tasks

    if task == "list":
        for line in tasks.listed():
            typer.echo(line)
        return
    ready()
    settings = list(overrides or ())
    if recipe is not None and "=" in recipe and not Path(recipe).is_file():
        recipe, settings = None, [recipe, *settings]
    loaded = recipe_task.recipe_for(recipe, settings, task, model, data)

    def train(*settings: Any) -> dict[str, Any]:
        from ptk.finetuning import finetune

        return finetune(*settings)

    carry_out(loaded, train, run, resume, overwrite, processes, max_restarts, as_json)


def ready() -> None:
    """Join the processes of a launcher, if there is one; a signal to save now finds nothing to save yet."""
    from ptk.processes import launch

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    launch.join()


def carry_out(
    recipe: "Recipe",
    train: Callable[..., dict[str, Any]],
    run: Path | None,
    resume: bool,
    overwrite: bool,
    processes: int | None,
    max_restarts: int,
    as_json: bool,
) -> None:
    """Run a recipe in this process, or start as many as are wanted, which come here again."""
    from ptk import device
    from ptk import run as runs
    from ptk.processes import launch

    if resume and overwrite:
        raise RecipeError("--resume and --overwrite: choose one")
    if launch.restarted():  # torchrun gives the first command again
        resume, overwrite = True, False
    folder = run or Path("runs") / recipe.name
    wanted = processes or device.visible()
    if (wanted > 1 or max_restarts) and not launch.joined():
        runs.check(folder, resume, overwrite)
        raise typer.Exit(launch.launch(wanted, without(sys.argv[1:], *LAUNCHERS), folder, max_restarts))
    results = train(recipe, folder, resume, overwrite)
    if device.is_main():
        print_results(results, as_json)


def launch_script(
    recipe: RecipeName,
    overrides: Overrides = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="Print a job script for Slurm.")] = False,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="GPUs of each machine, a process for each.")] = 8,
    hours: Annotated[float, typer.Option("--hours", min=0.1, help="Of one job; the next one goes on.")] = 24.0,
    run: RunFolder = None,
) -> None:
    """Print a job script that trains on a cluster, job after job until the run is finished."""
    from ptk import recipe_file

    loaded = recipe_file.load(recipe, overrides or ()).recipe
    if not slurm:
        raise RecipeError(
            "ptk launch prints job scripts: add --slurm; on one machine use ptk pretrain with --processes N, and "
            "elsewhere torchrun --nnodes ... -m -- ptk pretrain ..."
        )
    from ptk.processes import slurm as scripts
    from ptk.session import check_division

    check_division(loaded, nodes * gpus)
    folder = run or Path("runs") / loaded.name
    command = "pretrain" if loaded.task is None else "finetune"
    typer.echo(scripts.script(recipe, overrides or (), loaded.name, folder, nodes, gpus, hours, command), nl=False)


def without(command: list[str], *options: str) -> list[str]:
    """The command line that each process gets: ``options``, each with a value, are the launcher's alone."""
    kept, skip = [], False
    for word in command:
        if skip or word in options:
            skip = not skip
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            kept.append(word)
    return kept
