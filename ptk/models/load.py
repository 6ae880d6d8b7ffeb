"""A model by name: a run directory, a model folder, or a hub id; and the newest one when none is named."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptk.errors import DataError, RecipeError

if TYPE_CHECKING:
    from torch import nn

DEFAULT = "google-bert/bert-base-uncased"


def folder_of(name: str) -> str:
    """The model folder of a run, the folder itself, or the hub id. Raises RecipeError for a run without a model."""
    path = Path(name)
    if (path / "model" / "config.json").exists():
        return str(path / "model")
    if (path / "recipe.yaml").exists():
        raise RecipeError(f"{name}: the run has no model yet; finish it with ptk pretrain ... --run {name} --resume")
    if path.exists() and not (path / "config.json").exists():
        raise RecipeError(f"{name}: neither a run (model/config.json) nor a model folder (config.json)")
    return name


def newest(runs: Path = Path("runs")) -> str | None:
    """The newest finished pretraining run under ``runs/``."""
    finished = [path.parent for path in runs.glob("*/status.json") if is_finished(path)]
    return str(max(finished, key=lambda run: (run / "status.json").stat().st_mtime)) if finished else None


def is_finished(status: Path) -> bool:
    try:
        return json.loads(status.read_text())["status"] == "finished" and (status.parent / "model").is_dir()
    except (OSError, ValueError, KeyError):
        return False


def load(name: str, trust_remote_code: bool = False) -> "nn.Module":
    """The model with the head it was saved with. Raises DataError when it cannot be loaded."""
    import transformers

    where = folder_of(name)
    if Path(where).is_dir() and not trust_remote_code and "auto_map" in (Path(where) / "config.json").read_text():
        raise RecipeError(f"{where}: config.json names code of its own; if you trust it, add --trust-remote-code")
    try:
        config: Any = transformers.AutoConfig.from_pretrained(where, trust_remote_code=trust_remote_code)
        architecture = (config.architectures or ["AutoModel"])[0]
        family = getattr(transformers, architecture, transformers.AutoModel)
        return family.from_pretrained(where, trust_remote_code=trust_remote_code).eval()
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"--model {name}: {reason}; name a run, a model folder or a hub id that is reachable"
        ) from error
