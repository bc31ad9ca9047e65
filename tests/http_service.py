"""The HTTP application over a service in this process: called directly, or served on a socket by a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import uvicorn
from ray import ObjectRef
from starlette.types import ASGIApp
from tests.local_service import LocalCalls, LocalService

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.core.verl.messages import Batch, PoolView
from lightning_state.actors.limits import Limits
from lightning_state.actors.verl_actor.examiner import Examiner
from lightning_state.actors.wire.handle_async import AsyncHandleTransport
from lightning_state.actors.wire.names import pool_name, validator_name
from lightning_state.actors.wire.verl_codec import decode_to_validator, encode
from lightning_state.serve.app import build_app
from lightning_state.serve.tokens import digest_of

TOKEN = "a-token-that-is-long-enough"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}


class LocalPoolCalls(LocalCalls):
    """The calls of a local service that has one real validator as well."""

    def __init__(self, service: LocalService) -> None:
        super().__init__(service)
        self._examiner = Examiner()
        self._pool = pool_name(service.name)
        self._validator = validator_name(service.name, 0)

    def submit(self, name: str, data: bytes) -> ObjectRef[bytes]:
        if name == self._pool:
            return cast("ObjectRef[bytes]", _answer(encode(PoolView([self._validator], 0.0, 1, [], 1))))
        if name == self._validator:
            return cast("ObjectRef[bytes]", self._examine(data))
        return super().submit(name, data)

    async def _examine(self, data: bytes) -> bytes:
        batch = decode_to_validator(data)
        assert isinstance(batch, Batch)
        return encode(await self._examiner.examine(batch))


async def _answer(data: bytes) -> bytes:
    return data


def client_of(service: LocalService) -> AsyncStateClient:
    """A client that reaches shards, directory and a validator."""
    return AsyncStateClient(AsyncHandleTransport(service.name, LocalPoolCalls(service)), service=service.name)


def app_of(service: LocalService, **options: Any) -> ASGIApp:
    """The application over a local service."""
    return build_app(client_of(service), digest_of(TOKEN), service.limits, **options)


def http_client(app: ASGIApp, **headers: str) -> httpx.AsyncClient:
    """A client of the application, without sockets."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://state", headers={**AUTHORIZED, **headers}
    )


@contextmanager
def served(service: LocalService | None = None, **options: Any) -> Generator[str]:
    """The application on a free port of this machine, in a thread; yields its URL."""
    local = service or LocalService(limits=Limits())
    server: list[uvicorn.Server] = []
    ports: list[int] = []
    started = threading.Event()

    async def run() -> None:
        config = uvicorn.Config(
            app_of(local, **options), port=0, log_level="critical", lifespan="off", access_log=False
        )
        server.append(uvicorn.Server(config))
        task = asyncio.create_task(server[0].serve())
        while not server[0].started:  # noqa: ASYNC110  # uvicorn tells it by this attribute alone
            await asyncio.sleep(0.005)
        ports.append(server[0].servers[0].sockets[0].getsockname()[1])
        started.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="http-server")
    thread.start()
    assert started.wait(20)
    try:
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        server[0].should_exit = True
        thread.join(20)
