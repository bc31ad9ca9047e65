"""The service by its own client: blocking one by one, asyncio with many in flight."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lightning_state.actors.client import AsyncStateClient, StateClient
from lightning_state.actors.core.messages import ANY
from lightning_state.cluster.benchmarks import typical
from lightning_state.cluster.benchmarks.measuring import Operation, Round, in_flight, one_by_one, run, several
from lightning_state.cluster.benchmarks.states import agent

IN_FLIGHT = 64

_FEW, _MANY = 10, 100
_WARM_UP = 100


class ClientSide:
    """One way of a client to the service: it is told which by the clients it is given."""

    def __init__(
        self,
        name: str,
        client: StateClient,
        other: StateClient,
        connect: Callable[[], AsyncStateClient],
        *,
        calls: int,
        hits: int,
        in_flight: int,
        large_batches: bool,
    ) -> None:
        self.name = name
        self._client = client
        self._other = other
        self._connect = connect
        self._calls = calls
        self._hits = hits
        """Calls of what is answered from memory."""
        self._in_flight = in_flight
        """Calls with many in flight: enough of them that starting and ending do not show."""
        self._large_batches = large_batches
        slug = name.replace(" ", "-")
        self._slug = slug
        self._key = f"{slug}-one"
        self._keys = [f"{slug}-many-{number:03d}" for number in range(_MANY)]
        self._lanes = [f"{slug}-lane-{number:03d}" for number in range(IN_FLIGHT)]
        self._turns = tuple(agent(self._key, turn) for turn in range(2))
        self._version = 0
        self._seed = 0

    def warm_up(self) -> None:
        """Connect, and have every state there."""
        agents = self._client.agents
        everything = [self._key, *self._keys, *self._lanes, *typical.keys(self._slug)]
        agents.set_many([agent(key, 1) for key in everything], expected_version=ANY)
        self._version = agents.get(self._key, consistency="linearizable").version
        for call in (self._get, self._get_cached, self._set):
            one_by_one(call, _WARM_UP)

    def operations(self) -> Mapping[str, Operation]:
        """All of R14, and what goes beyond it."""
        calls, few, many = self._calls, max(1, self._calls // 4), max(1, self._calls // 20)
        operations: dict[str, Operation] = {
            "get cached": partial(one_by_one, self._get_cached, self._hits),
            "get": partial(one_by_one, self._get, calls),
            "set": partial(one_by_one, self._set, calls),
            "invalidate": partial(one_by_one, self._invalidate, calls),
            "get_many 10": partial(one_by_one, partial(self._get_many, _FEW), few),
            "10 gets": partial(one_by_one, self._gets(_FEW), max(1, few // 4)),
            "typical": self._typical,
            "typical in flight": lambda: run(self._typical_in_flight()),
            "writes in flight": lambda: run(self._writes_in_flight()),
            "reads in flight": lambda: run(self._reads_in_flight()),
        }
        if self._large_batches:
            operations |= {
                "get_many 100": partial(one_by_one, partial(self._get_many, _MANY), many),
                "100 gets": partial(one_by_one, self._gets(_MANY), many),
                "set_many 100": partial(one_by_one, self._set_many, many),
                "100 sets": partial(one_by_one, self._sets(), many),
            }
        return operations

    def _get_cached(self, _turn: int) -> Any:
        return self._client.agents.get(self._key)

    def _get(self, _turn: int) -> Any:
        return self._client.agents.get(self._key, consistency="linearizable")

    def _set(self, turn: int) -> None:
        """Compare and set: refused unless the version is the one of the last write."""
        stored = self._client.agents.set(self._turns[turn % 2], expected_version=self._version)
        self._version = stored.version

    def _invalidate(self, _turn: int) -> None:
        self._client.cache.invalidate("agents", self._key)

    def _get_many(self, count: int, _turn: int) -> Any:
        return self._client.agents.get_many(self._keys[:count], consistency="linearizable")

    def _gets(self, count: int) -> Callable[[int], None]:
        get = self._client.agents.get
        return several(lambda _, key=key: get(key, consistency="linearizable") for key in self._keys[:count])

    def _set_many(self, turn: int) -> Any:
        return self._client.agents.set_many([agent(key, turn) for key in self._keys], expected_version=ANY)

    def _sets(self) -> Callable[[int], None]:
        set_ = self._client.agents.set
        return several(lambda turn, key=key: set_(agent(key, turn), expected_version=ANY) for key in self._keys)

    def _typical(self) -> Round:
        """One by one, with the other client's writes in between; theirs are not counted."""
        steps = typical.load(self._slug, self._calls, self._next_seed())
        before = self._client.metrics()["cache"]
        durations_us: list[float] = []
        for turn, step in enumerate(steps):
            if step.by_other:
                self._other.agents.set(agent(step.key, turn), expected_version=ANY)
                continue
            began = time.perf_counter_ns()
            if step.writes:
                self._client.agents.set(agent(step.key, turn), expected_version=ANY)
            else:
                self._client.agents.get(step.key)
            durations_us.append((time.perf_counter_ns() - began) / 1e3)
        after = self._client.metrics()["cache"]
        hits, misses = after["hits"] - before["hits"], after["misses"] - before["misses"]
        return Round(
            durations_us,
            {
                "per second": (len(durations_us) / sum(durations_us) * 1e6, "1/s"),
                "hit rate": (hits / (hits + misses) if hits + misses else 0.0, "share"),
            },
        )

    async def _typical_in_flight(self) -> Round:
        steps = typical.load(self._slug, self._in_flight, self._next_seed())
        async with self._connect() as client:
            await client.agents.get_many(typical.keys(self._slug))

            async def call(_lane: int, turn: int) -> None:
                step = steps[turn]
                if step.writes:
                    await client.agents.set(agent(step.key, turn), expected_version=ANY)
                else:
                    await client.agents.get(step.key)

            return await in_flight(call, self._in_flight, IN_FLIGHT)

    async def _writes_in_flight(self) -> Round:
        """Each lane has a key of its own, and compares and sets it."""
        async with self._connect() as client:
            found = await client.agents.get_many(self._lanes, consistency="linearizable")
            versions = [found[key].version for key in self._lanes]
            states = [[agent(key, turn) for turn in range(2)] for key in self._lanes]

            async def call(lane: int, turn: int) -> None:
                stored = await client.agents.set(states[lane][turn % 2], expected_version=versions[lane])
                versions[lane] = stored.version

            await in_flight(call, IN_FLIGHT, IN_FLIGHT)
            return await in_flight(call, self._in_flight, IN_FLIGHT)

    async def _reads_in_flight(self) -> Round:
        async with self._connect() as client:

            async def call(lane: int, _turn: int) -> None:
                await client.agents.get(self._lanes[lane], consistency="linearizable")

            await in_flight(call, IN_FLIGHT, IN_FLIGHT)
            return await in_flight(call, self._in_flight, IN_FLIGHT)

    def _next_seed(self) -> int:
        self._seed += 1
        return self._seed
