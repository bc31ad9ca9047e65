"""A service that holds so many states, asked for random ones: what a million of them cost beside a thousand."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial

from lightning_state.actors.client import StateClient
from lightning_state.actors.core.messages import ANY
from lightning_state.cluster.benchmarks.measuring import Operation, Round, in_flight, one_by_one, run
from lightning_state.cluster.benchmarks.sides.client import IN_FLIGHT
from lightning_state.cluster.benchmarks.states import agent
from lightning_state.cluster.service import Service

FEW = 1_000

_BATCH = 1_000
_WARM_UP = 200


class KeysSide:
    """One such service, filled by `warm_up`."""

    def __init__(self, service: Service, client: StateClient, count: int, *, calls: int, in_flight: int) -> None:
        self.name = f"{count:,} keys"
        self._service = service
        self._client = client
        self._count = count
        self._calls = calls
        self._in_flight = in_flight
        self._random = random.Random(count)  # noqa: S311  # a load that can be repeated, not a secret

    def warm_up(self) -> None:
        """Write every state once."""
        for begin in range(0, self._count, _BATCH):
            numbers = range(begin, min(begin + _BATCH, self._count))
            stored = self._client.agents.set_many([agent(_key(number)) for number in numbers], expected_version=ANY)
            for result in stored.values():
                if isinstance(result, Exception):
                    raise result
        for call in (self._get, self._set):
            one_by_one(call, _WARM_UP)

    def operations(self) -> Mapping[str, Operation]:
        """Reads by the owner and writes, of random keys."""
        return {
            "get": partial(one_by_one, self._get, self._calls),
            "set": partial(one_by_one, self._set, self._calls),
            "writes in flight": lambda: run(self._writes_in_flight()),
        }

    def _any(self) -> str:
        return _key(self._random.randrange(self._count))

    def _get(self, _turn: int) -> None:
        self._client.agents.get(self._any(), consistency="linearizable")

    def _set(self, turn: int) -> None:
        self._client.agents.set(agent(self._any(), turn), expected_version=ANY)

    async def _writes_in_flight(self) -> Round:
        async with self._service.async_client() as client:

            async def call(_lane: int, turn: int) -> None:
                await client.agents.set(agent(self._any(), turn), expected_version=ANY)

            await in_flight(call, IN_FLIGHT, IN_FLIGHT)
            return await in_flight(call, self._in_flight, IN_FLIGHT)


def _key(number: int) -> str:
    return f"agent-{number:07d}"
