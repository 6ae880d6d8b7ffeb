"""The commands: load a recipe, call one function, print. What is slow to import is imported inside them."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ptk import __version__
from ptk.errors import ProcessLostError, PtkError, RecipeError

LAUNCHERS = ("--processes", "--max-restarts")  # options that the processes of a launcher do not get

app = typer.Typer(
    name="ptk",
    help="Pretrain, fine-tune and evaluate language models on your own text.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes = typer.Typer(help="List, show and copy recipes; print their schema.", no_args_is_help=True)
data = typer.Typer(help="Build, show and check the data of a recipe.", no_args_is_help=True)
tokenizer = typer.Typer(help="Train a tokenizer.", no_args_is_help=True)
app.add_typer(recipes, name="recipes")
app.add_typer(data, name="data")
app.add_typer(tokenizer, name="tokenizer")

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a bundled one.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Settings in place of the recipe's."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Offline = Annotated[bool, typer.Option("--offline", help="Make no network call at all.")]
Trust = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with a model.")]
ModelName = Annotated[str | None, typer.Option("--model", help="A run, a model folder or a hub id.")]
DataPath = Annotated[str | None, typer.Option("--data", help="Text to score: a file, folder or glob.")]


def version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ptk {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


@app.command()
def pretrain(
    recipe: RecipeName,
    overrides: Overrides = None,
    run: Annotated[Path | None, typer.Option("--run", help="The run directory; runs/<name> by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in that directory.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again, deleting that run.")] = False,
    processes: Annotated[int | None, typer.Option("--processes", min=1, help="All accelerators, else 1.")] = None,
    max_restarts: Annotated[
        int, typer.Option("--max-restarts", min=0, help="How often to go on by itself after a process was lost.")
    ] = 0,
    as_json: Json = False,
    no_network: Offline = False,
) -> None:
    """Pretrain: corpus, tokenizer, store, training, model."""
    offline(no_network)
    from ptk import recipe_file
    from ptk.processes import launch

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # there is nothing to save yet
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    launch.join()
    if resume and overwrite:
        raise RecipeError("--resume and --overwrite: choose one")
    if launch.restarted():  # torchrun gives the first command again
        resume, overwrite = True, False
    loaded = recipe_file.load(recipe, overrides or ()).recipe
    folder = run or Path("runs") / loaded.name
    from ptk import device
    from ptk import run as runs

    wanted = processes or device.visible()
    if (wanted > 1 or max_restarts) and not launch.joined():
        runs.check(folder, resume, overwrite)
        raise typer.Exit(launch.launch(wanted, without(sys.argv[1:], *LAUNCHERS), folder, max_restarts))
    from ptk.training import pretrain as train

    results = train(loaded, folder, resume, overwrite)
    if device.is_main():
        print_results(results, as_json)


@app.command("launch")
def launch_script(
    recipe: RecipeName,
    overrides: Overrides = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="Print a job script for Slurm.")] = False,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines.")] = 1,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="GPUs of each machine, a process for each.")] = 8,
    hours: Annotated[float, typer.Option("--hours", min=0.1, help="Of one job; the next one goes on.")] = 24.0,
    run: Annotated[Path | None, typer.Option("--run", help="The run directory; runs/<name> by default.")] = None,
) -> None:
    """Print a job script that pretrains on a cluster, job after job until the run is finished."""
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
    typer.echo(scripts.script(recipe, overrides or (), loaded.name, folder, nodes, gpus, hours), nl=False)


@app.command("eval")
def evaluate(
    model: Annotated[
        str | None, typer.Argument(metavar="[RUN_OR_MODEL]", help="A run, a model folder or a hub id.")
    ] = None,
    data_path: DataPath = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where results.json goes.")] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=0, help="Show so many held-out rows with their answers.")
    ] = 0,
    as_json: Json = False,
    no_network: Offline = False,
    trust: Trust = False,
) -> None:
    """Score a pretrained model on held-out text: losses, accuracies, perplexity, bits per byte."""
    offline(no_network)
    from ptk.evaluation import pretrained

    print_results(pretrained.evaluate(model, data_path, out, samples, trust), as_json)


@app.command()
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
    say whether B follows A (A<TAB>B). A JSON line {"text": "...", "max_tokens": 40} has settings of its own."""
    offline(no_network)
    from ptk.prediction import lines

    given = {"max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    options = {name: value for name, value in given.items() if value is not None}
    for answer in lines.answers(model, lines.decoded(sys.stdin.buffer), trust, options):
        typer.echo(answer)


@recipes.command("list")
def list_recipes() -> None:
    """The bundled recipes, with the first line of each."""
    from ptk import recipe_file

    for name, path in recipe_file.bundled().items():
        first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        typer.echo(f"{name:<24} {first}")


@recipes.command()
def show(recipe: RecipeName, overrides: Overrides = None) -> None:
    """The resolved recipe, with where each value comes from."""
    from ptk import recipe_file

    typer.echo(recipe_file.show(recipe_file.load(recipe, overrides or ())))


@recipes.command()
def copy(recipe: RecipeName, to: Annotated[Path, typer.Argument(help="A new file.")]) -> None:
    """Copy a bundled recipe, to change it."""
    from ptk import files, recipe_file

    if to.exists():
        raise RecipeError(f"{to}: exists already; choose another name")
    files.write_text(to, recipe_file.find(recipe).read_text(encoding="utf-8"))
    typer.echo(str(to))


@recipes.command()
def schema() -> None:
    """The JSON Schema of recipes, for editors."""
    from ptk import recipe_file

    typer.echo(json.dumps(recipe_file.schema(), indent=1, ensure_ascii=False))


@data.command()
def build(recipe: RecipeName, overrides: Overrides = None, no_network: Offline = False) -> None:
    """Build the tokenizer and the store of a recipe."""
    offline(no_network)
    from ptk import recipe_file
    from ptk.data import prepare
    from ptk.progress import Talk

    loaded = recipe_file.load(recipe, overrides or ()).recipe
    typer.echo(str(prepare.prepare(loaded.corpus, loaded.tokenizer, Talk()).store.folder))


@data.command("show")
def show_data(
    recipe: RecipeName,
    overrides: Overrides = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many.")] = 5,
    no_network: Offline = False,
) -> None:
    """Show real training examples: pairs, masks and labels, in colour on a terminal."""
    offline(no_network)
    from ptk import inspection, recipe_file

    inspection.show(recipe_file.load(recipe, overrides or ()).recipe, rows)


@data.command()
def check(recipe: RecipeName, overrides: Overrides = None, as_json: Json = False, no_network: Offline = False) -> None:
    """Check the data of a recipe, and say what is odd about it."""
    offline(no_network)
    from ptk import inspection, recipe_file

    print_results(inspection.check(recipe_file.load(recipe, overrides or ()).recipe), as_json)


@tokenizer.command("train")
def train_tokenizer(
    corpus: Annotated[str, typer.Argument(help="A file, folder, glob, hub dataset or python-docs.")],
    out: Annotated[Path, typer.Option("--out", help="A new folder.")],
    kind: Annotated[str, typer.Option("--kind", help="wordpiece, bpe, unigram or char.")] = "wordpiece",
    vocab_size: Annotated[int, typer.Option("--vocab-size", min=1)] = 8192,
    lowercase: Annotated[bool, typer.Option("--lowercase/--cased")] = False,
    no_network: Offline = False,
) -> None:
    """Train a tokenizer that AutoTokenizer loads."""
    offline(no_network)
    from ptk.data import corpus as corpora
    from ptk.data import prepare
    from ptk.progress import Talk
    from ptk.recipe import CorpusSource, TokenizerSpec

    kinds = ("wordpiece", "bpe", "unigram", "char")
    if kind not in kinds:
        raise RecipeError(f"--kind {kind}: not one of {', '.join(kinds)}")
    if out.exists() and any(out.iterdir()):
        raise RecipeError(f"--out {out}: is not empty; choose a new folder")
    spec = TokenizerSpec(kind=kind, vocab_size=vocab_size, lowercase=lowercase)  # type: ignore[arg-type]
    prepare.train(spec, corpora.open_corpus((CorpusSource(path=corpus),)), Talk()).save(out)
    typer.echo(str(out))


def offline(wanted: bool) -> None:
    """No network: said to every library that would use it, before it is imported."""
    if wanted:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
            os.environ[name] = "1"


def without(command: list[str], *options: str) -> list[str]:
    """The command line that each process gets: ``options``, each with a value, are the launcher's alone."""
    kept, skip = [], False
    for word in command:
        if skip or word in options:
            skip = not skip
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            kept.append(word)
    return kept


def print_results(results: Mapping[str, Any], as_json: bool) -> None:
    """JSON, or a line a number; on stdout."""
    if as_json:
        typer.echo(json.dumps(results, indent=1, ensure_ascii=False))
        return
    for name, value in results.items():
        if isinstance(value, Mapping):
            for part, number in value.items():
                typer.echo(f"{part:<24} {shown(number)}")
        elif not isinstance(value, list):
            typer.echo(f"{name:<24} {shown(value)}")


def shown(value: Any) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def main() -> None:
    """Run a command; errors of the user are printed as they are, with their exit code and no traceback."""
    try:
        app()
    except PtkError as error:
        stop(error.exit_code, error)
    except KeyboardInterrupt:
        stop(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception:
        traceback.print_exc()
        print("this is a bug in ptk: please report it with the lines above", file=sys.stderr)
        stop(1)


def said(error: PtkError) -> str:
    """The message, without what a path or a corpus could do to a terminal."""
    from ptk.progress import clean

    text = clean(str(error))
    return text if "\n" in text else f"error: {text}"


def stop(code: int, error: PtkError | None = None) -> NoReturn:
    """End with ``code``. Of several processes with one error the first says it; a lost one is the launcher's to say."""
    from ptk.processes import launch

    first = launch.leave_code(code)
    if launch.launched() and isinstance(error, ProcessLostError):
        launch.leave_reason(str(error))
    elif error and first:
        print(said(error), file=sys.stderr)
    sys.exit(code)
