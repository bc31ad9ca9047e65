"""Latencies: quantiles within 1 %, of the last minute, counts for ever."""

from __future__ import annotations

import random

import pytest

from lightning_state.actors.metrics.levels import HitWindow
from lightning_state.actors.metrics.timings import Timing, Timings


def only(timings: list[Timing]) -> Timing:
    assert len(timings) == 1
    return timings[0]


@pytest.mark.parametrize("shape", ["uniform", "long tail", "two humps"])
def test_quantiles_are_within_two_percent_of_the_true_ones(shape: str) -> None:
    roll = random.Random(shape)
    draw = {
        "uniform": lambda: roll.uniform(0.0001, 0.5),
        "long tail": lambda: roll.lognormvariate(-8, 1.5),
        "two humps": lambda: roll.gauss(0.0002, 0.00001) if roll.random() < 0.7 else roll.gauss(0.4, 0.01),
    }[shape]
    values = [draw() for _ in range(20_000)]
    timings = Timings(0.0)
    for value in values:
        timings.observe("get", "ok", value, 1.0)
    found = only(timings.read(2.0))
    values.sort()
    for quantile, shown_ms in ((0.50, found.p50_ms), (0.95, found.p95_ms), (0.99, found.p99_ms)):
        true_ms = values[int(quantile * (len(values) - 1))] * 1000
        assert shown_ms == pytest.approx(true_ms, rel=0.02), quantile
    assert found.average_ms == pytest.approx(sum(values) / len(values) * 1000)


def test_operations_and_outcomes_are_counted_apart() -> None:
    timings = Timings(0.0)
    timings.observe("set", "ok", 0.001, 0.0, 64)
    timings.observe("set", "version_conflict", 0.002, 0.0)
    timings.observe("get", "ok", 0.003, 0.0)
    found = {(each.operation, each.outcome): (each.count, each.recent) for each in timings.read(1.0)}
    assert found == {("get", "ok"): (1, 1), ("set", "ok"): (64, 64), ("set", "version_conflict"): (1, 1)}


def test_figures_are_of_the_last_minute_and_counts_for_ever() -> None:
    timings = Timings(0.0, half_window_s=30.0)
    timings.observe("get", "ok", 9.0, 1.0)
    timings.observe("get", "ok", 0.001, 40.0)
    both = only(timings.read(41.0))
    assert (both.recent, both.per_s) == (2, pytest.approx(2 / 41))
    newer = only(timings.read(61.0))
    assert (newer.count, newer.recent) == (2, 1)
    assert newer.p99_ms == pytest.approx(1.0, rel=0.02)
    assert newer.per_s == pytest.approx(1 / 31)
    silent = only(timings.read(1_000.0))
    assert (silent.count, silent.recent, silent.per_s, silent.p95_ms) == (2, 0, 0.0, 0.0)


def test_a_long_silence_begins_a_new_window() -> None:
    timings = Timings(0.0, half_window_s=30.0)
    timings.observe("get", "ok", 9.0, 1.0)
    timings.observe("get", "ok", 0.001, 500.0)
    assert timings.window_s(501.0) == 1.0
    assert only(timings.read(501.0)).recent == 1


def test_a_hit_rate_forgets_what_is_older_than_a_minute() -> None:
    window = HitWindow("shard", 0.0)

    def rate(hits: int, misses: int, now_s: float) -> tuple[int, float]:
        level = window.read(hits, misses, now_s, entries=0, size_bytes=0, limit_bytes=0)
        return level.recent, level.hit_rate

    assert rate(0, 0, 0.0) == (0, 0.0)
    assert rate(0, 100, 10.0) == (100, 0.0)
    assert rate(100, 100, 20.0) == (200, 0.5)
    assert rate(200, 100, 75.0) == (200, 1.0)
    assert rate(5, 5, 80.0) == (10, 0.5), "counts that begin anew begin a new window"
