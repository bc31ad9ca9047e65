"""What a person should look at: a pure function of a snapshot (R11)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from lightning_state.actors.metrics.outcome import is_failure
from lightning_state.actors.metrics.shard import ShardFigures
from lightning_state.actors.metrics.timings import Timing


class Thresholds(msgspec.Struct, frozen=True):
    """Beyond which an alert is raised. Figures are those of the last minute."""

    hit_rate: float = 0.7
    """Below it."""
    average_ms: float = 1_000.0
    p95_ms: float = 500.0
    error_rate: float = 0.01
    memory_share: float = 0.8
    least: int = 100
    """Rates of fewer lookups or requests say nothing yet; latencies count from the first."""


class Alert(msgspec.Struct, frozen=True):
    """One figure beyond its threshold."""

    name: str
    """hit_rate, average_latency, p95_latency, error_rate or memory."""
    subject: str
    """The cache level or operation; empty for the shard as a whole."""
    value: float
    limit: float
    message: str


R11 = Thresholds()
"""The thresholds of the requirements."""


def alerts(figures: ShardFigures, limits: Thresholds = R11) -> list[Alert]:
    """All that hold now; empty when all is well."""
    return [
        *_hit_rates(figures, limits),
        *_latencies([*figures.requests, *figures.verdicts, *figures.commits], limits),
        *_errors(figures, limits),
        *_memory(figures, limits),
    ]


def _hit_rates(figures: ShardFigures, limits: Thresholds) -> Iterator[Alert]:
    for level in figures.levels:
        if level.recent >= limits.least and level.hit_rate < limits.hit_rate:
            message = f"{level.hit_rate:.0%} of {level.recent} lookups were answered by the {level.level}'s memory"
            yield Alert("hit_rate", level.level, level.hit_rate, limits.hit_rate, message)


def _latencies(timings: list[Timing], limits: Thresholds) -> Iterator[Alert]:
    for timing in timings:
        subject = f"{timing.operation} {timing.outcome}"
        if timing.average_ms > limits.average_ms:
            message = f"{subject} takes {timing.average_ms:.0f} ms on average"
            yield Alert("average_latency", subject, timing.average_ms, limits.average_ms, message)
        if timing.p95_ms > limits.p95_ms:
            message = f"{subject} takes {timing.p95_ms:.0f} ms at the 95th percentile"
            yield Alert("p95_latency", subject, timing.p95_ms, limits.p95_ms, message)


def _errors(figures: ShardFigures, limits: Thresholds) -> Iterator[Alert]:
    asked: dict[str, int] = defaultdict(int)
    failed: dict[str, int] = defaultdict(int)
    for timing in figures.requests:
        asked[timing.operation] += timing.recent
        failed[timing.operation] += timing.recent if is_failure(timing.outcome) else 0
    for operation, count in asked.items():
        rate = failed[operation] / count if count else 0.0
        if count >= limits.least and rate > limits.error_rate:
            message = f"{rate:.1%} of {count} {operation} requests failed"
            yield Alert("error_rate", operation, rate, limits.error_rate, message)


def _memory(figures: ShardFigures, limits: Thresholds) -> Iterator[Alert]:
    share = figures.memory.share
    if share > limits.memory_share:
        yield Alert("memory", "", share, limits.memory_share, f"{share:.0%} of the node's memory is in use")
