"""A long run that trains, validates and saves all the time: memory does not grow, no file stays open."""

import signal
import time
from typing import NamedTuple

import numpy as np
import psutil

from chaos.lab import Lab, Room, Trial
from chaos.started import Broken

WARM_UP = 120.0  # seconds, in which caches fill
EVERY = 5.0  # seconds between samples
GROWTH = 0.01  # of resident memory, first sample to last
LONG = ("train.epochs=null", "train.steps=1000000", "train.save_every=10", "train.eval_every=10", "train.log_every=10")
FEW = 10  # samples at either end, of whose open files the median counts: a save in progress has more
WIDTH, HEIGHT = 60, 8  # characters of the curve


class Sample(NamedTuple):
    seconds: float
    resident: int  # bytes
    files: int


def soak(lab: Lab, minutes: float) -> list[Trial]:
    """A run that trains, validates and saves all the time: resident memory grows under 1 %, no open files gained"""

    def run(room: Room) -> str:
        ptk = room.start("bert", *LONG)
        ptk.until(room.trains, "training")
        warm_up = min(WARM_UP, minutes * 60 / 3)
        ptk.runs_for(warm_up)
        process, began, samples = psutil.Process(ptk.pid), time.monotonic(), list[Sample]()
        while (seconds := time.monotonic() - began) < minutes * 60 - warm_up:
            samples.append(Sample(seconds, process.memory_info().rss, process.num_fds()))
            if not ptk.runs_for(EVERY):
                raise Broken(f"it ended with {ptk.code()}: {ptk.tail()}")
        ptk.send(signal.SIGTERM)
        if (code := ptk.wait()) != 143:
            raise Broken(f"exit {code} after SIGTERM: {ptk.tail()}")
        print(curve(samples), flush=True)
        slope, start = line(samples)
        growth = slope * samples[-1].seconds / start
        before, after = (int(np.median([s.files for s in part])) for part in (samples[:FEW], samples[-FEW:]))
        seen = f"{room.where()}: {start / 1e6:.1f} MB {growth:+.2%}, open files {before} -> {after}"
        if growth >= GROWTH or after > before:
            raise Broken(seen)
        return seen

    return [Trial(f"{minutes:g} minutes", run)]


def line(samples: list[Sample]) -> tuple[float, float]:
    """Slope (bytes a second) and start (bytes) of the least-squares line through resident memory."""
    slope, start = np.polyfit([s.seconds for s in samples], [s.resident for s in samples], 1)
    return float(slope), float(start)


def curve(samples: list[Sample]) -> str:
    """Resident memory over time, in text."""
    parts = [part.mean() for part in np.array_split([s.resident / 1e6 for s in samples], min(WIDTH, len(samples)))]
    low, high = min(parts), max(parts)
    level = [round((part - low) / max(high - low, 1e-9) * (HEIGHT - 1)) for part in parts]
    rows = ["".join("*" if here == row else " " for here in level) for row in reversed(range(HEIGHT))]
    labels = [f"{high:8.1f} MB |", *["            |"] * (HEIGHT - 2), f"{low:8.1f} MB |"]
    lines = [f"{label}{row}" for label, row in zip(labels, rows, strict=True)]
    return "\n".join([*lines, f"{'':12} 0 to {samples[-1].seconds / 60:.0f} minutes after the warm-up"])
