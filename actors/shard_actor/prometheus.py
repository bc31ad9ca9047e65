"""A shard's figures in Prometheus, through Ray's own exporter: brought up to date from a snapshot, never per request.

Ray adds its prefix `ray_`, and `_total` to counters. Quantiles are gauges with the tag `quantile`, as in a Prometheus
summary: Ray's histogram takes one value at a time, 2 µs each, and a snapshot has them summed up already.
"""

from __future__ import annotations

from collections.abc import Sequence

from ray.util.metrics import Counter, Gauge

from lightning_state.actors.metrics.shard import ShardFigures
from lightning_state.actors.metrics.timings import Timing

_PREFIX = "lightning_state"
_SHARD = ("service", "shard")


class PrometheusExport:
    """The metrics of one shard. Not to be made twice in a process. Every update gives every declared tag."""

    def __init__(self, service: str, shard: int) -> None:
        self._tags = {"service": service, "shard": str(shard)}
        self._counted: dict[tuple[str, ...], int] = {}
        self._counters = {
            "requests": _counter("requests", "Requests answered.", "operation", "outcome"),
            "verdicts": _counter("verdicts", "Verdicts of VERL.", "operation", "outcome"),
            "commits": _counter("commits", "Commits in the store.", "operation", "outcome"),
            "rows": _counter("rows_committed", "Journal rows written."),
            "hits": _counter("cache_hits", "Lookups answered by a cache level.", "level"),
            "misses": _counter("cache_misses", "Lookups a cache level passed on.", "level"),
        }
        self._latencies = {
            "requests": _gauge("request_latency_seconds", "Arrival to reply.", "operation", "outcome", "quantile"),
            "verdicts": _gauge("verdict_latency_seconds", "Asking to answer.", "operation", "outcome", "quantile"),
            "commits": _gauge("commit_latency_seconds", "One commit.", "operation", "outcome", "quantile"),
        }
        self._rows = _gauge("commit_rows", "Rows of one commit, since the start.", "quantile")
        self._active = _gauge("active_frames", "Frames not answered completely.")
        self._depth = _gauge("writes", "Writes by where they are; pending is all of them.", "stage")
        self._hit_rate = _gauge("cache_hit_rate", "Of the last minute.", "level")
        self._entries = _gauge("cache_entries", "States held by a cache level.", "level")
        self._cache_bytes = _gauge("cache_bytes", "Memory of a cache level.", "level")
        self._memory = _gauge("memory_bytes", "Resident in this process, used and total of its node.", "kind")

    def update(self, figures: ShardFigures) -> None:
        """Publish a snapshot: counters grow by what is new since the last one."""
        for name, timings in (
            ("requests", figures.requests),
            ("verdicts", figures.verdicts),
            ("commits", figures.commits),
        ):
            self._time(name, timings)
        self._count("rows", figures.rows)
        for quantile, rows in (
            ("0.5", figures.commit_rows.p50),
            ("0.95", figures.commit_rows.p95),
            ("0.99", figures.commit_rows.p99),
        ):
            self._set(self._rows, rows, quantile=quantile)
        self._set(self._active, figures.active)
        for stage in figures.depths.__struct_fields__:
            self._set(self._depth, getattr(figures.depths, stage), stage=stage)
        for level in figures.levels:
            self._count("hits", level.hits, level=level.level)
            self._count("misses", level.misses, level=level.level)
            self._set(self._hit_rate, level.hit_rate, level=level.level)
            self._set(self._entries, level.entries, level=level.level)
            self._set(self._cache_bytes, level.size_bytes, level=level.level)
        memory = figures.memory
        self._set(self._memory, memory.resident_bytes, kind="resident")
        self._set(self._memory, memory.used_bytes, kind="node_used")
        self._set(self._memory, memory.total_bytes, kind="node_total")

    def _time(self, name: str, timings: Sequence[Timing]) -> None:
        latency = self._latencies[name]
        for timing in timings:
            self._count(name, timing.count, operation=timing.operation, outcome=timing.outcome)
            for quantile, value_ms in (("0.5", timing.p50_ms), ("0.95", timing.p95_ms), ("0.99", timing.p99_ms)):
                tags = {"operation": timing.operation, "outcome": timing.outcome, "quantile": quantile}
                self._set(latency, value_ms / 1000, **tags)

    def _count(self, name: str, total: int, **tags: str) -> None:
        place = (name, *tags.values())
        before = self._counted.get(place, 0)
        # Below it when a memory began anew: what it counts from there on is new.
        grown = total - before if total >= before else total
        self._counted[place] = total
        if grown:
            self._counters[name].inc(grown, tags={**self._tags, **tags})

    def _set(self, gauge: Gauge, value: float, **tags: str) -> None:
        gauge.set(value, tags={**self._tags, **tags})


def _counter(name: str, description: str, *tags: str) -> Counter:
    return Counter(f"{_PREFIX}_{name}", description, (*_SHARD, *tags))


def _gauge(name: str, description: str, *tags: str) -> Gauge:
    return Gauge(f"{_PREFIX}_{name}", description, (*_SHARD, *tags))
