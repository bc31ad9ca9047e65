"""Alerts of R11: each at its threshold, none below."""

from __future__ import annotations

import msgspec
import pytest

from lightning_state.actors.core.depths import Depths
from lightning_state.actors.metrics.alerts import alerts
from lightning_state.actors.metrics.levels import Level
from lightning_state.actors.metrics.memory import Memory, read_memory
from lightning_state.actors.metrics.quantiles import Quantiles
from lightning_state.actors.metrics.shard import ShardFigures
from lightning_state.actors.metrics.timings import Timing


def timing(operation: str, outcome: str, recent: int, average_ms: float = 1.0, p95_ms: float = 1.0) -> Timing:
    return Timing(operation, outcome, recent, recent, 1.0, average_ms, 1.0, p95_ms, p95_ms)


def level(recent: int, hit_rate: float) -> Level:
    return Level("shard", 0, 0, recent, hit_rate, 0, 0, 0)


WELL = ShardFigures(
    window_s=60.0,
    active=0,
    requests=[timing("get", "ok", 1_000, 999.0, 499.0), timing("get", "shard_unavailable", 10)],
    verdicts=[],
    commits=[],
    commit_rows=Quantiles(),
    rows=0,
    refusals={},
    depths=Depths(),
    levels=[level(1_000, 0.71)],
    memory=Memory(1, 79, 100),
)


def names(**changed: object) -> list[tuple[str, str]]:
    return [(each.name, each.subject) for each in alerts(msgspec.structs.replace(WELL, **changed))]


def test_nothing_is_said_while_all_is_well() -> None:
    assert names() == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"levels": [level(1_000, 0.69)]}, ("hit_rate", "shard")),
        ({"requests": [timing("set", "ok", 1, average_ms=1_001.0)]}, ("average_latency", "set ok")),
        ({"requests": [timing("set", "ok", 1, p95_ms=501.0)]}, ("p95_latency", "set ok")),
        ({"commits": [timing("commit", "ok", 1, p95_ms=501.0)]}, ("p95_latency", "commit ok")),
        (
            {"requests": [timing("set", "ok", 980), timing("set", "overloaded", 20)]},
            ("error_rate", "set"),
        ),
        ({"memory": Memory(1, 81, 100)}, ("memory", "")),
    ],
)
def test_each_threshold_raises_its_alert(changed: dict[str, object], expected: tuple[str, str]) -> None:
    assert names(**changed) == [expected]


@pytest.mark.parametrize("outcome", ["version_conflict", "absent", "validation_failed", "not_found", "not_owner"])
def test_what_is_refused_as_it_must_be_is_no_error(outcome: str) -> None:
    assert names(requests=[timing("set", "ok", 500), timing("set", outcome, 500)]) == []


def test_rates_of_a_handful_say_nothing_yet() -> None:
    assert names(levels=[level(99, 0.0)], requests=[timing("get", "shard_unavailable", 99)]) == []


def test_memory_is_read_from_the_system() -> None:
    found = read_memory()
    assert 0 < found.resident_bytes < found.total_bytes
    assert 0 < found.used_bytes <= found.total_bytes
    assert 0 < found.share <= 1
