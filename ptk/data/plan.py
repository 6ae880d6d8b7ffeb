"""The plan: which rows form the global batch of each step. The position of a run is its step, one integer.

``plan.batch(step)`` is a function of (row tables, batch size or tokens, ramp, stages, weights, seed) and nothing
else; processes and micro-batches only divide what it returns. An epoch has as many rows as its first table fills
whole batches; rows beyond that wait for another epoch's order, and a table that is shorter by chance starts again.
Batches cut the endless order, epoch after epoch, into pieces; those of a ramp may lie across the end of an epoch.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ptk.data.permutation import keys, permute
from ptk.data.rows import Ahead, Rows, RowSource, rows
from ptk.errors import DataError, RecipeError
from ptk.recipe import BatchRamp

AHEAD = 1024  # rows whose places are worked out together: one at a time costs ten times as much


class Place(NamedTuple):
    """One row of one epoch of one member: all that its randomness may depend on."""

    member: int
    epoch: int
    row: int


@dataclass(frozen=True)
class Stage:
    """A stretch of steps at one length: its members (sources of rows) and its batch."""

    members: tuple[RowSource, ...]
    rows: tuple[int, ...]  # of each member's first table
    quota: tuple[int, ...]  # rows that each member gives to an epoch
    steps: int
    batch_size: int | None = None  # rows
    batch_tokens: int | None = None  # instead: stored tokens at most
    ramp: BatchRamp | None = None  # smaller batches before those of batch_size
    window: int = 1  # batches whose rows are sorted by length among them

    @property
    def length(self) -> int:
        return self.members[0].length

    def begin(self, step: int) -> int:
        """Where the batch of a 0-based step begins in the endless order, in rows (in batches, for ``batch_tokens``)."""
        if self.ramp is None:
            return step * (self.batch_size or 1)
        return ramp_rows(self.ramp, self.batch_size or 1, step)


def stage(
    members: Sequence[RowSource],
    weights: Sequence[float],
    steps: int,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    shares: Sequence[float] = (1.0,),
    ramp: BatchRamp | None = None,
    window: int = 1,
) -> Stage:
    """A stage of every source of the corpus, which have ``weights``, under every objective, which have ``shares``.

    ``members`` are all sources under the first objective, then all under the next. An epoch has as many rows as go
    once through the text; each objective gives its share of them, each source by its size and weight.
    """
    sizes = [len(rows(member, 0)) for member in members]
    apart = np.array(sizes).reshape(len(shares), len(weights))
    weighted = apart * np.array(weights)
    within = weighted / np.maximum(weighted.sum(1, keepdims=True), 1e-9)
    quota = np.round(np.array(shares) @ apart.sum(1) * np.array(shares)[:, None] * within).astype(int).ravel()
    total = int(quota.sum())
    for member, given in zip(members, quota.tolist(), strict=True):
        if not given:
            which = f"member {(member.member or 0) + 1} of the mixture" if member.member is not None else "a source"
            raise DataError(
                f"weights: {which} has no row of {member.length} tokens in an epoch of {total:,}; "
                "give it a larger weight or more text, or leave it out"
            )
    if total < (batch_size or 1):
        raise DataError(
            f"train.batch_size: a batch of {batch_size} rows, but an epoch of the corpus has only {total:,} of "
            f"{members[0].length} tokens; give more text or a smaller batch"
        )
    found = Stage(tuple(members), tuple(sizes), tuple(quota.tolist()), steps, batch_size, batch_tokens, ramp, window)
    if window > 1 and (batch_tokens or ramp):
        other = "batch_tokens" if batch_tokens else "batch_ramp"
        raise RecipeError(f"train.length_window: not with train.{other}; give train.batch_size alone, or no window")
    return found


class Position(NamedTuple):
    stage: int
    step: int  # within the stage
    epoch: int  # of the batch's first row


@dataclass
class Plan:
    """Stages, one after the other. Pickles small: tables are opened where they are used."""

    stages: tuple[Stage, ...]
    seed: int
    _tables: dict[tuple[int, int, int], Rows] = field(default_factory=dict, repr=False, compare=False)
    _bounds: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    _window: dict[tuple[int, int, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    _ahead: dict[tuple[int, int, int], list[Place]] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        return {"stages": self.stages, "seed": self.seed, "_tables": {}, "_bounds": {}, "_window": {}, "_ahead": {}}

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def position(self, step: int) -> Position:
        """Stage, step within it, and epoch of a 0-based step."""
        number = 0
        while step >= self.stages[number].steps and number < len(self.stages) - 1:
            step -= self.stages[number].steps
            number += 1
        return Position(number, step, self.stages[number].begin(step) // self.per_epoch(number))

    def per_epoch(self, number: int) -> int:
        """What ``Stage.begin`` moves on by in an epoch: rows, or batches for ``batch_tokens``."""
        return self.steps_per_epoch(number) * (self.stages[number].batch_size or 1)

    def epochs(self, number: int) -> float:
        """Passes over the rows that a stage makes."""
        return self.stages[number].begin(self.stages[number].steps) / self.per_epoch(number)

    def steps_of(self, epochs: float) -> int:
        """The steps of the first stage that come nearest to so many epochs."""
        ramp, begin = self.stages[0].ramp, self.stages[0].begin
        if ramp is None:
            return round(epochs * self.steps_per_epoch(0))
        rows = epochs * self.per_epoch(0)
        after = bisect_left(range(math.ceil(rows / ramp.start)), rows, key=begin)
        return min(after - 1, after, key=lambda steps: abs(begin(steps) - rows))

    def steps_per_epoch(self, number: int) -> int:
        """Whole (full) batches that a stage's first tables fill."""
        where = self.stages[number]
        if where.batch_tokens:
            return len(self.token_bounds(number, 0)) - 1
        return sum(where.quota) // (where.batch_size or 1)

    def batch(self, step: int) -> list[Place]:
        """The global batch of a step, in order."""
        number, step, epoch = self.position(step)
        where = self.stages[number]
        if where.batch_tokens:
            bounds = self.token_bounds(number, epoch)
            batch = step % self.steps_per_epoch(number) % (len(bounds) - 1)
            return self.places(number, epoch, np.arange(bounds[batch], bounds[batch + 1]))
        if where.window > 1:
            return self.places(number, epoch, self.of_like_length(number, epoch, step % self.steps_per_epoch(number)))
        found: list[Place] = []
        at, stop, size = where.begin(step), where.begin(step + 1), self.per_epoch(number)
        while at < stop:
            epoch, index = divmod(at, size)
            found += self.ahead(number, epoch, index // AHEAD)[index % AHEAD :][: stop - at]
            at = where.begin(step) + len(found)
        return found

    def ahead(self, number: int, epoch: int, block: int) -> list[Place]:
        """The rows at AHEAD positions of an epoch's order, which many batches in a row are cut from."""
        key = (number, epoch, block)
        if key not in self._ahead:
            end = min((block + 1) * AHEAD, self.per_epoch(number))
            self._ahead = {key: self.places(number, epoch, np.arange(block * AHEAD, end))}
        return self._ahead[key]

    def places(self, number: int, epoch: int, index: np.ndarray) -> list[Place]:
        """The rows at positions ``index`` of an epoch's order."""
        return list(map(Place, *(column.tolist() for column in self.order(number, epoch, index))))

    def order(self, number: int, epoch: int, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same as arrays: member, its own epoch, and row of each position."""
        where = self.stages[number]
        edges = np.cumsum([0, *where.quota])
        order = permute(index, int(edges[-1]), keys(self.seed, number, epoch))
        member = np.searchsorted(edges, order, side="right") - 1
        # A member goes through epochs of its own, as its weight takes it: the nth row it gives since the start.
        nth = epoch * np.array(where.quota)[member] + order - edges[member]
        own_epoch, row = np.divmod(nth, np.array(where.rows)[member])
        for m, e in np.unique(np.stack([member, own_epoch]), axis=1).T.tolist():
            these = (member == m) & (own_epoch == e)
            mixed = permute(row[these], where.rows[m], keys(self.seed, number, m, e)) if len(edges) > 2 else row[these]
            row[these] = mixed % len(self.rows(number, m, e))
        return member, own_epoch, row

    def of_like_length(self, number: int, epoch: int, batch: int) -> np.ndarray:
        """Positions, in an epoch's order, of the rows of one of its batches, which are of nearly equal length.

        The rows of ``window`` batches in a row are sorted by length (ties as they come), divided into those batches,
        and the batches shuffled: a function of the epoch's order and nothing else.
        """
        where = self.stages[number]
        key = (number, epoch, batch // where.window)
        if key not in self._window:
            first, size = key[2] * where.window, where.batch_size or 1
            count = min(where.window, self.steps_per_epoch(number) - first)
            positions = np.arange(first * size, (first + count) * size)
            lengths = self.lengths(number, *self.order(number, epoch, positions))
            batches = positions[np.argsort(lengths, kind="stable")].reshape(count, size)
            self._window = {key: batches[permute(np.arange(count), count, keys(self.seed, *key))]}
        return self._window[key][batch % where.window]

    def lengths(self, number: int, member: np.ndarray, own_epoch: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Tokens that are read of each row, given as ``order`` gives them."""
        found = np.empty(len(row), np.int64)
        for m, e in np.unique(np.stack([member, own_epoch]), axis=1).T.tolist():
            these = (member == m) & (own_epoch == e)
            objective = self.stages[number].members[m].objective
            found[these] = objective.reads(self.rows(number, m, e).lengths()[row[these]])
        return found

    def own_epochs(self, number: int, member: int, epoch: int) -> range:
        """The epochs of its own that a member goes through in one epoch of a stage."""
        where = self.stages[number]
        quota, size = where.quota[member], max(1, where.rows[member])
        return range(epoch * quota // size, max(epoch * quota, (epoch + 1) * quota - 1) // size + 1)

    def prepare_next(self, step: int, ahead: Ahead) -> None:
        """Have the tables of the next epoch built in the background, if the stage comes to it."""
        number, _, epoch = self.position(step)
        if epoch + 1 >= self.epochs(number):
            return
        for member, source in enumerate(self.stages[number].members):
            oldest = self.own_epochs(number, member, epoch).start
            for own in self.own_epochs(number, member, epoch + 1):
                ahead.prepare(source, own, oldest)

    def rows(self, number: int, member: int, epoch: int) -> Rows:
        """The table of a member's epoch; the last two stay open."""
        key = (number, member, epoch)
        if key not in self._tables:
            for old in [k for k in self._tables if k[1] == member and (k[0] != number or k[2] < epoch - 1)]:
                del self._tables[old]
            self._tables[key] = rows(self.stages[number].members[member], epoch)
        return self._tables[key]

    def token_bounds(self, number: int, epoch: int) -> np.ndarray:
        """Where batches of at most ``batch_tokens`` (and at least one row) begin in an epoch's order."""
        if (number, epoch) not in self._bounds:
            where = self.stages[number]
            lengths = self.lengths(number, *self.order(number, epoch, np.arange(sum(where.quota))))
            for old in [key for key in self._bounds if key[0] != number or 0 < key[1] < epoch - 1]:
                del self._bounds[old]
            self._bounds[number, epoch] = token_bounds(np.cumsum(lengths), where.batch_tokens or 1)
        return self._bounds[number, epoch]


def ramp_rows(ramp: BatchRamp, batch_size: int, step: int) -> int:
    """Rows of the batches before a 0-based step. A batch has ``start`` rows, and ``start`` more from each of evenly
    spaced steps on, the last of which is ``ramp.steps``: 2, 2, 4, 4, 6, 6, ... for 2 rows, 4 steps and 6 in the end."""
    growths = batch_size // ramp.start - 1
    grow = -(-np.arange(1, growths + 1) * ramp.steps // max(1, growths))  # rounded up
    return ramp.start * (step + int(np.maximum(0, step - grow).sum()))


def token_bounds(ends: np.ndarray, budget: int) -> np.ndarray:
    """Bounds of batches of at most ``budget`` tokens, given the cumulative lengths; a last part is left for later."""
    bounds = [0]
    while bounds[-1] < len(ends):
        before = int(ends[bounds[-1] - 1]) if bounds[-1] else 0
        bounds.append(max(bounds[-1] + 1, int(np.searchsorted(ends, before + budget, side="right"))))
    return np.array(bounds[:-1] if len(bounds) > 2 else bounds)


def share(places: Sequence[Place], process: int, processes: int) -> Sequence[Place]:
    """The slice of a global batch that one process takes."""
    edges = [len(places) * p // processes for p in range(processes + 1)]
    return places[edges[process] : edges[process + 1]]
