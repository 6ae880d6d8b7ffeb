"""From a recipe to a finished run directory, whether it pretrains or fine-tunes: a Session says what differs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ptk import __version__, checkpoint, device, engine, export, files, measuring, recipe_file, signals
from ptk import run as runs
from ptk.checkpoint import State
from ptk.data import batches, rows
from ptk.errors import CheckpointError, RecipeError
from ptk.measuring import measured
from ptk.models import checks
from ptk.objectives.objective import Batch
from ptk.processes import launch
from ptk.processes.heartbeat import Heartbeat
from ptk.progress import Bar, Talk
from ptk.recipe import Recipe
from ptk.resuming import resumed
from ptk.saving import Saver
from ptk.session import Session, check_division, parameter_count
from ptk.step import Losses, Training


def carry_out(
    kind: type[Session],
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    overwrite: bool = False,
    talk: Talk | None = None,
) -> dict[str, Any]:
    """Run a recipe: the run directory is left behind, its results are returned.

    Raises a PtkError of the documented exit code; ``status.json`` then says why.
    """
    talk = talk or Talk(quiet=not device.is_main())
    run = runs.open_run(folder, resume, overwrite, writes=device.is_main())
    with signals.at_once():
        try:
            run.status("running")
            results = carry_out_in(run, kind, recipe, resume, talk)
            run.status("finished", exit_code=0)
            return results
        except BaseException as error:
            told = signals.interrupted(error) or batches.worker_lost(error) or launch.lost(error) or error
            runs.failed(run, told)
            raise told from (error if told is not error else None)
        finally:
            runs.unlock(run)


def kind_of(recipe: Recipe) -> type[Session]:
    """The kind of session that a recipe describes."""
    if recipe.task is None:
        from ptk.pretraining import Pretraining

        return Pretraining
    from ptk.finetuning import Finetuning

    return Finetuning


def carry_out_in(run: runs.Run, kind: type[Session], recipe: Recipe, resume: bool, talk: Talk) -> dict[str, Any]:
    before = recipe_file.load(str(run.recipe)).recipe if resume and run.recipe.exists() else None
    if before:
        recipe = resumed(recipe, before, talk)
    precision = device.precision(recipe.train.precision, device.kind())
    recipe = replace(recipe, train=replace(recipe.train, precision=precision))
    talk.say(f"{recipe.name}: {device.describe(precision)}; run directory {run.folder}")
    check_division(recipe, launch.processes())
    # Before any process group is there: the others wait for a file lock as long as it takes, not for a time-out.
    recipe, objective, data = kind.prepared(recipe, talk)
    made = kind.plan_of(recipe, objective, data)
    session = kind(recipe, run, data, objective, made, device.accelerator(precision, recipe.train.timeout), talk)
    model = session.fresh_model()
    checks.check_precision(model, precision)
    if recipe.train.auto_batch or recipe.train.minutes is not None:
        with measuring.remedies(session, model):
            session = measured(session, model)
        model = session.fresh_model()
    session = replace(session, recipe=settled(session))
    if run.writes:
        kept = recipe.train.keep + engine.keeps_best(recipe.train) + 1  # an old one goes when the new one is there
        files.require_space(run.folder, checkpoint.size(model, kept) - files.size(run.checkpoints, run.model))
    state, extra = restore(session, model) if resume else (State(), {})
    write_recipe(session)  # not before the checkpoint is known to be of this text
    training = session.training(model)
    if extra:
        training.strategy.load(extra)
    del extra  # as large as the model twice
    describe(session, model)
    scored: dict[int, Losses] = {}  # step -> the last validation
    fixed = session.held_out_batches()
    if training.strategy.lockstep:
        engine.rounds_of_all(len(fixed), session.accelerator)  # too few are found now, not at the first validation

    def score() -> Losses:
        scored.clear()
        how, beat = training.strategy, lambda doing: training.beat(state.step, doing)
        scored[state.step] = engine.evaluate(how.wrapped, fixed, session.accelerator, session.score, beat, how.lockstep)
        return scored[state.step]

    with measuring.remedies(session, model):
        run_loop(session, training, state, score)
        if best := session.agreed(lambda: best_checkpoint(session, state)):
            training = session.training(model := session.loaded(best))
            score()
    if training.strategy.lockstep and run.writes:  # this process has a share of the model, or it is rounded
        model = session.loaded(best or checkpoint.folder_of(run.checkpoints, state.step))
    return finish(session, model, state, scored.get(state.step) or score(), fixed)


def best_checkpoint(session: Session, state: State) -> Path | None:
    """The checkpoint that ``model/`` is made of, where that is not the last."""
    if not engine.keeps_best(session.recipe.train) or state.best is None or state.best[0] == state.step:
        return None
    step = state.best[0]
    path = checkpoint.folder_of(session.run.checkpoints, step)
    if reason := checkpoint.fault(path):
        session.talk.warn(f"{path}: {reason}; model/ is made of the last step instead of the best")
        return None
    session.talk.say(f"model/ is made of step {step}, whose validation was the best")
    return path


def settled(session: Session) -> Recipe:
    """The recipe with steps in place of epochs or minutes, so that running it again repeats the run."""
    recipe = session.recipe
    if recipe.train.phases is not None:
        return recipe
    return replace(recipe, train=replace(recipe.train, steps=session.plan.steps, epochs=None, minutes=None))


def write_recipe(session: Session) -> None:
    """recipe.yaml and environment.json."""
    if session.run.writes:
        files.write_text(session.run.recipe, recipe_file.dump(session.recipe))
        session.run.environment(
            device=device.describe(session.recipe.train.precision),
            precision=session.recipe.train.precision,
            processes=session.accelerator.num_processes,
            **session.data.fingerprints(),
        )


def restore(session: Session, model: nn.Module) -> tuple[State, dict[str, Any]]:
    """State and weights of the newest usable checkpoint; what was logged after it is dropped."""
    found, faults = session.agreed(lambda: checkpoint.find(session.run.checkpoints))
    for path, reason in faults.items():
        session.talk.warn(f"{path}: {reason}; passed over, kept as damaged-{path.name}")
        if session.run.writes:
            checkpoint.set_aside(path)
    if found is None:
        session.talk.say("no checkpoint yet: starting from the beginning")
        session.run.rewind(0)
        return State(), {}
    same_store(session, files.read_json(found / "manifest.json")["store"])
    state, extra = checkpoint.load(found, model)
    if "optimizer" not in extra:
        raise CheckpointError(f"{found}: holds no optimizer; use --overwrite to start again")
    session.run.rewind(state.step, validated=not state.due)
    session.talk.say(f"resuming from {found}")
    return state, extra


def same_store(session: Session, before: str) -> None:
    """Raises RecipeError when the corpus or tokenizer is not what the run began with (R7, D14)."""
    now = session.data.fingerprint
    if before != now:
        raise RecipeError(
            f"--resume: the text or tokenizer has changed since the run began ({session.data.origin}: store {before}, "
            f"now {now}); "
            "put it back, or use another --run for a new run"
        )


def describe(session: Session, model: nn.Module) -> None:
    """The lines before the first step: what is trained, on how much, for how long."""
    made, talk = session.plan, session.talk
    for line in session.about(model):
        talk.say(line)
    talk.say(f"model: {type(model).__name__}, {parameter_count(model):,} parameters")
    for number, stage in enumerate(made.stages):
        size = f"{stage.batch_size:,} rows" if stage.batch_size else f"{stage.batch_tokens:,} tokens"
        size += f" (from {stage.ramp.start:,} on, in {stage.ramp.steps:,} steps)" if stage.ramp else ""
        talk.say(
            f"plan: {stage.steps:,} steps of {size}, length {stage.length}: "
            f"{made.epochs(number):.2f} epochs of {sum(stage.quota):,} rows"
        )
        for caution in session.objective.cautions(stage.length):
            talk.warn(caution)
        for member in stage.members:
            if left_out := rows.rows(member, 0).table.left_out:
                talk.say(f"left out: {left_out:,} {member.objective.leaves_out}")


def run_loop(session: Session, training: Training, state: State, validate: Callable[[], Losses]) -> None:
    """Train to the plan's end, with progress, tracker, and the next epoch's rows built in the background."""
    recipe, run, made, accelerator = session.recipe, session.run, session.plan, session.accelerator
    on_cpu = accelerator.device.type == "cpu"
    workers = recipe.train.workers if recipe.train.workers is not None else (0 if on_cpu else 2)
    loader = batches.loader(session.batches(), state.step, workers, pin=accelerator.device.type == "cuda")
    about = {
        "ptk": __version__,
        "processes": accelerator.num_processes,
        "store": session.data.fingerprint,
    }
    heartbeat = Heartbeat(run.folder, accelerator.process_index, accelerator.num_processes, recipe.train.timeout)
    saver = Saver(run.checkpoints, about, recipe.train.keep, run.writes, session.talk.warn)
    saver.alive = lambda: training.beat(state.step, "saving")
    ahead, tracker = rows.Ahead(), tracked(session)
    bar = Bar(session.talk, "training", made.steps, state.step)
    with bar, ahead, closing(saver), closing(loader), heartbeat:
        training.beat = heartbeat.at

        def show(line: dict[str, Any]) -> None:
            bar.line(line)
            tracker(line)
            if run.writes and line["step"] < made.steps:
                made.prepare_next(line["step"], ahead)

        engine.Loop(training, state, made.steps, run, saver, validate, show).train(loader)


def tracked(session: Session) -> Callable[[Mapping[str, Any]], None]:
    """Sends every logged line to the tracker that the recipe names, from the main process."""
    kind = session.recipe.track
    if kind is None or not session.run.writes:
        return lambda line: None
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    folder = session.run.folder
    if kind == "tensorboard":
        tracker = TensorBoardTracker("tensorboard", logging_dir=folder)
    else:
        tracker = WandBTracker(session.recipe.name, dir=str(folder))
    tracker.start()

    def send(line: Mapping[str, Any]) -> None:
        values = {f"{line['split']}/{name}": v for name, v in line.items() if name not in ("step", "split")}
        tracker.log(values, step=line["step"])

    return send


def finish(session: Session, model: nn.Module, state: State, losses: Losses, fixed: Sequence[Batch]) -> dict[str, Any]:
    """Score, export, and write results.json. ``fixed`` are this process's held-out batches."""
    run = session.run
    results = session.results(model, state, losses, fixed)
    results |= {"steps": state.step, "tokens": state.tokens, "seconds": round(state.seconds, 1)}
    if run.writes:
        text = session.card(model, results)
        export.export(run.model, model, session.data.tokenizer, session.objective.around, text)
        files.write_json(run.folder / "results.json", results)
    return results


def schedule_notes(recipe: Recipe) -> list[str]:
    """The oddities of the original schedules that ``fidelity: paper`` reproduces, for the model card."""
    if recipe.fidelity != "paper":
        return []
    return {
        "linear": ["OPT-2: the learning rate jumps down at the end of the warm-up"],
        "product": ["OPT-3: the first update has a learning rate of 0"],
    }.get(recipe.train.schedule, [])
