"""What a person sees of a running service, once or refreshed every second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lightning_state.actors.shard_actor.runtime import ShardStatus
from lightning_state.cluster.cli.end_signals import EndSignals
from lightning_state.cluster.report import ServiceReport, report

_EVERY_S = 1.0


def watch_service(service: str, *, json: bool) -> int:
    """Show a service every second until Ctrl-C, which ends it with exit status 0.

    Raises ServiceNotFoundError when there is none, or none any more.
    """
    try:
        if json:
            for found in _reports(service):
                sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
                sys.stdout.flush()
        else:
            _watch(Console(), service)
    except KeyboardInterrupt:
        return 0
    raise AssertionError  # reports end by an error or Ctrl-C only


def view(found: ServiceReport) -> RenderableType:
    """All figures of a service."""
    parts: list[RenderableType] = [
        f"[bold]{found.service}[/bold] on Ray {found.address} · map {found.map_version} · data in {found.data_dir}",
        _shards(found),
        _work(found),
        *(Text(f"shard {shard.number}: {shard.failure}", style="red") for shard in found.shards if shard.failure),
        _latencies(found),
        _pool(found),
        "categories: " + ", ".join(found.categories),
        *(Text(f"alert, shard {each.shard}: {each.alert.message}", style="yellow") for each in found.alerts),
    ]
    return Group(*parts)


def _watch(console: Console, service: str) -> None:
    if not console.is_terminal:
        for found in _reports(service):
            console.print(view(found))
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        for found in _reports(service):
            live.update(view(found), refresh=True)


def _reports(service: str) -> Iterator[ServiceReport]:
    EndSignals().install()  # a shell that starts this in the background has Ctrl-C ignored
    while True:
        began_s = time.monotonic()
        yield report(service)
        time.sleep(max(0.0, began_s + _EVERY_S - time.monotonic()))


def _pool(found: ServiceReport) -> str:
    running, desired = len(found.validators), found.validators_desired
    return f"validators: {running} of {desired} wanted, utilisation {found.validator_utilisation:.0%}"


def _narrow_table(columns: tuple[str, ...]) -> Table:
    # 80 columns have to hold it.
    return Table(*columns, box=None, padding=(0, 1, 0, 0), pad_edge=False)


def _shards(found: ServiceReport) -> Table:
    columns = ("shard", "state", "epoch", "pid", "keys", "hot", "hits", "memory", "disk")
    table = _narrow_table(columns)
    for shard in found.shards:
        table.add_row(
            str(shard.number),
            shard.state,
            str(shard.epoch),
            str(shard.pid),
            str(shard.store.keys) if shard.store else "",
            str(shard.hot_keys),
            _hit_rate(shard),
            _size(shard.memory_bytes),
            _size(shard.store.size_bytes) if shard.store else "",
        )
    return table


def _work(found: ServiceReport) -> Table:
    table = _narrow_table(("shard", "active", "pending", "locks", "commits", "rows"))
    for shard in found.shards:
        table.add_row(
            str(shard.number),
            str(shard.figures.active) if shard.figures else "",
            str(shard.pending),
            str(len(shard.locks)),
            str(shard.commits),
            str(shard.rows_committed),
        )
    return table


def _latencies(found: ServiceReport) -> RenderableType:
    columns = ("shard", "operation", "outcome", "count", "per s", "p50 ms", "p95 ms", "p99 ms")
    table = _narrow_table(columns)
    for shard in found.shards:
        if shard.figures is None:
            continue
        for timing in (*shard.figures.requests, *shard.figures.verdicts, *shard.figures.commits):
            quantiles = (timing.p50_ms, timing.p95_ms, timing.p99_ms)
            table.add_row(
                str(shard.number),
                timing.operation,
                timing.outcome,
                f"{timing.count:,}",
                f"{timing.per_s:,.1f}",
                *(f"{value:.2f}" if timing.recent else "" for value in quantiles),
            )
    return table if table.row_count else ""


def _hit_rate(shard: ShardStatus) -> str:
    level = next((each for each in shard.figures.levels if each.recent), None) if shard.figures else None
    return f"{level.hit_rate:.0%}" if level else ""


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:  # noqa: PLR2004  # the unit's own factor
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
