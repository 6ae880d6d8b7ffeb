"""The command line: the commands of ``ptk/commands`` put together, and how errors end them."""

import gc
import io
import os
import sys
import threading
import traceback
from typing import Annotated, NoReturn

import typer

from ptk import __version__
from ptk.commands import data, recipes, run, score
from ptk.errors import ProcessLostError, PtkError, StoppedNow

STARTING = 20.0  # seconds

app = typer.Typer(
    name="ptk",
    help="Pretrain, fine-tune and evaluate language models on your own text.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.pretrain)
app.command()(run.finetune)
app.command("eval")(score.evaluate)
app.command()(score.predict)
app.add_typer(data.app, name="data")
app.add_typer(data.tokenizer, name="tokenizer")
app.add_typer(recipes.app, name="recipes")
app.command("launch")(run.launch_script)


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


def main() -> None:
    """Run a command; errors of the user are printed as they are, with their exit code and no traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() == "utf-8":
        sys.stdout.reconfigure(errors="backslashreplace")  # as in files: half of a surrogate pair is no reason to stop
    put_off_garbage()
    try:
        app()
    except PtkError as error:
        stop(error.exit_code, error)
    except KeyboardInterrupt:
        stop(130)
    except StoppedNow as error:
        stop(128 + error.number)
    except BrokenPipeError:
        nobody_reads()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # click took it for an error
            nobody_reads()
        raise
    except Exception:
        traceback.print_exc()
        print("this is a bug in ptk: please report it with the lines above", file=sys.stderr)
        stop(1)


def put_off_garbage() -> None:
    """Look for no garbage in the first ``STARTING`` seconds: imports make objects by the hundred thousand, none of them
    garbage, and looking through them again and again was a quarter of the time to a run's first step.

    Not in one of several processes: there torch aborted, now and then, when Python ended with garbage left.
    """
    if "RANK" in os.environ:
        return
    gc.disable()
    timer = threading.Timer(STARTING, gc.enable)
    timer.daemon = True  # a command that ends before does not wait for it
    timer.start()


def nobody_reads() -> NoReturn:
    """End as if all had been read: whoever reads (``| head``) has what it wanted."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


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
