"""Quantiles of one round and of all, and the spread of a figure over the rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

Statistic = Literal["p50", "p95", "p99"]

_DIGITS = 4


class Quantiles(msgspec.Struct, frozen=True):
    """Of durations in microseconds."""

    p50: float
    p95: float
    p99: float


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was measured: over all rounds, and of each round.

    Of durations there are quantiles, over the samples of all rounds together; of anything else one value a round and
    the median of those, which is p50.
    """

    unit: str
    samples: int
    """Durations, or rounds."""
    p50: float
    rounds_p50: list[float]
    p95: float | None = None
    p99: float | None = None
    rounds_p95: list[float] = []
    rounds_p99: list[float] = []

    def of(self, statistic: Statistic) -> float | None:
        """One statistic over all rounds; None when the figure has none."""
        return {"p50": self.p50, "p95": self.p95, "p99": self.p99}[statistic]

    def rounds(self, statistic: Statistic) -> list[float]:
        """The same of each round."""
        return {"p50": self.rounds_p50, "p95": self.rounds_p95, "p99": self.rounds_p99}[statistic]


def figure_of_durations(rounds: Sequence[Sequence[float]]) -> Figure:
    """What durations in microseconds come to. Raises ValueError for a round without any."""
    each = [quantiles(durations) for durations in rounds]
    together = quantiles([duration for durations in rounds for duration in durations])
    return Figure(
        unit="us",
        samples=sum(map(len, rounds)),
        p50=together.p50,
        p95=together.p95,
        p99=together.p99,
        rounds_p50=[one.p50 for one in each],
        rounds_p95=[one.p95 for one in each],
        rounds_p99=[one.p99 for one in each],
    )


def figure_of_values(unit: str, rounds: Sequence[float]) -> Figure:
    """What one value a round comes to. Raises ValueError without a round."""
    rounded = [significant(value) for value in rounds]
    if not rounded:
        raise ValueError("no round was measured")
    return Figure(unit=unit, samples=len(rounded), p50=significant(statistics.median(rounded)), rounds_p50=rounded)


def quantiles(values: Iterable[float]) -> Quantiles:
    """p50, p95 and p99 by nearest rank: each is one of the values. Raises ValueError without any."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("quantiles of nothing")

    def at(share: float) -> float:
        return significant(ordered[max(0, math.ceil(share * len(ordered)) - 1)])

    return Quantiles(at(0.50), at(0.95), at(0.99))


def significant(value: float) -> float:
    """A value to four digits: more would only repeat the noise."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, _DIGITS - 1 - math.floor(math.log10(abs(value))))
