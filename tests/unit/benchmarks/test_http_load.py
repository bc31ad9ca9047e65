"""The load's own HTTP client: whole answers, in whatever pieces they come, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from lightning_state.cluster.benchmarks.errors import BenchmarkError
from lightning_state.cluster.benchmarks.http_load import connections, request

OK = b'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nETag: "7"\r\ncontent-length: 5\r\n\r\nhello'


@asynccontextmanager
async def answering(*pieces: bytes, close: bool = False, deaf: int = 0) -> AsyncGenerator[tuple[int, list[bytes]]]:
    """A server that answers each request with these pieces, flushed one by one; the first few it hangs up on."""
    heard: list[bytes] = []
    answering: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        while head := await reader.read(65_536):
            heard.append(head)
            if len(heard) <= deaf:
                break
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                break
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heard
        await asyncio.gather(*(task for task in answering if task))


@pytest.mark.parametrize("pieces", [(OK,), (OK[:20], OK[20:70], OK[70:]), tuple(bytes([byte]) for byte in OK)])
async def test_an_answer_is_read_whole_and_the_connection_used_again(pieces: tuple[bytes, ...]) -> None:
    async with answering(*pieces) as (port, heard), connections("127.0.0.1", port, 1) as (connection,):
        for path in ("/a", "/b"):
            answer = await connection.ask(request("GET", path, "here", {"Authorization": "x"}))
            assert (answer.status, answer.body, answer.etag) == (200, b"hello", b'"7"')
    assert heard == [f"GET /{name} HTTP/1.1\r\nHost: here\r\nAuthorization: x\r\n\r\n".encode() for name in "ab"]


async def test_a_body_is_sent_with_its_length() -> None:
    async with answering(OK) as (port, heard), connections("127.0.0.1", port, 1) as (connection,):
        await connection.ask(request("PUT", "/a", "here", body=b"{}"))
    assert heard[0].endswith(b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy", "HTTP 503: busy"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "without Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf", "was closed"),
    ],
)
async def test_what_is_no_whole_success_is_not_counted(answer: bytes, reason: str) -> None:
    async with answering(answer, close=True) as (port, _), connections("127.0.0.1", port, 1) as (connection,):
        with pytest.raises(BenchmarkError, match=reason):
            await connection.ask(request("GET", "/", "here"))


@pytest.mark.parametrize("lost", [1, 2])
async def test_what_got_no_answer_is_asked_again_on_a_new_connection(lost: int) -> None:
    async with answering(OK, deaf=lost) as (port, heard), connections("127.0.0.1", port, 1) as (connection,):
        assert (await connection.ask(request("GET", "/a", "here"))).body == b"hello"
    assert len(heard) == lost + 1
    assert len(set(heard)) == 1


async def test_a_connection_that_was_closed_in_between_is_opened_anew() -> None:
    async with answering(OK, close=True) as (port, heard), connections("127.0.0.1", port, 1) as (connection,):
        for _ in range(3):
            assert (await connection.ask(request("GET", "/a", "here"))).status == 200
    assert len(heard) == 3


async def test_a_server_that_hangs_up_again_and_again_ends_the_benchmark() -> None:
    async with answering(OK, deaf=9) as (port, heard), connections("127.0.0.1", port, 1) as (connection,):
        with pytest.raises(BenchmarkError, match="was closed"):
            await connection.ask(request("GET", "/a", "here"))
    assert len(heard) == 3
