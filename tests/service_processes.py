"""The processes of a running service: found, ended, stopped, and seen to be so in /proc."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import ray
from ray.exceptions import RayError
from tests.waiting import until

from lightning_state.actors.processes import start_time_ticks
from lightning_state.actors.wire.names import NAMESPACE, directory_name, pool_name, validator_name
from lightning_state.actors.wire.validator_transport import RayTransport, ping
from lightning_state.cluster.service import service_map, shard_status


def shard_pid(service: str, number: int) -> int:
    """The process that serves a shard now."""
    status = until(f"shard {number} serves", lambda: _serving(service, number))
    return cast("int", status.pid)


def directory_pid(service: str) -> int:
    """The directory's process, waited for while it restarts."""

    def ask() -> int:
        with suppress(RayError, ValueError):
            return cast("int", ray.get(ray.get_actor(directory_name(service), NAMESPACE).ping.remote(), timeout=5))
        return 0

    return until("the directory answers", ask)


def validator_pid(service: str, number: int = 0) -> int:
    """A validator's process."""
    return asyncio.run(ping(RayTransport(service), validator_name(service, number), 10)).pid


def supervisor_pid(service: str) -> int:
    """The process of the pool's supervisor."""
    return asyncio.run(RayTransport(service).members()).pid


def end(pid: int) -> None:
    """kill -9, and proof that it took effect."""
    started = start_time_ticks(pid)
    os.kill(pid, signal.SIGKILL)
    until(f"process {pid} is gone", lambda: is_gone(pid, started))


def stop(pid: int) -> None:
    """SIGSTOP, and proof that it took effect."""
    os.kill(pid, signal.SIGSTOP)
    until(f"process {pid} is stopped", lambda: state_of(pid) == "T")


def is_gone(pid: int, started_ticks: int | None) -> bool:
    """Whether that process has ended; its remains may still wait for their parent."""
    return start_time_ticks(pid) != started_ticks or state_of(pid) in {"Z", "X", ""}


def state_of(pid: int) -> str:
    """The state letter of /proc/<pid>/stat; empty when there is no such process."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    return ""


def shard_of(service: str, category: str = "agents") -> Callable[[str], int]:
    """Key → the number of the shard that owns it."""
    current = service_map(service)
    return lambda key: current.locate(current.categories[category], key)[1]


def crash(service: str) -> None:
    """End every process of a service at once, nothing closed, and let none come back: as a power switch would."""
    named = cast("list[dict[str, str]]", ray.util.list_named_actors(all_namespaces=True))
    names = [each["name"] for each in named if each["name"].startswith(f"lightning-state/{service}/")]
    pids = [shard_pid(service, number) for number in range(len(service_map(service).shards))]
    pids.append(directory_pid(service))
    started = {pid: start_time_ticks(pid) for pid in pids}
    for name in sorted(names, key=lambda name: name not in {directory_name(service), pool_name(service)}):
        with suppress(ValueError, RayError):
            ray.kill(ray.get_actor(name, NAMESPACE))
    until("every process is gone", lambda: all(is_gone(pid, ticks) for pid, ticks in started.items()))


def _serving(service: str, number: int) -> Any:
    status = shard_status(service, number)
    return status if status is not None and status.state == "serving" else None


def descendants(pid: int) -> dict[int, int | None]:
    """A process and all it started, directly or not, with their start times."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {each: start_time_ticks(each) for each in found}


def end_all(processes: dict[int, int | None]) -> None:
    """kill -9 of exactly these processes, all at once, and proof that they are gone."""
    for pid, ticks in processes.items():
        if start_time_ticks(pid) == ticks:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    until("all of them are gone", lambda: all(is_gone(pid, ticks) for pid, ticks in processes.items()))
