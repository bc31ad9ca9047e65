"""The whole benchmark: starts a service and its peers, lets them take turns, and ends them all."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from lightning_state.actors.client import AsyncStateClient, StateClient
from lightning_state.actors.client.connecting import join
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import ValidationUnavailableError
from lightning_state.actors.wire.handle_async import AsyncHandleTransport
from lightning_state.actors.wire.handle_sync import HandleTransport
from lightning_state.cluster.benchmarks.errors import PeerAbsentError
from lightning_state.cluster.benchmarks.expected import NOT_HERE
from lightning_state.cluster.benchmarks.kills import first_success_after_kill
from lightning_state.cluster.benchmarks.measuring import Record, Side, in_turns
from lightning_state.cluster.benchmarks.memory import bytes_per_state
from lightning_state.cluster.benchmarks.peers.plain_actor import PlainActorPeer
from lightning_state.cluster.benchmarks.peers.postgres import PostgresPeer
from lightning_state.cluster.benchmarks.peers.redis import RedisPeer
from lightning_state.cluster.benchmarks.report import Plan, Report, make_report, this_machine
from lightning_state.cluster.benchmarks.sides.client import IN_FLIGHT, ClientSide
from lightning_state.cluster.benchmarks.sides.http import CONNECTIONS, HttpSide
from lightning_state.cluster.benchmarks.sides.keys import FEW, KeysSide
from lightning_state.cluster.benchmarks.starting import start_in_turns
from lightning_state.cluster.benchmarks.states import agent
from lightning_state.cluster.service import Service, shard_status, start
from lightning_state.serve.environment import free_port
from lightning_state.serve.start import application_name

Say = Callable[[str], None]

_WRITABLE_WITHIN_S = 120.0

_STATES_A_CALL = 50
"""States whose memory is measured, for each call: 20,000 in a quick run."""

_OPERATIONS = (
    "get cached",
    "get",
    "get by Unix socket",
    "set",
    "invalidate",
    "get_many 10",
    "10 gets",
    "get_many 100",
    "100 gets",
    "set_many 100",
    "100 sets",
    "writes in flight",
    "reads in flight",
    "typical",
    "typical in flight",
    "32 connections get",
    "32 connections put",
)


def run_benchmark(
    plan: Plan, directory: Path, say: Say, *, deferred: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Report:
    """Measure everything of a plan; files are kept below `directory`, whose disk is measured, and removed afterwards.

    Starts a Ray of its own unless this process is on one. `deferred` puts off what would interrupt its start and end.
    Raises BenchmarkError for answers that cannot be counted, and what starting a service raises.
    """
    began_s = time.monotonic()
    machine = this_machine(directory)
    run = _Run(plan, say, deferred)
    with tempfile.TemporaryDirectory(prefix=".lightning-state-bench-", dir=directory) as name:
        files = Path(name)
        files.chmod(0o711)  # a peer that may not run as root has its files in it
        run.beside_each_other(files)
        if plan.keys:
            run.by_number_of_keys(files)
        if plan.starts:
            say("starting and stopping, in turns")
            start_in_turns(files, plan.starts, run.record)
    return make_report(
        plan,
        machine,
        run.record.figures(),
        versions=run.versions,
        absent={**NOT_HERE, **run.absent},
        took_s=time.monotonic() - began_s,
    )


class _Run:
    """What is gathered on the way."""

    def __init__(self, plan: Plan, say: Say, deferred: Callable[[], AbstractContextManager[None]]) -> None:
        self.plan = plan
        self._deferred = deferred
        self.record = Record()
        self.absent: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self._say = say

    def beside_each_other(self, files: Path) -> None:
        """A service and its peers."""
        with self._service("", files / "data", free_port()) as service, service.client() as client:
            self._memory(service.name, client)
            self._take_turns(service, client, files)
            status = shard_status(service.name, 0)
            if status is not None:
                self.record.value("service/memory", status.memory_bytes, "B")
            if self.plan.kills:
                self._say("killing the shard")
                killed = first_success_after_kill(service.name, client, self.plan.kills)
                self.record.add("service/first write after kill", killed)

    def by_number_of_keys(self, files: Path) -> None:
        """A service with few states and one with many."""
        calls = self.plan.calls
        with (
            self._service("-few", files / "few") as few,
            few.client() as client_of_few,
            self._service("-many", files / "many") as many,
            many.client() as client_of_many,
        ):
            sides: list[Side] = [
                KeysSide(few, client_of_few, FEW, calls=calls, in_flight=calls * 10),
                KeysSide(many, client_of_many, self.plan.keys, calls=calls, in_flight=calls * 10),
            ]
            self._say(f"writing {self.plan.keys:,} states")
            for side in sides:
                side.warm_up()
            in_turns(sides, _OPERATIONS, self.plan.rounds, self.record, self._say)

    def _memory(self, service: str, client: StateClient) -> None:
        self._say("memory of a state")
        count = self.plan.calls * _STATES_A_CALL
        with StateClient(HandleTransport(service, join(service, None, None)), service=service) as by_handle:
            untracked = bytes_per_state(service, by_handle, count, prefix="memory-untracked")
        self.record.value("service/memory of a state", untracked, "B")
        tracked = bytes_per_state(service, client, count, prefix="memory-tracked")
        self.record.value("service/memory of a tracked state", tracked, "B")

    @contextmanager
    def _service(self, suffix: str, data_dir: Path, http_port: int | None = None) -> Generator[Service]:
        """One shard: what is compared with one actor, one server."""
        self._say("starting a service")
        with self._deferred():
            name = f"benchmark-{os.getpid()}{suffix}"
            service = start(data_dir=data_dir, service=name, shards=1, http_port=http_port)
        try:
            _wait_until_writable(service)
            yield service
        finally:
            self._say("stopping the service")
            with self._deferred():
                service.stop()

    def _take_turns(self, service: Service, client: StateClient, files: Path) -> None:
        from lightning_state.cluster.benchmarks.peers.constant_route import (  # noqa: PLC0415  # it imports Serve
            ConstantRoutePeer,
            replicas,
        )

        calls = self.plan.calls
        http = service.http
        with ExitStack() as stack:
            sides: list[Side] = [*self._clients(service, client, stack)]
            self._say("starting the peers")
            sides.append(stack.enter_context(PlainActorPeer(calls=calls, in_flight=calls * 3, lanes=IN_FLIGHT)))
            socket = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ls-redis-"))) / "redis.sock"
            redis = RedisPeer(files / "redis", socket, calls=calls, in_flight=calls * 5, lanes=IN_FLIGHT)
            postgres = PostgresPeer(files, calls=calls)
            for peer in (redis, postgres):
                try:
                    sides.append(stack.enter_context(peer))
                except PeerAbsentError as error:
                    self.absent[peer.name] = str(error)
                else:
                    self.versions |= peer.versions()
            assert http is not None  # noqa: S101  # it was started with a port
            sides.append(HttpSide(http, calls=calls, in_flight=calls * 4))
            constant = ConstantRoutePeer(http.host, http.port, calls=calls, in_flight=calls * 4, lanes=CONNECTIONS)
            sides.append(stack.enter_context(constant))
            self._say("warming up")
            for side in sides:
                side.warm_up()
            in_turns(sides, _OPERATIONS, self.plan.rounds, self.record, self._say)
            # A ratio of two applications with different numbers of replicas would be one of luck.
            self.record.value("http/replicas at the end", replicas(application_name(service.name)), "")
            self.record.value(f"{constant.name}/replicas at the end", constant.replicas(), "")

    def _clients(self, service: Service, client: StateClient, stack: ExitStack) -> Iterator[ClientSide]:
        """The service's own client over its channel, and one that has only actor handles."""
        name, calls = service.name, self.plan.calls
        other = stack.enter_context(service.client())
        yield ClientSide(
            "channel",
            client,
            other,
            service.async_client,
            calls=calls,
            hits=calls * 10,
            in_flight=calls * 20,
            large_batches=True,
        )

        def by_handle() -> AsyncStateClient:
            return AsyncStateClient(AsyncHandleTransport(name, join(name, None, None)), service=name)

        handles = StateClient(HandleTransport(name, join(name, None, None)), service=name)
        yield ClientSide(
            "actor handle",
            stack.enter_context(handles),
            other,
            by_handle,
            calls=calls,
            hits=calls,
            in_flight=calls * 5,
            large_batches=False,
        )


def _wait_until_writable(service: Service) -> None:
    """A service is ready before its validators are, which a busy machine starts slowly."""
    deadline_s = time.monotonic() + _WRITABLE_WITHIN_S
    with service.client() as client:
        while True:
            try:
                client.agents.set(agent("first"), expected_version=ANY)
            except ValidationUnavailableError:  # after seconds of waiting
                if time.monotonic() > deadline_s:
                    raise
            else:
                return
