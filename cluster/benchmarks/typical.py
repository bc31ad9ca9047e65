"""A typical load: few keys are asked for often and many rarely, four reads to a write, and others write too."""

from __future__ import annotations

import random
from dataclasses import dataclass

KEYS = 200

_WRITES = 0.2
_WRITES_OF_OTHERS = 0.5
"""Of the writes: each makes what this client has cached of a key worthless."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of the load."""

    key: str
    writes: bool
    by_other: bool


def keys(side: str) -> list[str]:
    """The keys of one side's load, the most popular first."""
    return [f"{side}-typical-{number:04d}" for number in range(KEYS)]


def load(side: str, calls: int, seed: int) -> list[Step]:
    """So many operations; the key of rank r is asked for with a weight of 1/r (Zipf). The same seed, the same load."""
    choose = random.Random(seed)  # noqa: S311  # a load that can be repeated, not a secret
    chosen = choose.choices(keys(side), [1 / rank for rank in range(1, KEYS + 1)], k=calls)
    steps: list[Step] = []
    for key in chosen:
        writes = choose.random() < _WRITES
        steps.append(Step(key, writes, writes and choose.random() < _WRITES_OF_OTHERS))
    return steps
