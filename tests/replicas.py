"""HTTP replicas over shards with channels, in this process: each has a cache of its own, as those of Serve have."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any

import httpx
from tests.channel_service import ChannelService
from tests.http_service import AUTHORIZED, TOKEN

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.limits import Limits
from lightning_state.serve.app import build_app
from lightning_state.serve.client import AsyncHttpStateClient
from lightning_state.serve.tokens import digest_of


class Replica:
    """One replica: its application, its client of the shards, and plain requests to it alone."""

    def __init__(self, service: ChannelService, name: str) -> None:
        self.state: AsyncStateClient = service.async_client()
        self.app = build_app(self.state, digest_of(TOKEN), Limits(), replica=name)
        self.transport = httpx.ASGITransport(self.app)
        self.http = httpx.AsyncClient(transport=self.transport, base_url="http://state", headers=AUTHORIZED)

    @property
    def cache(self) -> dict[str, Any]:
        """The figures of its cache."""
        return self.state.metrics()["cache"]

    def hears_nothing(self) -> None:
        """From now on pushes do not reach its cache, as if a network kept them back."""
        self.state._calls.cache.invalidated = lambda *_: None  # type: ignore[method-assign]

    async def connect(self) -> None:
        """Have a channel to every shard: what is asked before is not cached."""
        assert (await self.http.get("/v1/agents")).status_code == 200

    async def close(self) -> None:
        await self.http.aclose()
        await self.state.close()


class Balancer(httpx.AsyncBaseTransport):
    """In front of them, as HAProxy is: requests take turns, or go where a test says."""

    def __init__(self, replicas: list[Replica]) -> None:
        self._turns = cycle(replicas)
        self.always: Replica | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        replica = self.always or next(self._turns)
        return await replica.transport.handle_async_request(request)


@asynccontextmanager
async def replicas_of(service: ChannelService, number: int = 2) -> AsyncGenerator[list[Replica]]:
    """So many replicas, connected to every shard."""
    replicas = [Replica(service, f"replica-{each}") for each in range(number)]
    try:
        for replica in replicas:
            await replica.connect()
        yield replicas
    finally:
        for replica in replicas:
            await replica.close()


def http_state(balancer: httpx.AsyncBaseTransport) -> AsyncHttpStateClient:
    """A client whose requests go through a balancer."""
    http = httpx.AsyncClient(transport=balancer, base_url="http://state", headers=AUTHORIZED)
    return AsyncHttpStateClient(http, timeout_s=10.0)
