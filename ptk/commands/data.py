"""``ptk data``, ``ptk tokenizer``: what a recipe reads, without training."""

from pathlib import Path
from typing import Annotated

import typer

from ptk.commands.options import Json, Offline, Overrides, RecipeName, offline, print_results
from ptk.errors import RecipeError

app = typer.Typer(help="Build, show and check the data of a recipe.", no_args_is_help=True)
tokenizer = typer.Typer(help="Train a tokenizer.", no_args_is_help=True)


@app.command()
def build(recipe: RecipeName, overrides: Overrides = None, no_network: Offline = False) -> None:
    """Build the tokenizer and the store of a recipe; of a task a store for each split."""
    offline(no_network)
    from ptk import recipe_file
    from ptk.progress import Talk
    from ptk.training import kind_of

    loaded = recipe_file.load(recipe, overrides or ()).recipe
    _, _, ready = kind_of(loaded).prepared(loaded, Talk())
    for folder in ready.folders:
        typer.echo(str(folder))


@app.command("show")
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


@app.command()
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
