"""What only the machine knows, tried out before the first counted step on a model that is thrown away:
how many rows fit into memory at a time, how many steps into a budget of minutes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from ptk.checkpoint import State
from ptk.errors import OutOfMemoryError
from ptk.objectives.objective import Batch
from ptk.recipe import TrainSpec
from ptk.session import Session, parameter_count, with_steps
from ptk.step import Training, on

MEASURED_SECONDS = 8.0  # of training steps, to turn minutes into steps
MEASURED_STEPS = 8  # at least
ENDLESS = 10**9  # steps, of which none is near the end
WARM = 3  # steps that only warm caches up
TRIED_STEPS = 4  # batches of a stage, of which the largest must fit


def measured(session: Session, model: nn.Module) -> Session:
    """The session with a micro-batch that fits, where ``train.auto_batch`` asks, and with steps for minutes.

    ``model`` is used up.
    """
    scaler = session.accelerator.scaler
    before = scaler.state_dict() if scaler is not None else {}
    if session.recipe.train.auto_batch:
        train = replace(session.recipe.train, micro_batch_size=fitting_rows(session, model))
        train = replace(train, micro_batch_tokens=None, auto_batch=False)
        session = replace(session, recipe=replace(session.recipe, train=train))
    if session.recipe.train.minutes is not None:
        session = replace(session, plan=with_steps(session.plan, measured_steps(session, session.fresh_model())))
    if scaler is not None:
        scaler.load_state_dict(before)  # each process has tried alone; the run begins with what all have
    return session


def fitting_rows(session: Session, model: nn.Module) -> int:
    """The largest micro-batch, of this process's whole share halved and halved again, that can be trained on.

    Each process tries alone, on the largest of the first batches of every stage; all take what fits every one of them.
    The global batch stays what it is: what does not go through at once is accumulated (R21).
    """
    accelerator = session.accelerator
    training = session.training(model)
    batches = largest_of_stages(session)
    rows = max(len(batch["input_ids"]) for batch in batches)
    for batch in batches:
        most, length = batch["input_ids"].shape
        while not fits(training, {name: part[:rows] for name, part in batch.items()}):
            if rows == 1:
                raise OutOfMemoryError(
                    f"train.auto_batch: not one row of {length} tokens fits into memory, {size_of(model)}; try, "
                    f"in this order, {smaller(session)}, "
                    "train.parallel=fsdp on several devices"
                )
            rows = -(-min(rows, most) // 2)
    everyone = accelerator.gather(torch.tensor([rows], device=accelerator.device))
    fewest = int(everyone.min())  # type: ignore[union-attr]
    accelerator.free_memory()
    session.talk.say(f"train.auto_batch: {fewest} rows at a time fit into memory")
    return fewest


def largest_of_stages(session: Session) -> list[Batch]:
    """Of every stage the largest of the first batches, as this process would take it at once."""
    plan = session.plan
    if session.recipe.train.minutes is not None:  # which are no steps yet
        plan = with_steps(plan, ENDLESS)
    found = replace(session, plan=plan).batches()
    found.division = replace(found.division, micro_batch_size=None, micro_batch_tokens=None)
    largest, first = [], 0
    for stage in plan.stages:
        tried = [found[step][0] for step in range(first, first + min(stage.steps, TRIED_STEPS))]
        largest.append(max(tried, key=lambda batch: sum(tensor.numel() for tensor in batch.values())))
        first += stage.steps
    return largest


def fits(training: Training, batch: Batch) -> bool:
    """Can this process take ``batch`` at once? One whole update is tried, with a learning rate of zero."""
    optimizer, accelerator = training.strategy.optimizer, training.accelerator
    try:
        # The module within: DDP's own would have the processes meet, which need different numbers of tries.
        parts = training.strategy.wrapped(on(accelerator.device, batch))
        accelerator.backward(torch.stack([part.total for part in parts.values()]).sum())
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        optimizer.step()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        optimizer.zero_grad(set_to_none=True)
        accelerator.free_memory()
    return True


def measured_steps(session: Session, model: nn.Module) -> int:
    """``train.minutes`` in steps."""
    training = replace(session.training(model), lr=lambda _step: 0.0)
    endless = replace(session, plan=with_steps(session.plan, ENDLESS))  # at what a schedule of the data begins with
    state, found = State(), endless.batches()
    began = marked = time.monotonic()
    enough = 0  # a flag that all processes agree on: they stop at the same step
    while not (enough and state.step >= MEASURED_STEPS):
        over = int(time.monotonic() - began > MEASURED_SECONDS)
        _, _, (enough, _) = training.step(found[state.step], state, (over, 0))
        if state.step == WARM:
            marked = time.monotonic()
    local = torch.tensor([(time.monotonic() - marked) / (state.step - WARM)], device=session.accelerator.device)
    slowest = float(session.accelerator.gather(local).max())  # type: ignore[union-attr]
    minutes = session.recipe.train.minutes or 0.0
    steps = max(1, int(minutes * 60 / slowest))
    session.talk.say(f"{minutes:g} minutes at {slowest:.3f} s a step: {steps:,} steps")
    session.accelerator.free_memory()
    return steps


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def remedies(session: Session, model: nn.Module) -> Iterator[None]:
    """Turns an allocation that fails within into what to do about it, best remedy first."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        rows = rows_at_once(session.recipe.train, session.accelerator.num_processes)
        fewer = f"train.micro_batch_size={max(1, rows // 2)}" if rows else "train.micro_batch_tokens, half of it,"
        raise OutOfMemoryError(
            f"out of memory with {rows or 'all'} rows of up to {session.length} tokens at a time, {size_of(model)}; "
            f"try, in this order, {fewer} (the result stays the same; train.auto_batch=true finds it), "
            f"{smaller(session)}"
        ) from error


def rows_at_once(train: TrainSpec, processes: int) -> int | None:
    """The most rows that a process takes at once; None where the recipe counts tokens."""
    sizes = [phase.batch_size or train.batch_size for phase in train.phases or ()] or [train.batch_size]
    share = max(size or 0 for size in sizes) // processes
    return min(filter(None, (train.micro_batch_size, share)), default=None)


def smaller(session: Session) -> str:
    """Settings with which a row takes less memory, the best first."""
    train = session.recipe.train
    checkpointing = "" if train.gradient_checkpointing else "train.gradient_checkpointing=true, "
    longest = "train.length" if train.phases is None else "the length of the longest of train.phases"
    return f"{checkpointing}{longest}={max(8, session.length // 2)}"


def size_of(model: nn.Module) -> str:
    return f"{parameter_count(model):,} parameters"
