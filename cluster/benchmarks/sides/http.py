"""The service over HTTP, one connection or many."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count, cycle
from typing import Any

from lightning_state.cluster.benchmarks import typical
from lightning_state.cluster.benchmarks.http_load import connections, request
from lightning_state.cluster.benchmarks.measuring import Operation, Round, in_flight, run
from lightning_state.cluster.benchmarks.states import body
from lightning_state.serve.start import HttpEndpoint

CONNECTIONS = 32

_FEW = 10
_WARM_UP = 100


class HttpSide:
    """The routes of one state and of batches."""

    name = "http"

    def __init__(self, endpoint: HttpEndpoint, *, calls: int, in_flight: int) -> None:
        self._endpoint = endpoint
        self._calls = calls
        self._in_flight = in_flight
        self._lanes = [f"http-lane-{number:02d}" for number in range(CONNECTIONS)]
        self._seed = 0
        self._ids = count()

    def warm_up(self) -> None:
        """Have every state there, and the replica read what it caches."""
        run(self._fill())
        for operation in (self._one("GET", _path(self._lanes[0])), self._sets, self._gets_32, self._puts_32):
            operation(_WARM_UP)

    def operations(self) -> Mapping[str, Operation]:
        """R14's over one connection, and reads and writes over many."""
        key, few = self._lanes[0], self._lanes[:_FEW]
        linearizable = [_path(each, "?consistency=linearizable") for each in few]
        batch = json.dumps({"ids": few, "consistency": "linearizable"}).encode()
        calls = self._calls
        return {
            "get cached": partial(self._one("GET", _path(key)), calls),
            "get": partial(self._one("GET", linearizable[0]), calls),
            "set": partial(self._sets, calls),
            "get_many 10": partial(self._one("POST", "/v1/agents:batchGet", batch), max(1, calls // 4)),
            "10 gets": lambda: run(self._ten(linearizable, max(1, calls // 16))),
            "typical": lambda: run(self._typical(1, calls)),
            "typical in flight": lambda: run(self._typical(CONNECTIONS, self._in_flight)),
            "32 connections get": partial(self._gets_32, self._in_flight),
            "32 connections put": partial(self._puts_32, self._in_flight),
        }

    async def _fill(self) -> None:
        keys = [*self._lanes, *typical.keys(self.name)]
        states = b",".join(body(key, 1) for key in keys)
        filling = self._request("POST", "/v1/agents:batchSet", b'{"expectedVersion":"any","states":[%b]}' % states)
        async with connections(self._endpoint.host, self._endpoint.port, 1) as (connection,):
            await connection.ask(filling)

    def _one(self, method: str, path: str, content: bytes | None = None) -> Callable[[int], Round]:
        """The same request again and again on one connection."""
        prepared = self._request(method, path, content)

        async def asked(calls: int) -> Round:
            async with self._connected(1) as (connection,):
                return await in_flight(lambda _lane, _turn: connection.ask(prepared), calls, 1)

        return lambda calls: run(asked(calls))

    async def _ten(self, paths: list[str], calls: int) -> Round:
        prepared = [self._request("GET", path) for path in paths]
        async with self._connected(1) as (connection,):

            async def call(_lane: int, _turn: int) -> None:
                for one in prepared:
                    await connection.ask(one)

            return await in_flight(call, calls, 1)

    def _gets_32(self, calls: int) -> Round:
        return run(self._gets(calls, CONNECTIONS))

    async def _gets(self, calls: int, lanes: int) -> Round:
        prepared = [self._request("GET", _path(key)) for key in self._lanes[:lanes]]
        async with self._connected(lanes) as opened:
            return await in_flight(lambda lane, _turn: opened[lane].ask(prepared[lane]), calls, lanes)

    def _sets(self, calls: int) -> Round:
        return run(self._puts(calls, 1))

    def _puts_32(self, calls: int) -> Round:
        return run(self._puts(calls, CONNECTIONS))

    async def _puts(self, calls: int, lanes: int) -> Round:
        """Compare and set: each connection has a key of its own and names the version of its last write."""
        async with self._connected(lanes) as opened:
            etags = [
                (await connection.ask(self._request("GET", _path(key, "?consistency=linearizable")))).etag
                for connection, key in zip(opened, self._lanes, strict=False)
            ]
            puts = [cycle([self._put(key, turn) for turn in range(2)]) for key in self._lanes[:lanes]]

            async def call(lane: int, _turn: int) -> None:
                head, middle, tail = next(puts[lane])
                put = b"%b%b%b%d%b" % (head, etags[lane], middle, next(self._ids), tail)
                etags[lane] = (await opened[lane].ask(put)).etag

            return await in_flight(call, calls, lanes)

    def _put(self, key: str, turn: int) -> list[bytes]:
        """A write in three parts: its ETag goes between the first two, the rest of its id between the last two.

        The id lets it be sent again when a connection is lost, as the shipped client does.
        """
        conditions = {"If-Match": "\0", "Idempotency-Key": f"{key}-\0"}
        return request("PUT", _path(key), self._host, {**self._authorized, **conditions}, body(key, turn)).split(b"\0")

    async def _typical(self, lanes: int, calls: int) -> Round:
        self._seed += 1
        steps = typical.load(self.name, calls, self._seed)
        prepared = [
            self._request("PUT", _path(step.key, "?expectedVersion=any"), body(step.key, turn))
            if step.writes
            else self._request("GET", _path(step.key))
            for turn, step in enumerate(steps)
        ]
        async with self._connected(lanes) as opened:
            return await in_flight(lambda lane, turn: opened[lane].ask(prepared[turn]), calls, lanes)

    def _connected(self, count: int) -> Any:
        return connections(self._endpoint.host, self._endpoint.port, count)

    def _request(self, method: str, path: str, content: bytes | None = None) -> bytes:
        return request(method, path, self._host, self._authorized, content)

    @property
    def _host(self) -> str:
        return f"{self._endpoint.host}:{self._endpoint.port}"

    @property
    def _authorized(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._endpoint.token}"}


def _path(key: str, query: str = "") -> str:
    return f"/v1/agents/{key}{query}"
