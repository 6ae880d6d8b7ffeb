"""``ptk recipes``: list, show and copy recipes; print their schema."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ptk.commands.options import Overrides, RecipeName
from ptk.errors import RecipeError

app = typer.Typer(help="List, show and copy recipes; print their schema.", no_args_is_help=True)


@app.command("list")
def list_recipes() -> None:
    """The bundled recipes, with the first line of each."""
    from ptk import recipe_file

    for name, path in recipe_file.bundled().items():
        first = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        typer.echo(f"{name:<24} {first}")


@app.command()
def show(recipe: RecipeName, overrides: Overrides = None) -> None:
    """The resolved recipe, with where each value comes from."""
    from ptk import recipe_file

    typer.echo(recipe_file.show(recipe_file.load(recipe, overrides or ())))


@app.command()
def copy(recipe: RecipeName, to: Annotated[Path, typer.Argument(help="A new file.")]) -> None:
    """Copy a bundled recipe, to change it."""
    from ptk import files, recipe_file

    if to.exists():
        raise RecipeError(f"{to}: exists already; choose another name")
    files.write_text(to, recipe_file.find(recipe).read_text(encoding="utf-8"))
    typer.echo(str(to))


@app.command()
def schema() -> None:
    """The JSON Schema of recipes, for editors."""
    from ptk import recipe_file

    typer.echo(json.dumps(recipe_file.schema(), indent=1, ensure_ascii=False))
