"""The cache (C8) on a real Ray: coherent between processes, empty after faults, never staler than promised."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, cast

import pytest
import ray
from tests.service_processes import end, shard_of, shard_pid
from tests.waiting import until

from lightning_state import ANY, AgentState, LightningStateError, StateClient, VerificationState
from lightning_state.cluster.service import Service

PROMISED_S = 3.0


@pytest.fixture
def other(service: Service) -> Generator[StateClient]:
    with service.client() as connected:
        yield connected


def agent(key: str, kind: str = "x") -> AgentState:
    return AgentState(agent_id=key, agent_type=kind)


def counted(client: StateClient) -> dict[str, Any]:
    return cast("dict[str, Any]", client.metrics()["cache"])


def is_cached(client: StateClient, key: str) -> bool:
    return client._calls.cache.holds(("agents", key))


def cached(client: StateClient, key: str) -> AgentState:
    """Read until the answer is from memory."""

    def read() -> AgentState | None:
        state = client.agents.get(key)
        return state if is_cached(client, key) else None

    return cast("AgentState", until(f"{key} is cached", read))


@ray.remote(num_cpus=0, max_retries=0)
def write_elsewhere(client: StateClient, key: str, kind: str) -> str:
    """Another process: writes, and says what a reader must have seen."""
    with client:
        client.agents.set(agent(key, kind), expected_version=ANY)
        return client.token()


@ray.remote(num_cpus=0, max_retries=0)
def read_elsewhere(client: StateClient, key: str, token: str) -> str:
    with client:
        return client.agents.get(key, at_least=token).agent_type


def test_a_cached_read_asks_nobody_and_own_writes_are_seen(client: StateClient, key: str) -> None:
    client.agents.set(agent(key))
    state = cached(client, key)
    hits = counted(client)["hits"]
    assert client.agents.get(key) is state
    assert counted(client)["hits"] == hits + 1
    for version in range(2, 30):
        client.agents.patch(key, {"agentType": str(version)}, expected_version=version - 1)
        assert client.agents.get(key).version == version


def test_a_write_of_another_process_is_seen_within_a_push_delay(client: StateClient, key: str) -> None:
    client.agents.set(agent(key))
    cached(client, key)
    ray.get(write_elsewhere.remote(client, key, "elsewhere"))
    assert until("the push arrives", lambda: client.agents.get(key).agent_type == "elsewhere", within_s=PROMISED_S)


def test_a_token_of_another_process_is_read_at_least(client: StateClient, key: str) -> None:
    client.agents.set(agent(key))
    cached(client, key)
    for round_ in range(3):
        token = ray.get(write_elsewhere.remote(client, key, f"e{round_}"))
        assert client.agents.get(key, at_least=token).agent_type == f"e{round_}"
    assert ray.get(read_elsewhere.remote(client, key, client.token())) == "e2"


def test_a_source_never_misses_a_member(client: StateClient, other: StateClient, key: str) -> None:
    for number in range(30):
        other.verifications.set(VerificationState(verification_id=f"{key}-{number}", source_id=key, content="x"))
        within = until(
            "the new member is listed",
            lambda number=number: len(client.verifications.for_source(key)) == number + 1,
            within_s=PROMISED_S,
        )
        assert within
    hits = counted(client)["hits"]
    client.verifications.for_source(key)
    client.verifications.for_source(key)
    assert counted(client)["hits"] > hits
    other.verifications.delete(f"{key}-0", expected_version=1)
    assert until("it is gone", lambda: len(client.verifications.for_source(key)) == 29, within_s=PROMISED_S)


def test_a_killed_shard_empties_what_it_served(service: Service, client: StateClient, key: str) -> None:
    client.agents.set(agent(key))
    cached(client, key)
    shard = shard_of(service.name)(key)
    end(shard_pid(service.name, shard))
    until("its entries are gone", lambda: not is_cached(client, key), within_s=PROMISED_S)
    assert client.agents.get(key).version == 1
    cached(client, key)  # by the successor's channel


def test_a_stopped_shard_is_not_answered_for(service: Service, client: StateClient, key: str) -> None:
    client.agents.set(agent(key))
    cached(client, key)
    shard = shard_of(service.name)(key)
    os.kill(shard_pid(service.name, shard), signal.SIGSTOP)  # the directory replaces it
    began_s = time.monotonic()
    until("nothing is answered from memory any more", lambda: not is_cached(client, key), within_s=2 * PROMISED_S)
    assert time.monotonic() - began_s <= PROMISED_S + 1.0  # of which one is for a busy machine
    assert client.agents.get(key).version == 1


class Writer:
    """Counts up in one key, in a process of its own, and remembers when each count was acknowledged."""

    def __init__(self, client: StateClient, key: str) -> None:
        self._client = client
        self._key = key
        self._over = False
        self._acknowledged_s: dict[int, float] = {}

    def run(self) -> None:
        number = 0
        while not self._over:
            number += 1
            with suppress(LightningStateError):
                self._client.agents.set(agent(self._key, str(number)), expected_version=ANY)
                self._acknowledged_s[number] = time.monotonic()  # of the machine, not of the process

    def count(self) -> int:
        return len(self._acknowledged_s)

    def stop(self) -> dict[int, float]:
        self._over = True
        return self._acknowledged_s


def test_staleness_under_faults_is_measured_and_below_the_promise(
    service: Service, client: StateClient, key: str, record_property: Callable[[str, object], None]
) -> None:
    """A reader compares what it reads with what was acknowledged elsewhere, while the shard is killed and stopped."""
    client.agents.set(agent(key, "0"))
    writer = cast("Any", ray.remote(Writer)).options(num_cpus=0, max_concurrency=2).remote(client, key)
    last_read_s: dict[int, float] = {}
    reads = 0
    over = threading.Event()

    def read() -> None:
        nonlocal reads
        while not over.is_set():
            began_s = time.monotonic()
            with suppress(LightningStateError):
                last_read_s[int(client.agents.get(key).agent_type)] = began_s
                reads += 1

    reading = threading.Thread(target=read)
    reading.start()
    writing = writer.run.remote()
    try:
        number = shard_of(service.name)(key)
        for signal_number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL, None):
            enough = cast("int", ray.get(writer.count.remote())) + 300
            until(
                "writes go on", lambda enough=enough: cast("int", ray.get(writer.count.remote())) > enough, within_s=60
            )
            if signal_number is not None:
                os.kill(shard_pid(service.name, number), signal_number)
    finally:
        over.set()
        reading.join(60)
    acknowledged_s: dict[int, float] = ray.get(writer.stop.remote())
    ray.get(writing)
    ray.kill(writer)
    staleness_s = [last_s - overtaken(acknowledged_s, seen) for seen, last_s in last_read_s.items()]
    largest_s = max(0.0, *staleness_s)
    hits = counted(client)["hits"]
    record_property("largest_staleness_s", largest_s)
    sys.stdout.write(
        f"\n{reads} reads, {len(acknowledged_s)} writes, {hits} hits, largest staleness {largest_s:.4f} s\n"
    )
    assert hits > 0
    assert len(last_read_s) > 100
    assert largest_s <= PROMISED_S


def overtaken(acknowledged_s: dict[int, float], number: int) -> float:
    """When the first write after this one was acknowledged."""
    return min((moment_s for later, moment_s in acknowledged_s.items() if later > number), default=float("inf"))
