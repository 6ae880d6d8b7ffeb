"""``ptk data show`` and ``ptk data check``: what the model will really see, and what is odd about it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from ptk.data import batches, rows
from ptk.data.plan import Plan
from ptk.data.split import Documents, documents_of, split
from ptk.data.store import Store
from ptk.objectives.objective import Objective
from ptk.progress import Talk, clean
from ptk.recipe import Recipe
from ptk.tasks import store
from ptk.tasks.examples import Questions
from ptk.training import kind_of

STYLES = {
    "first": "",
    "second": "cyan",
    "special": "dim",
    "masked": "bold red",
    "random": "bold magenta",
    "kept": "bold green",
}


def show(recipe: Recipe, count: int) -> None:
    """Print the first ``count`` examples of the first batch, as they are trained on, on stdout."""
    talk = Talk()
    kind = kind_of(recipe)
    recipe, objective, data = kind.prepared(recipe, talk)
    plan = kind.plan_of(recipe, objective, data)
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(objective.legend, style="dim"))
    for text in examples(objective, plan, data.tokenizer, count):
        console.print(text)


def examples(objective: Objective, plan: Plan, tokenizer: Any, count: int) -> Iterator[Text]:
    places = plan.places(0, 0, np.arange(min(count, sum(plan.stages[0].quota))))
    for place in places:
        table = plan.rows(0, place.member, place.epoch)
        example = batches.encode(table, place.row, tokenizer, plan.seed)
        headline, pieces = objective.show(example, tokenizer)
        text = Text(f"\nrow {place.row}: {headline}\n", style="bold")
        for piece, role in pieces:
            text.append(clean(piece) + " ", style=f"not bold {STYLES[role]}")
        yield text


def check(recipe: Recipe) -> dict[str, Any]:
    """Numbers about the text, its split and rows, and a list of warnings (D12)."""
    kind, talk = kind_of(recipe), Talk()
    recipe, objective, data = kind.prepared(recipe, talk)
    plan = kind.plan_of(recipe, objective, data)
    found = check_task(recipe, objective, data) if recipe.task else check_corpus(recipe, plan, data)
    for name, value in found["odd"].items():
        if value:
            talk.warn(f"{name}: {value:,.4f}" if isinstance(value, float) else f"{name}: {value:,}")
    return found


def check_task(recipe: Recipe, objective: Any, data: Any) -> dict[str, Any]:
    """Of every split of a task: examples, labels, and what is cut."""
    found: dict[str, Any] = {"odd": {}}
    for name, examples in data.task.splits.items():
        documents = documents_of(data.stores[name], recipe.evaluate, "all")
        lengths, tokens = documents.lengths(), documents.token_counts()
        labels = examples.labels[examples.has_label]
        found[name] = {"examples": len(examples), "mean length": float(lengths.mean())}
        if examples.names and labels.ndim == 1:
            counts = np.bincount(labels, minlength=len(examples.names)).tolist()
            found[name] |= dict(zip(examples.names, counts, strict=True))
        if isinstance(examples, Questions):
            found[name]["without an answer"] = int((examples.labels[:, 0] == -1).sum())
            share = store.share_inside_tokens(examples, data.stores[name])
            found["odd"][f"{name}: share of answers that begin or end inside a token"] = share
        cut, unknown = objective.cut(documents, data.tokenizer, recipe.train.length), data.tokenizer.unk_id
        found["odd"][f"{name}: examples that {objective.too_long(recipe.train.length)} and are cut"] = cut
        if unknown is not None:
            found["odd"][f"{name}: share of unknown pieces"] = float(tokens[unknown] / max(1, tokens.sum()))
    return found


def check_corpus(recipe: Recipe, plan: Plan, data: Any) -> dict[str, Any]:
    train, held = split(data.store, recipe.evaluate)
    lengths = np.concatenate([plan.rows(0, m, 0).lengths() for m in range(len(plan.stages[0].members))])
    table = rows.rows(plan.stages[0].members[0], 0).table
    found: dict[str, Any] = {
        "corpus": {name: data.store.manifest[name] for name in ("documents", "sentences", "tokens")},
        "held out": {"rule": held.rule, "tokens": int(held.lengths().sum())},
        "rows": {
            "rows": int(sum(plan.stages[0].quota)),
            "mean length": float(lengths.mean()),
            "filled": float(lengths.mean() / lengths.max()),
        },
        "odd": oddities(data.store, data.tokenizer.unk_id, train, held),
    }
    if "label" in table.columns:
        found["rows"]["share with label 1"] = float(table.columns["label"].mean())
    return found


def oddities(store: Store, unk: int | None, train: Documents, held: Documents) -> dict[str, Any]:
    hashes = store.hashes
    counts = train.token_counts()
    repeated = len(hashes) - len(np.unique(hashes))
    shared = np.intersect1d(hashes[train.parent], hashes[held.parent])
    both = np.setdiff1d(shared, hashes[np.intersect1d(train.parent, held.parent)])
    return {
        "documents that repeat another": int(repeated),
        "documents on both sides of the split": len(both),
        "share of unknown pieces": float(counts[unk] / counts.sum()) if unk is not None else 0.0,
    }
