"""A model by name: a run directory, a model folder, or a hub id; and the newest one when none is named."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from logging import LogRecord
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptk.data.sources import not_found
from ptk.errors import DataError, RecipeError

if TYPE_CHECKING:
    from torch import nn

DEFAULT = "google-bert/bert-base-uncased"


def folder_of(name: str) -> str:
    """The model folder of a run, the folder itself, or the hub id.

    Raises RecipeError for a run without a model, and for a path where nothing is.
    """
    path = Path(name)
    if (path / "model" / "config.json").exists():
        return str(path / "model")
    if (path / "recipe.yaml").exists():
        raise RecipeError(f"{name}: the run has no model yet; finish it with ptk pretrain ... --run {name} --resume")
    if path.exists() and not (path / "config.json").exists():
        raise RecipeError(f"{name}: neither a run (model/config.json) nor a model folder (config.json)")
    if not path.exists() and is_path(name):
        raise RecipeError(f"{not_found(name)}; name a run, a model folder or a hub id (owner/name)")
    return name


def is_path(name: str) -> bool:
    """Whether a name can be no id of the hub: ``runs/x`` where ``runs`` is here, ``/a/b``, ``./a``, ``a/b/c``."""
    parts = name.split("/")
    return name.startswith(("/", ".", "~")) or len(parts) > 2 or (len(parts) == 2 and Path(parts[0]).is_dir())


def newest(runs: Path = Path("runs")) -> str | None:
    """The newest finished pretraining run under ``runs/``."""
    finished = [path.parent for path in runs.glob("*/status.json") if is_finished(path)]
    return str(max(finished, key=lambda run: (run / "status.json").stat().st_mtime)) if finished else None


def is_finished(status: Path) -> bool:
    """Is this the status of a finished run of pretraining?"""
    try:
        finished = json.loads(status.read_text())["status"] == "finished" and (status.parent / "model").is_dir()
        return finished and "\ntask:" not in (status.parent / "recipe.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError):
        return False


def config(name: str, trust_remote_code: bool = False) -> Any:
    """The configuration of a model. Raises RecipeError when it wants to run code of its own that is not trusted (S2),
    DataError when it cannot be read."""
    import transformers

    where = folder_of(name)
    local = Path(where) / "config.json"
    if local.exists() and not trust_remote_code and "auto_map" in local.read_text(encoding="utf-8"):
        raise RecipeError(f"{where}: config.json names code of its own; if you trust it, add --trust-remote-code")
    with readable(name):
        return transformers.AutoConfig.from_pretrained(where, trust_remote_code=trust_remote_code)


def load(name: str, trust_remote_code: bool = False) -> "nn.Module":
    """The model with the head it was saved with, ptk's own too (headed.py); ELECTRA's with its generator. Raises what
    ``config`` raises."""
    import transformers
    from transformers.utils import logging

    from ptk.models import electra, headed

    architecture = (config(name, trust_remote_code).architectures or ["AutoModel"])[0]
    family = getattr(transformers, architecture, transformers.AutoModel)
    logging.disable_progress_bar()
    # An untied T5 (1.1) is saved and loaded as it is, whatever its configuration class says: no news.
    logging.get_logger("transformers.modeling_utils").addFilter(not_about_tying)  # type: ignore[arg-type]
    folder = folder_of(name)
    with readable(name):
        if electra.is_whole(folder):
            return electra.load(folder).eval()
        if headed.is_headed(folder):
            with quiet():  # of a backbone without a pooler
                return headed.load(folder, trust_remote_code=trust_remote_code).eval()
        return family.from_pretrained(folder, trust_remote_code=trust_remote_code).eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' table of what was and was not loaded, which is told in a line instead."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def not_about_tying(record: LogRecord) -> bool:
    return "NOT tie them" not in record.getMessage()


def tokenizer(name: str, trust_remote_code: bool = False) -> Any:
    """transformers' tokenizer of a model, for text in and text out."""
    from transformers import AutoTokenizer

    with readable(name):
        return AutoTokenizer.from_pretrained(folder_of(name), trust_remote_code=trust_remote_code)


@contextmanager
def readable(name: str) -> Iterator[None]:
    """What transformers and the hub say of a model that is not there, in one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        here = "" if Path(name).exists() else f"{not_found(name)}, and as a hub id: "
        remedy = "name a run, a model folder or a hub id within reach"
        raise DataError(f"--model {name}: {here}{reason}; {remedy}") from error
