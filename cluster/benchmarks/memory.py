"""What a state costs a shard in memory while it is hot."""

from __future__ import annotations

import time

from lightning_state.actors.client import StateClient
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.shard_actor.runtime import ShardStatus
from lightning_state.cluster.benchmarks.errors import BenchmarkError
from lightning_state.cluster.benchmarks.states import agent
from lightning_state.cluster.service import shard_status

_BATCH = 500
_WARM_UP = 1_000
_SETTLES_WITHIN_S = 30.0
_POLL_S = 0.05


def bytes_per_state(service: str, client: StateClient, count: int, *, prefix: str) -> float:
    """Growth of a shard's resident memory by each of so many new states, once nothing waits for the projections.

    The service must have one shard, and memory enough to keep them all hot. A client that caches makes the shard track
    the keys for it as well. What the first writes of a process bring with them (code, buffers, caches of SQLite) is
    written away before. Raises BenchmarkError when it does not settle.
    """
    _write(client, f"{prefix}-first", _WARM_UP)
    before = _settled(service)
    _write(client, prefix, count)
    after = _settled(service)
    if after.hot_keys < before.hot_keys + count:
        raise BenchmarkError(f"only {after.hot_keys} states are hot after {count} were written")
    return (after.memory_bytes - before.memory_bytes) / count


def _write(client: StateClient, prefix: str, count: int) -> None:
    for begin in range(0, count, _BATCH):
        keys = [f"{prefix}-{number:07d}" for number in range(begin, min(begin + _BATCH, count))]
        for result in client.agents.set_many([agent(key) for key in keys], expected_version=ANY).values():
            if isinstance(result, Exception):
                raise result


def _settled(service: str) -> ShardStatus:
    deadline_s = time.monotonic() + _SETTLES_WITHIN_S
    while True:
        status = shard_status(service, 0)
        if status is not None and status.store is not None and not status.store.unprojected_rows:
            return status
        if time.monotonic() > deadline_s:
            raise BenchmarkError(f"shard 0 of {service} did not come to rest within {_SETTLES_WITHIN_S:.0f} s")
        time.sleep(_POLL_S)
