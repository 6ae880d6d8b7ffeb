"""From places in the plan to batches of tensors: fetch, encode, stack. Nothing here keeps a state but the step."""

import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ptk.data.plan import Place, Plan, share
from ptk.data.rows import Rows, RowSource
from ptk.data.tokenizer import Tokenizer
from ptk.errors import ProcessLostError, PtkError, RecipeError
from ptk.objectives.objective import Batch, Example


@dataclass(frozen=True)
class Division:
    """How one global batch is divided; never what is in it."""

    process: int = 0
    processes: int = 1
    micro_batch_size: int | None = None
    micro_batch_tokens: int | None = None


def encode(rows: Rows, row: int, tokenizer: Tokenizer, seed: int, progress: float = 0.0) -> Example:
    """One example; its randomness depends on (seed, epoch, row) alone (ENG-2). ``progress``: the share of the run."""
    source = rows.source
    rng = np.random.default_rng((seed, rows.epoch, row))
    example = source.objective.at(source.length, progress).encode(rows[row], tokenizer, rng)
    return example if source.member is None else {**example, "member": np.array(source.member)}


def stack(examples: Sequence[Example], padding: Mapping[str, int]) -> Batch:
    """Pad every axis of every array to the longest and stack; ``attention_mask`` where rows differ in length, unless
    the examples bring their own.

    Examples of different objectives may lack each other's arrays; those rows hold padding only.
    """
    batch: Batch = {}
    for name in dict.fromkeys(name for example in examples for name in example):
        arrays = [example[name] for example in examples if name in example]
        shape = tuple(np.max([array.shape for array in arrays], axis=0).astype(int))
        stacked = np.full((len(examples), *shape), padding.get(name, 0), arrays[0].dtype)
        for number, example in enumerate(examples):
            if name in example:
                stacked[(number, *(slice(size) for size in example[name].shape))] = example[name]
        batch[name] = torch.from_numpy(stacked)
    lengths = [len(example["input_ids"]) for example in examples]
    if min(lengths) < max(lengths) and "attention_mask" not in batch:
        mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
        batch["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
    return batch


def padding(sources: Sequence[RowSource], tokenizer: Tokenizer) -> dict[str, int]:
    """What pads each array, by name."""
    found = {"input_ids": tokenizer.pad_id or 0}
    for source in sources:
        found |= source.objective.padding
    return found


def padded_size(example: Example) -> int:
    """Tokens of a row, read or written."""
    return max(example["input_ids"].size, np.size(example.get("labels", ())))


def micro_batches(examples: Sequence[Example], division: Division) -> Iterator[Sequence[Example]]:
    """Divide one process's examples, by number or by tokens (rows x the longest, read or written).

    They are sorted by length before, so that those of a part need little padding; which is speed alone.
    """
    if division.micro_batch_tokens is None and division.micro_batch_size is None:
        yield examples
        return
    ordered = sorted(examples, key=padded_size)
    if division.micro_batch_tokens is None:
        size = division.micro_batch_size or 1
        yield from (ordered[start : start + size] for start in range(0, len(ordered), size))
        return
    part: list[Example] = []
    longest = 0
    for example in ordered:
        size = padded_size(example)
        longest = max(longest, size)
        if part and longest * (len(part) + 1) > division.micro_batch_tokens:
            yield part
            part, longest = [], size
        part.append(example)
    if part:
        yield part


@dataclass
class Batches(Dataset):
    """Item ``step``: the micro-batches of one process at that step. Pickles small, for spawned workers."""

    plan: Plan
    tokenizer: Tokenizer
    division: Division

    def examples(self, stage: int, places: Sequence[Place], progress: float) -> list[Example]:
        found: list[Example] = []
        for place in places:
            try:
                table = self.plan.rows(stage, place.member, place.epoch)
                found.append(encode(table, place.row, self.tokenizer, self.plan.seed, progress))
            except Exception as error:
                error.add_note(f"in row {place.row} of epoch {place.epoch}, source {place.member + 1}")
                raise
        return found

    def __getitem__(self, step: int) -> list[Batch]:
        stage, places = self.plan.position(step).stage, self.plan.batch(step)
        if len(places) < self.division.processes:
            raise RecipeError(
                f"train.batch_tokens: the batch of step {step + 1} has {len(places)} rows for "
                f"{self.division.processes} processes; give more tokens or fewer processes"
            )
        mine = share(places, self.division.process, self.division.processes)
        pad = padding(self.plan.stages[stage].members, self.tokenizer)
        examples = self.examples(stage, mine, step / self.plan.steps)
        return [stack(part, pad) for part in micro_batches(examples, self.division)]


def leave_signals_to_the_run(_worker: int) -> None:
    """A signal to the whole process group must not kill a worker: the run still needs its batches to stop well."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


@dataclass
class Guarded(Dataset):
    """Batches whose errors come back as they are: torch would make a worker's traceback their message."""

    batches: Batches

    def __getitem__(self, step: int) -> "list[Batch] | PtkError":
        try:
            return self.batches[step]
        except PtkError as error:
            return error


def loader(batches: Batches, start: int, workers: int, pin: bool) -> Generator[list[Batch], None, None]:
    """The steps from ``start`` on. Workers change nothing but speed, and resuming reads nothing twice (R5).

    Close it to end its workers, which do not hear signals: a process that ends would wait for them.
    """
    loaded = DataLoader(
        Guarded(batches),
        batch_size=None,
        sampler=range(start, batches.plan.steps),
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
        worker_init_fn=leave_signals_to_the_run,
    )
    for found in loaded:
        if isinstance(found, PtkError):
            raise found
        yield found


def worker_lost(error: BaseException) -> ProcessLostError | None:
    """What to say when a worker was killed, which torch raises wherever the run is just then (R22)."""
    if not isinstance(error, RuntimeError) or not str(error).startswith("DataLoader worker (pid"):
        return None
    return ProcessLostError(
        "a process that prepares batches is gone (out of memory?); go on with --resume, and fewer train.workers"
    )


def held_out(rows: Rows, examples: int, tokenizer: Tokenizer, division: Division, seed: int) -> Iterator[Batch]:
    """Fixed batches of at most ``examples`` held-out rows, with the same masks each time (ENG-4)."""
    from ptk.data.permutation import keys, permute

    count = min(examples, len(rows))
    order = permute(np.arange(count), len(rows), keys(seed)).tolist()
    mine = order[division.process :: division.processes]
    mine.sort(key=lambda row: (sum(len(segment) for segment in rows[row].segments), row))  # little padding
    encoded = [encode(rows, row, tokenizer, seed) for row in mine]
    pad = padding([rows.source], tokenizer)
    for part in micro_batches(encoded, division):
        yield stack(part, pad)
