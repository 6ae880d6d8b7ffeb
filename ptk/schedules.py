"""The learning rate of every step, as a factor of ``train.lr``."""

import math
from collections.abc import Callable
from functools import partial


def warmup_steps(value: float, total: int) -> int:
    """``train.warmup`` in steps: below 1 it is a fraction of ``total``, from 1 on it is steps; rounded."""
    return round(value * total if value < 1 else value)


def schedule(name: str, total: int, warmup: int, final: float, decay: float, fidelity: str) -> Callable[[int], float]:
    """The factor of lr at step t, the number of updates made before this one; pure, and it pickles.

    ``total`` T and ``warmup`` W are steps, ``final`` is a factor, ``decay`` is wsd's share of T.
    The warm-up is (t + 1) / W: no update has lr 0, and t = W - 1 is at the peak. What falls after it leaves
    the peak at t = W and would be at ``final`` at t = T, so the last update, T - 1, still counts.

    - ``linear``: a straight line. With fidelity ``paper`` BERT's own (OPT-2, `bert_linear`).
    - ``cosine``: half a cosine.
    - ``product``: the warm-up times a straight line that falls from step 0 on (ELECTRA, OPT-3; GPT-1, GPT1-4). With
      fidelity ``paper`` its warm-up is t / W, so the first update has lr 0.
    - ``wsd``: at the peak until the last ``decay`` of all steps, then a straight line.
    - ``inverse_sqrt``: T5's (T5-7), 1 / sqrt(max(t, W)) relative to its peak: flat, not rising, until W.
    - ``constant``: at the peak.

    ValueError for another name.
    """
    if name == "linear" and fidelity == "paper":
        return partial(bert_linear, total=total, warmup=warmup, final=final)
    if name == "linear":
        return partial(linear, start=warmup, total=total, warmup=warmup, final=final)
    if name == "cosine":
        return partial(cosine, total=total, warmup=warmup, final=final)
    if name == "product":
        return partial(product, total=total, warmup=warmup, final=final, first=0 if fidelity == "paper" else 1)
    if name == "wsd":
        start = max(warmup, total - round(decay * total))
        return partial(linear, start=start, total=total, warmup=warmup, final=final)
    if name == "inverse_sqrt":
        return partial(inverse_sqrt, warmup=warmup)
    if name == "constant":
        return partial(constant, warmup=warmup)
    raise ValueError(f"train.schedule {name!r} is unknown; use linear, cosine, product, wsd, inverse_sqrt or constant")


def bert_linear(t: int, *, total: int, warmup: int, final: float) -> float:
    """OPT-2: t / W, so 0 at step 0; then the line that began at step 0: a jump down to 1 - W / T at W."""
    if t < warmup:
        return t / warmup
    return 1 - (1 - final) * _progress(t, 0, total)


def linear(t: int, *, start: int, total: int, warmup: int, final: float) -> float:
    if t < warmup:
        return _rise(t, warmup)
    return 1 - (1 - final) * _progress(t, start, total)


def cosine(t: int, *, total: int, warmup: int, final: float) -> float:
    if t < warmup:
        return _rise(t, warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * _progress(t, warmup, total))) / 2


def product(t: int, *, total: int, warmup: int, final: float, first: int) -> float:
    return (1 - (1 - final) * _progress(t, 0, total)) * min(1.0, (t + first) / max(warmup, 1))


def inverse_sqrt(t: int, *, warmup: int) -> float:
    peak = max(warmup, 1)
    return math.sqrt(peak / max(t, peak))


def constant(t: int, *, warmup: int) -> float:
    return _rise(t, warmup) if t < warmup else 1.0


def _rise(t: int, warmup: int) -> float:
    return (t + 1) / warmup


def _progress(t: int, start: int, end: int) -> float:
    """0 until ``start``, 1 from ``end`` on."""
    if t >= end:
        return 1.0
    return (t - start) / (end - start) if t > start else 0.0
