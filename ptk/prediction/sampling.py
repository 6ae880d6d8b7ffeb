"""How the next token is chosen: the options of ``ptk predict``, and the keys of its JSON lines."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

RULES: dict[str, tuple[type, Callable[[Any], bool], str]] = {
    "max_tokens": (int, lambda value: value >= 1, "a whole number from 1"),
    "temperature": (float, lambda value: value == 0 or 0.01 <= value <= 100, "0 (greedy) or a number from 0.01 to 100"),
    "top_k": (int, lambda value: value >= 1, "a whole number from 1"),
    "top_p": (float, lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "seed": (int, lambda value: value >= 0, "a whole number from 0"),
}


@dataclass(frozen=True)
class Sampling:
    max_tokens: int | None = None
    """New tokens at most; None leaves the number to what is asked for."""
    temperature: float = 0.0
    """Divides the logits; 0 takes the most probable token."""
    top_k: int | None = None
    """Only the k most probable."""
    top_p: float | None = None
    """Only the most probable that together reach p."""
    seed: int = 0
    """What is drawn depends on (seed, number of the line) alone."""

    def changed(self, given: Mapping[str, Any], spelled: Callable[[str], str] = str) -> "Sampling":
        """With other values. Raises ValueError naming a key that is unknown or a value that is out of range."""
        for name, value in given.items():
            check(name, value, spelled)
        sampling = replace(self, **given)
        idle = [spelled(name) for name in ("top_k", "top_p") if name in given]
        if idle and sampling.temperature == 0:
            raise ValueError(f"{idle[0]} changes nothing at temperature 0 (greedy); add {spelled('temperature')} 1")
        return sampling


def check(name: str, value: Any, spelled: Callable[[str], str]) -> None:
    if name not in RULES:
        raise ValueError(f"unknown key {json.dumps(name, ensure_ascii=False)}; known are text, {', '.join(RULES)}")
    kind, allowed, remedy = RULES[name]
    kinds = (int, float) if kind is float else (int,)
    if type(value) not in kinds or not allowed(value):
        raise ValueError(f"{spelled(name)} {json.dumps(value, ensure_ascii=False)}: give {remedy}")
