"""What `status` shows a person: every figure whole, in a terminal of 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lightning_state.actors.core.depths import Depths
from lightning_state.actors.core.locks import HeldLock
from lightning_state.actors.metrics.levels import Level
from lightning_state.actors.metrics.memory import Memory
from lightning_state.actors.metrics.quantiles import Quantiles
from lightning_state.actors.metrics.shard import ShardFigures
from lightning_state.actors.metrics.timings import Timing
from lightning_state.actors.shard_actor.runtime import ShardStatus
from lightning_state.actors.store.protocol import StoreStatus
from lightning_state.cluster.cli.status_view import view
from lightning_state.cluster.report import ServiceReport

SLOW = Timing("progress", "validation_unavailable", 1_234_567, 60_000, 1_234.5, 900.0, 1234.56, 2345.67, 3456.78)


def figures(active: int) -> ShardFigures:
    level = Level("shard", 100, 0, 100, 1.0, 10, 10, 10)
    return ShardFigures(60.0, active, [SLOW], [], [], Quantiles(), 0, {}, Depths(), [level], Memory())


def shown(shard: ShardStatus) -> str:
    found = ServiceReport("default", "id", "127.0.0.1:6379", "/data", 3, ["agents"], [shard], ["v"], 1, 0.5, [])
    console = Console(width=80, file=io.StringIO())
    console.print(view(found))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]  # the StringIO above


@pytest.mark.parametrize("state", ["serving", "unreachable"])
def test_all_figures_of_a_busy_shard_are_whole_in_80_columns(state: str) -> None:
    lock = HeldLock(0, "a-1", "me", 1, 1_000, [])
    memory_bytes = size_bytes = 1023 * 2**20
    store = StoreStatus(9_876_543, 9_876_543, 0, 1_234_567, size_bytes)
    identity = (15, state, "", 1_048_576, 4_194_303)
    work = (64, 7_654_321, 2**30, 65_432, 1_111_111, 2_222_222)
    shard = ShardStatus(*identity, *work, memory_bytes, store, [lock], figures(4_321))
    rows = [line.split() for line in shown(shard).splitlines()]
    assert ["15", state, "1048576", "4194303", "1234567", "7654321", "100%", "1023", "MiB", "1023", "MiB"] in rows
    assert ["15", "4321", "65432", "1", "1111111", "2222222"] in rows
    latency = ["15", "progress", "validation_unavailable", "1,234,567", "1,234.5", "1234.56", "2345.67", "3456.78"]
    assert latency in rows
    assert all(len(line.rstrip()) <= 80 for line in shown(shard).splitlines())


def test_a_shard_that_does_not_answer_has_no_figures() -> None:
    shard = ShardStatus(0, "unreachable", "its process does not answer", 7, 8, 0, 0, 0, 0, 0, 0, 0, None)
    rows = [line.split() for line in shown(shard).splitlines()]
    assert ["0", "unreachable", "7", "8", "0", "0", "B"] in rows
    assert ["shard", "0:", "its", "process", "does", "not", "answer"] in rows
