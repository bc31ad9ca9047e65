"""A shard's process is killed (-9): how long until a write succeeds again."""

from __future__ import annotations

import os
import signal
import time

from lightning_state.actors.client import StateClient
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.processes import name_of
from lightning_state.cluster.benchmarks.errors import BenchmarkError
from lightning_state.cluster.benchmarks.measuring import Round
from lightning_state.cluster.benchmarks.states import agent
from lightning_state.cluster.service import shard_status

_KEY = "killed"
_TIMEOUT_S = 60.0
_PROCESS = "ray::ShardActor"
"""How the kernel names such a process: never kill another one."""


def first_success_after_kill(service: str, client: StateClient, kills: int) -> Round:
    """So many kills of shard 0, the only one of a service on this machine, each after it serves again.

    From the signal to the end of the next write, which the client retries by itself. Raises BenchmarkError when the
    process cannot be the shard's, for example because it runs on another machine.
    """
    durations_us: list[float] = []
    for turn in range(kills):
        client.agents.set(agent(_KEY, turn), expected_version=ANY, timeout_s=_TIMEOUT_S)
        pid = _pid_of_shard(service)
        began = time.perf_counter_ns()
        os.kill(pid, signal.SIGKILL)
        client.agents.set(agent(_KEY, turn + 1), expected_version=ANY, timeout_s=_TIMEOUT_S)
        durations_us.append((time.perf_counter_ns() - began) / 1e3)
    return Round(durations_us)


def _pid_of_shard(service: str) -> int:
    status = shard_status(service, 0)
    name = name_of(status.pid) if status is not None else ""
    if status is None or name != _PROCESS:
        raise BenchmarkError("shard 0 does not run on this machine, so it is not killed")
    return status.pid
