"""``ptk eval --glue``: a pretrained model fine-tuned on every task of GLUE that is found, with the published setting
and one seed; a fine-tuned model scored on its own task. It leaves

runs/glue-<model>/<task>/   each task's run; one that is finished is reused, one that is not goes on
runs/glue-<model>/          results.json of all, predictions/ in the leaderboard's names, glue.zip of these
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ptk import files, recipe_file, recipe_task
from ptk.errors import CheckpointError, DataError, DivergedError, OutOfMemoryError, PtkError, RecipeError
from ptk.evaluation import finetuned, glue_runs, glue_table
from ptk.evaluation.glue_runs import Planned
from ptk.models import load
from ptk.prediction import head
from ptk.processes import launch
from ptk.progress import Talk
from ptk.recipe import Recipe, TaskSpec
from ptk.tasks import predictions
from ptk.tasks.files import finding, hub
from ptk.tasks.glue import TASKS
from ptk.tasks.task import Task

HUB = "the hub"
OF_ONE_TASK = (DataError, DivergedError, OutOfMemoryError, CheckpointError)  # other tasks go on after these
NO_MNLI = "the model of mnli answers it, and there is none"
STATES = {"new": "begins", "begun": "goes on", "finished": "finished with the same recipe before, reused"}
WNLI = (
    "as of nearly every model: its validation examples are training sentences with the other answer, and what is "
    "learned from one is wrong for the other. As in published submissions the zip answers with the majority; what the "
    "model said is in"
)


@dataclass
class Outcome:
    """What became of the tasks, each in one of three."""

    scored: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Its results.json."""
    absent: dict[str, str] = field(default_factory=dict)
    """Why it was not tried."""
    failed: dict[str, PtkError] = field(default_factory=dict)

    @contextmanager
    def of(self, task: str, talk: Talk) -> Iterator[None]:
        """An error of this task alone is kept, and said; the others go on."""
        try:
            yield
        except OF_ONE_TASK as error:
            self.failed[task] = error
            talk.warn(f"{task}: {error}; the other tasks go on")


def evaluate(
    model: str | None,
    data: str | None = None,
    names: str | None = None,
    out: Path | None = None,
    settings: Sequence[str] = (),
    trust_remote_code: bool = False,
) -> tuple[dict[str, Any], PtkError | None]:
    """Score a model on GLUE. Returns results.json, and the error of the first task that failed.

    ``names``: tasks, with commas between; all of them by default. ``settings``: of each task's recipe.
    Raises RecipeError for what the user has to say otherwise, and DataError when no task is found.
    """
    talk = Talk()
    check(settings, data)
    tasks = wanted(names)
    name = model or recipe_task.start(None, ())
    root = out or default_out(name)
    if head.head_of(load.config(name, trust_remote_code)) is None:
        outcome = fine_tuned(tasks, name, data, root, settings, talk)
    elif settings:
        raise RecipeError(f"{settings[0]}: --model {name} is fine-tuned already; settings are of a recipe to train by")
    else:
        outcome = as_it_is(own_tasks(tasks, name, names), name, data, root, trust_remote_code, talk)
    return summary(tasks, outcome, name, root, talk), next(iter(outcome.failed.values()), None)


def check(settings: Sequence[str], data: str | None) -> None:
    """Raises RecipeError for what options say here, DataError for a folder that is not there."""
    for word, option in (("init", "--model"), ("task.name", "--tasks"), ("task.data", "--data")):
        if said := next((setting for setting in settings if setting.startswith(f"{word}=")), None):
            raise RecipeError(f"{said}: with --glue that is said by {option}")
    if data is not None and not Path(data).expanduser().is_dir():
        raise DataError(f"--data {data}: no such folder; give the one that has CoLA/, MRPC/ and their like in it")
    if (processes := launch.processes()) > 1:
        raise RecipeError(f"--glue: started as {processes} processes; it runs in one, start it without a launcher")


def wanted(names: str | None) -> tuple[Task, ...]:
    """The tasks that ``--tasks`` names, in the order of the paper. Raises RecipeError for an unknown one."""
    if names is None:
        return TASKS
    asked = [name.strip().lower() for name in names.split(",") if name.strip()]
    known = [task.name for task in TASKS]
    for name in asked:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise RecipeError(f"--tasks {name}: no task of GLUE{hint}; they are {', '.join(known)}")
    if not asked:
        raise RecipeError(f"--tasks {names!r}: names no task; they are {', '.join(known)}")
    return tuple(task for task in TASKS if task.name in asked)


def default_out(name: str) -> Path:
    """``runs/glue-bert-mlm-nsp`` of ``runs/bert-mlm-nsp``."""
    slug = re.sub("[^A-Za-z0-9_.-]+", "-", name.strip("/").removeprefix("runs/")).strip("-.")
    return Path("runs") / f"glue-{slug}"


# Where the tasks are ---------------------------------------------------------------------------------------


def seek(
    tasks: Sequence[Task], data: str | None, needed: tuple[str, ...], absent: dict[str, str], talk: Talk
) -> dict[str, str]:
    """Task -> where its files are, ``absent`` -> why not; both are said. Raises DataError when none is found.

    ``needed``: splits without which a task is not taken.
    """
    places: dict[str, str] = {}
    for task in tasks:
        try:
            places[task.name] = place(task, data, ("test",) if task.name == "ax" else needed)
            talk.say(f"{task.name}: {places[task.name]}")
        except DataError as error:
            absent[task.name] = str(error)
            talk.say(f"{task.name}: left out: {error}")
    if not places:
        asked = ", ".join(task.name for task in tasks)
        raise DataError(f"none of {asked} is found; give the folder of CoLA/, MRPC/ and their like with --data")
    return places


def place(task: Task, data: str | None, needed: tuple[str, ...]) -> str:
    """The folder of a task's files, or the hub. Raises DataError, which says why it cannot be taken."""
    if data is not None:
        found, where = finding.files_in(task, Path(data).expanduser()), data
    else:
        found, where = finding.find(task, TaskSpec(name=task.name)).files, "the usual places"
        if not found and (not hub.offline() or (task.hub and hub.cache(task.hub).is_dir())):
            return HUB
    folder = next((file.parent for file in found.values() if is_of(task, file.parent)), None)
    if folder is None:  # a train.tsv beside no other task's folder is nobody's
        raise DataError(f"no {task.folders[0]}/ in {where}")
    if missing := [task.files[split][0] for split in needed if split not in found]:
        raise DataError(f"no {' and no '.join(missing)} in {folder}")
    return str(folder)


def is_of(task: Task, folder: Path) -> bool:
    """Is a folder called as the task is? Every task's file is a train.tsv."""
    called = {name.casefold() for name in task.folders}
    return not called.isdisjoint({folder.name.casefold(), folder.resolve().name.casefold()})


# A pretrained model ----------------------------------------------------------------------------------------


def fine_tuned(
    tasks: Sequence[Task], name: str, data: str | None, root: Path, settings: Sequence[str], talk: Talk
) -> Outcome:
    """A run for each task that is found; AX is answered by the one of MNLI."""
    outcome = Outcome()
    places = seek(tasks, data, ("train", "validation"), outcome.absent, talk)
    if "ax" in places and "mnli" not in places:
        del places["ax"]
        outcome.absent["ax"] = NO_MNLI
        talk.say(f"ax: left out: {NO_MNLI}")
    if not places:
        raise DataError(f"nothing to train: {NO_MNLI}; add mnli to --tasks")
    length = recipe_file.load(tasks[0].recipe).recipe.train.length  # that of all of them
    settings = [*recipe_task.small_model(name, settings, length), *settings]  # said once, not for each task
    recipes = {task: recipe_task.recipe_for(None, settings, task, name, data) for task in places if task != "ax"}
    plans = prepared(recipes, places, root, outcome, talk)
    talk.say(glue_runs.about(plans))
    for number, (task, plan) in enumerate(plans.items(), 1):
        talk.say(f"{task} ({number} of {len(plans)}): {STATES[plan.state]}, {plan.folder}")
        with outcome.of(task, talk):
            outcome.scored[task] = glue_runs.trained(plan, talk)
    if "ax" in places and "mnli" not in outcome.scored:
        outcome.absent["ax"] = NO_MNLI
    elif "ax" in places:
        with outcome.of("ax", talk):
            spec = TaskSpec(name="ax", data=data)
            outcome.scored["ax"] = finetuned.evaluate(spec, str(root / "mnli"), "test", root / "ax")
    return outcome


def prepared(
    recipes: Mapping[str, Recipe], places: Mapping[str, str], root: Path, outcome: Outcome, talk: Talk
) -> dict[str, Planned]:
    """The run of every task whose files are good; what the hub does not have is absent."""
    plans: dict[str, Planned] = {}
    for task, recipe in recipes.items():
        with outcome.of(task, talk):
            try:
                plans[task] = glue_runs.planned(recipe, root / task)
            except DataError as error:
                if places[task] != HUB:
                    raise
                outcome.absent[task] = str(error)
                talk.say(f"{task}: left out: {error}")
    return plans


# A fine-tuned model ----------------------------------------------------------------------------------------


def task_of(name: str) -> TaskSpec | None:
    """The task that a run was fine-tuned on; None of a pretraining run and of a model without its run."""
    run = head.recipe_of(name)
    return run.task if run is not None else None


def own_tasks(tasks: Sequence[Task], name: str, names: str | None) -> tuple[Task, ...]:
    """Those that are named, else what the model was fine-tuned on. Raises RecipeError when that is not said."""
    if names is not None:
        return tuple(tasks)
    spec = task_of(name)
    if spec is None:
        raise RecipeError(
            f"--model {name}: it is fine-tuned, but its folder does not say on what; name it with --tasks"
        )
    own = {spec.name, "ax"} if spec.name == "mnli" else {spec.name}
    found = tuple(task for task in tasks if task.name in own)
    if not found:
        on = spec.name or "files of your own"
        raise RecipeError(f"--model {name}: fine-tuned on {on}, which is none of these; ptk eval {name} scores it")
    return found


def as_it_is(
    tasks: Sequence[Task], name: str, data: str | None, root: Path, trust_remote_code: bool, talk: Talk
) -> Outcome:
    """Every split but train of each task, answered by one fine-tuned model; found where its run had them."""
    outcome, own = Outcome(), task_of(name)
    if data is None and own is not None and own.data is not None and Path(own.data).expanduser().is_dir():
        data = own.data
    for task in seek(tasks, data, ("validation",), outcome.absent, talk):
        spec, folder = TaskSpec(name=task, data=data), root / task
        with outcome.of(task, talk):
            subject = finetuned.subject(spec, name, folder, trust_remote_code)
            found = [subject.on(split) for split in splits(spec, tasks)]
            outcome.scored[task] = {**found[0], "others": found[1:]}
            files.write_json(folder / "results.json", outcome.scored[task])
    return outcome


def splits(spec: TaskSpec, tasks: Sequence[Task]) -> list[str]:
    """What can be scored or predicted; the diagnostic set is AX's."""
    task = next(task for task in tasks if task.name == spec.name)
    there = finding.find(task, spec).files or (task.hub.splits if task.hub else {})
    return [split for split in task.files if split in there and split not in ("train", "diagnostic")]


# What is left ----------------------------------------------------------------------------------------------


def summary(tasks: Sequence[Task], outcome: Outcome, name: str, root: Path, talk: Talk) -> dict[str, Any]:
    """results.json of all tasks, their prediction files side by side, and the zip."""
    objects = []
    for task in (task.name for task in tasks):
        if task in outcome.scored:
            objects.append(glue_table.as_object(outcome.scored[task]))
        elif error := outcome.failed.get(task):
            objects.append({"task": task, "score": None, "failed": str(error), "exit_code": error.exit_code})
        else:
            why = outcome.absent.get(task, f"{name} is not fine-tuned on it")
            objects.append({"task": task, "score": None, "absent": why})
    why = no_better(outcome.scored.get("wnli", {}))
    if why is not None:
        talk.warn(f"wnli: {why}, {WNLI} {root / 'wnli' / 'predictions'}")
    missing = zipped(root, list(outcome.scored), wnli_majority=why is not None)
    results = {"tasks": objects, **glue_table.averages(objects), "model": name}
    results |= {"zip": str(root / "glue.zip"), "missing_in_zip": list(missing)}
    results["majority_in_zip"] = ["WNLI.tsv"] if why is not None else []
    files.write_json(root / "results.json", results)
    return results


def no_better(results: Mapping[str, Any]) -> str | None:
    """Why a result is none: all answers are one, or no more are right than the most frequent label has right."""
    if "collapsed" in results:
        return f"collapsed: {results['collapsed']}"
    score, majority = results.get("score"), glue_table.majority(results)
    if score is None or majority is None or score > majority:
        return None
    return f"{score:.4f} is not above its majority's {majority:.4f}"


def zipped(root: Path, tasks: Sequence[str], wnli_majority: bool = False) -> tuple[str, ...]:
    """Lay the official files of these tasks into ``root/predictions`` and zip them; returns those that are missing.

    ``wnli_majority``: the most frequent label in place of what was predicted for WNLI.
    """
    folder = root / "predictions"
    for name in predictions.SUBMISSION:
        (folder / f"{name}.tsv").unlink(missing_ok=True)
    for task in tasks:
        for name in predictions.SUBMISSION:
            if (file := root / task / "predictions" / f"{name}.tsv").exists():
                files.write_text(folder / file.name, file.read_text(encoding="utf-8"))
    if wnli_majority:
        (folder / "WNLI.tsv").unlink(missing_ok=True)
    return predictions.glue_zip(folder, root / "glue.zip", wnli_majority)
