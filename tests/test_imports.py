"""Who may import whom: the picture of the README, walked."""

import ast
from pathlib import Path

import pytest

import ptk

ROOT = Path(ptk.__file__).parent
FORBIDDEN = {
    "corruption": ("ptk",),
    "metrics.py": ("ptk",),
    "optim": ("ptk",),
    "quick": ("ptk",),
    "schedules.py": ("ptk",),
    "recipe.py": ("ptk", "pydantic", "torch", "transformers"),
    "step.py": ("ptk.data", "ptk.run", "ptk.engine", "ptk.training", "ptk.session", "ptk.cli", "ptk.objectives.mlm"),
    "processes": ("ptk.data", "ptk.engine", "ptk.step", "ptk.training", "ptk.session", "ptk.cli", "ptk.objectives"),
    "engine.py": ("ptk.data", "ptk.training", "ptk.session", "ptk.cli", "ptk.evaluation", "ptk.objectives.mlm"),
    "objectives": ("ptk.engine", "ptk.step", "ptk.run", "ptk.cli", "ptk.training", "ptk.session", "ptk.evaluation"),
    "tasks": (
        "torch",
        "ptk.models",
        "ptk.objectives",
        "ptk.engine",
        "ptk.step",
        "ptk.run",
        "ptk.cli",
        "ptk.training",
        "ptk.session",
        "ptk.evaluation",
    ),
    "data": ("ptk.engine", "ptk.step", "ptk.run", "ptk.cli", "ptk.training", "ptk.session", "ptk.evaluation"),
    "models": ("ptk.engine", "ptk.step", "ptk.run", "ptk.cli", "ptk.training", "ptk.session", "ptk.evaluation"),
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("place", FORBIDDEN)
def test_imports_follow_the_picture(place):
    where = ROOT / place
    for path in [where] if where.is_file() else sorted(where.rglob("*.py")):
        inside = f"ptk.{place}." if where.is_dir() else ""
        for name in imported(path):
            own = bool(inside) and (name + ".").startswith(inside)
            hit = [f for f in FORBIDDEN[place] if (name == f or name.startswith(f + ".")) and not own]
            assert not hit, f"{path.name} imports {name}"


def test_nothing_is_unpickled_or_run_from_files():
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for word in ("weights_only=False", "pickle.load", "trust_remote_code=True", "yaml.load("):
            assert word not in text, f"{path.name}: {word}"
