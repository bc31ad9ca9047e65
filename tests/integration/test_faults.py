"""Faults under load (C1, C2, C3, C5, C9, C13): what was acknowledged stays, nothing is twice, service returns."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from tests.service_processes import (
    directory_pid,
    end,
    is_gone,
    shard_of,
    shard_pid,
    state_of,
    stop,
    supervisor_pid,
    validator_pid,
)
from tests.traffic import Traffic, note
from tests.waiting import until

from lightning_state import start
from lightning_state.actors.processes import start_time_ticks
from lightning_state.actors.wire.names import NAMESPACE, shard_name
from lightning_state.cluster.service import Service

pytestmark = pytest.mark.usefixtures("ray_cluster")

BEFORE = 60
AFTER = 40
"""Acknowledged writes before and after the fault, at least: a run with fewer proves nothing."""


@contextmanager
def faulted(service_name: str, tmp_path: Path, name: str, **settings: Any) -> Generator[tuple[Service, Traffic]]:
    """A service under load. Left when the fault is over: then every promise is checked by both witnesses."""
    data_dir = tmp_path / "data"
    with start(data_dir=data_dir, service=service_name, shards=2, **settings) as service:
        with Traffic(service_name) as traffic:
            traffic.await_more(BEFORE)
            yield service, traffic
            traffic.await_more(AFTER)
        unknown = len(traffic.unknown)
        traffic.settle()
        traffic.check_served()
    rows = traffic.check_stored(data_dir)
    note(
        f"{name}: {len(traffic.acknowledged)} acknowledged, {len(traffic.refused)} refused {traffic.codes()}, "
        f"{unknown} of unknown outcome, {len(rows)} journal rows, slowest write {traffic.slowest_s():.2f} s"
    )


def report(name: str, traffic: Traffic, fault_s: float, keys_of: Callable[[str], bool] = lambda _: True) -> None:
    note(f"{name}: first success {traffic.recovered_s(fault_s, keys_of):.2f} s after the fault")


def test_a_killed_shard_loses_nothing_and_serves_again(service_name: str, tmp_path: Path) -> None:
    with faulted(service_name, tmp_path, "kill -9 shard") as (_, traffic):
        owner, pid, fault_s = shard_of(service_name), shard_pid(service_name, 1), time.monotonic()
        end(pid)
        report("kill -9 shard", traffic, fault_s, lambda key: owner(key) == 1)
        assert shard_pid(service_name, 1) != pid


def test_a_killed_validator_delays_writes_and_fails_none_for_good(service_name: str, tmp_path: Path) -> None:
    with faulted(service_name, tmp_path, "kill -9 validator") as (_, traffic):
        pid, fault_s = validator_pid(service_name), time.monotonic()
        end(pid)
        report("kill -9 validator", traffic, fault_s)


def test_killed_directory_and_pool_supervisor_are_not_missed_by_writers(service_name: str, tmp_path: Path) -> None:
    with faulted(service_name, tmp_path, "kill -9 directory, supervisor") as (_, traffic):
        pid, pool, fault_s = directory_pid(service_name), supervisor_pid(service_name), time.monotonic()
        end(pid)
        end(pool)
        report("kill -9 directory, supervisor", traffic, fault_s)
        until("the directory is back", lambda: directory_pid(service_name) != pid)


def test_everything_killed_at_once_comes_back_by_itself(service_name: str, tmp_path: Path) -> None:
    with faulted(service_name, tmp_path, "kill -9 everything") as (_, traffic):
        owner = shard_of(service_name)
        pids = [shard_pid(service_name, 0), shard_pid(service_name, 1), directory_pid(service_name)]
        pids += [validator_pid(service_name), supervisor_pid(service_name)]
        fault_s = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for number in (0, 1):
            report(f"kill -9 everything, shard {number}", traffic, fault_s, lambda key, n=number: owner(key) == n)
        assert {shard_pid(service_name, 0), shard_pid(service_name, 1)}.isdisjoint(pids)


def test_a_stopped_shard_is_noticed_replaced_and_ended(service_name: str, tmp_path: Path) -> None:
    with faulted(service_name, tmp_path, "SIGSTOP shard") as (_, traffic):
        owner, pid, fault_s = shard_of(service_name), shard_pid(service_name, 0), time.monotonic()
        started = start_time_ticks(pid)
        stop(pid)
        report("SIGSTOP shard", traffic, fault_s, lambda key: owner(key) == 0)
        check_fenced(pid, started)


def test_a_shard_stopped_past_its_replacement_is_fenced(service_name: str, tmp_path: Path) -> None:
    # The directory is patient here: the successor itself finds the store held by a process that will never let go.
    with faulted(service_name, tmp_path, "SIGSTOP, replaced by hand", shard_silent_s=60) as (_, traffic):
        owner, pid, fault_s = shard_of(service_name), shard_pid(service_name, 0), time.monotonic()
        started = start_time_ticks(pid)
        stop(pid)
        ray.kill(ray.get_actor(shard_name(service_name, 0), NAMESPACE), no_restart=False)
        report("SIGSTOP, replaced by hand", traffic, fault_s, lambda key: owner(key) == 0)
        check_fenced(pid, started)


def test_a_shard_stopped_for_a_moment_goes_on(service_name: str, tmp_path: Path) -> None:
    with faulted(service_name, tmp_path, "SIGSTOP, SIGCONT") as (_, traffic):
        pid = shard_pid(service_name, 0)
        stop(pid)
        assert state_of(pid) == "T"
        traffic.await_more(1)  # of the other shard
        os.kill(pid, signal.SIGCONT)


def check_fenced(pid: int, started_ticks: int | None) -> None:
    """The stopped process has ended, or is let go on now: what it still does must not show (checked afterwards)."""
    if not is_gone(pid, started_ticks):
        os.kill(pid, signal.SIGCONT)
    until("the fenced process is gone", lambda: is_gone(pid, started_ticks))
