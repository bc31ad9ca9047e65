"""HTTP/1.1 on kept-alive connections, as little of it as a load needs: the client must not be what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from lightning_state.cluster.benchmarks.errors import BenchmarkError

_ATTEMPTS = 3
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.head[9:12])

    @property
    def etag(self) -> bytes:
        """The ETag as it is written. Raises BenchmarkError when there is none."""
        name, found, rest = self.head.lower().partition(b"\r\netag:")
        if not found:
            raise BenchmarkError("an answer without an ETag")
        return self.head[len(name) + len(found) :][: len(rest)].partition(b"\r\n")[0].strip()


class LostConnectionError(BenchmarkError):
    """The server has closed the connection: whether it did what it was asked is not known."""

    code = "benchmark_lost_connection"


class Client:
    """One connection, opened anew when the server closes it, as a proxy does whenever its configuration changes.

    What got no answer is then sent again: a request must bear repetition, or carry an Idempotency-Key.
    """

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._connection: Connection | None = None

    async def ask(self, request: bytes) -> Answer:
        """The answer to a request. Raises BenchmarkError for any that is not a success, or lost again and again."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await (await self._connected()).ask(request)
            except LostConnectionError:
                self.close()
        return await (await self._connected()).ask(request)

    async def open(self) -> None:
        """Connect, so that the first request need not wait for it."""
        await self._connected()

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _connected(self) -> Connection:
        if self._connection is None:
            _, self._connection = await asyncio.get_running_loop().create_connection(Connection, *self._where)
        return self._connection


class Connection(asyncio.Protocol):
    """One connection with one request under way at a time. Bodies have a length: chunks are not understood."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None

    async def ask(self, request: bytes) -> Answer:
        """The answer to a request. Raises BenchmarkError for any that is not a success, LostConnectionError."""
        if self._transport is None or self._transport.is_closing():
            raise LostConnectionError("the connection was closed between two requests")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        answer = await self._waiting
        if answer.status >= 300:  # noqa: PLR2004  # 2xx is a success
            raise BenchmarkError(f"HTTP {answer.status}: {answer.body[:300].decode(errors='replace')}")
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        received = self._received
        received += data
        end = received.find(_END)
        if end < 0:
            return
        head = bytes(received[:end])
        begin = head.lower().find(_LENGTH)
        if begin < 0:
            self._settle(BenchmarkError(f"an answer without Content-Length: {head[:200]!r}"))
            return
        length = int(head[begin + len(_LENGTH) :].partition(b"\r\n")[0])
        if len(received) < end + len(_END) + length:
            return
        body = bytes(received[end + len(_END) : end + len(_END) + length])
        received.clear()
        self._settle(Answer(head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._settle(LostConnectionError(f"the connection was closed ({exc or 'by the server'})"))

    def _settle(self, result: Answer | BenchmarkError) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None or waiting.done():
            return
        if isinstance(result, Answer):
            waiting.set_result(result)
        else:
            waiting.set_exception(result)


@asynccontextmanager
async def connections(host: str, port: int, count: int) -> AsyncGenerator[list[Client]]:
    """So many open connections."""
    clients = [Client(host, port) for _ in range(count)]
    try:
        for client in clients:
            await client.open()
        yield clients
    finally:
        for client in clients:
            client.close()


def request(
    method: str, path: str, host: str, headers: dict[str, str] | None = None, body: bytes | None = None
) -> bytes:
    """The bytes of a request."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END + (body or b"")
