"""The service's end of the channel under strangers, hostile bytes, floods and slow readers."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.errors import (
    LightningStateError,
    NotOwnerError,
    ProtocolError,
    ShardUnavailableError,
    UnauthenticatedError,
)
from lightning_state.actors.wire import listener as listening
from lightning_state.actors.wire import peer as peers
from lightning_state.actors.wire import revival
from lightning_state.actors.wire.endpoint import Endpoint
from lightning_state.actors.wire.framing import Kind, Record, RecordParser, pack
from lightning_state.actors.wire.handshake import Hello, Target, Welcome
from lightning_state.actors.wire.link_async import AsyncLink, connect_link
from lightning_state.actors.wire.listener import Listener
from lightning_state.actors.wire.peer import Peer
from lightning_state.actors.wire.pushes import FlushAll, Invalidation, Invalidations, Pushed, decode_pushed

TARGET = Target("echo", "id-1", 7)


class Echo:
    """Answers each frame with itself; `held` keeps the answers back."""

    def __init__(self) -> None:
        self.asked: list[tuple[Peer, int, bytes]] = []
        self.held = False
        self.connections: list[Peer] = []

    def check(self, hello: Hello) -> None:
        if hello.target != TARGET.name:
            raise UnauthenticatedError
        if hello.epoch != TARGET.epoch:
            raise NotOwnerError

    def request(self, peer: Peer, number: int, data: bytes) -> None:
        self.asked.append((peer, number, data))
        if not self.held:
            peer.reply(number, data)

    def left(self, peer: Peer) -> None:
        self.connections.append(peer)


@asynccontextmanager
async def serving(frame_bytes: int = 1 << 20) -> AsyncGenerator[tuple[Echo, Listener, Endpoint]]:
    echo = Echo()
    listener = Listener(echo, name="echo", address="127.0.0.1", frame_bytes=frame_bytes)
    endpoint = await listener.open()
    try:
        yield echo, listener, endpoint
    finally:
        await listener.close()
        await until(lambda: not listener._peers and not listener._strangers)


async def until(condition: object, within_s: float = 10.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # it is about what other tasks did; there is no event to wait for
            await asyncio.sleep(0.001)


async def ask(link: AsyncLink, payload: bytes) -> bytes | LightningStateError:
    answer: asyncio.Future[bytes | LightningStateError] = asyncio.get_running_loop().create_future()

    def land(kind: int, data: bytes) -> bool:
        answer.set_result(data if kind else link.failure)
        return True

    link.request(payload, land)
    return await asyncio.wait_for(answer, 10)


async def read_all(reader: asyncio.StreamReader) -> list[Record]:
    """Every record until the service closes."""
    parser = RecordParser(1 << 24)
    records: list[Record] = []
    async with asyncio.timeout(10):
        while data := await reader.read(65536):
            records += parser.feed(data)
    return records


@pytest.mark.parametrize("way", ["unix", "tcp"])
async def test_frames_are_echoed_on_both_sockets(way: str) -> None:
    async with serving() as (_, _, endpoint):
        other = msgspec.structs.replace(endpoint, host="elsewhere") if way == "tcp" else endpoint
        link = await connect_link(other, TARGET)
        assert link._transport.get_extra_info("socket").family.name == ("AF_INET" if way == "tcp" else "AF_UNIX")
        answers = await asyncio.gather(*(ask(link, b"%d" % n) for n in range(200)))
        assert answers == [b"%d" % n for n in range(200)]
        link.close()


async def test_the_socket_is_for_its_user_alone_and_removed_at_the_end() -> None:
    async with serving() as (_, _, endpoint):
        directory = Path(endpoint.unix).parent
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert len(endpoint.unix) <= 107
    assert not directory.exists()  # a look at a directory in memory


async def test_what_a_killed_predecessor_left_is_removed_and_a_living_one_is_not(tmp_path: Path) -> None:
    async with serving() as (_, _, living):
        stale = Path(living.unix).parent.with_name(Path(living.unix).parent.name[:-8] + "deadbeef")
        stale.mkdir()
        server = await asyncio.start_unix_server(lambda *_: None, stale / "s")
        (tmp_path / "keep").hardlink_to(stale / "s")  # closing a server removes its path in newer Pythons
        server.close()
        await server.wait_closed()
        if not (stale / "s").exists():
            (stale / "s").hardlink_to(tmp_path / "keep")
        async with serving():
            assert not stale.exists()
            assert Path(living.unix).exists()  # noqa: ASYNC240  # a look at a directory in memory


@pytest.mark.parametrize(
    ("target", "token", "error"),
    [
        (TARGET, b"guessed", UnauthenticatedError),
        (Target("another", "id-1", 7), None, UnauthenticatedError),
        (Target("echo", "id-1", 6), None, NotOwnerError),
    ],
)
async def test_a_wrong_token_target_or_epoch_is_refused(
    target: Target, token: bytes | None, error: type[LightningStateError]
) -> None:
    async with serving() as (echo, _, endpoint):
        asked = endpoint if token is None else msgspec.structs.replace(endpoint, token=token)
        with pytest.raises(error):
            await connect_link(asked, target)
        assert not echo.asked


async def test_the_token_is_not_in_what_is_printed() -> None:
    async with serving() as (_, listener, endpoint):
        assert endpoint.encode() not in f"{endpoint!r} {listener!r}"
        assert repr(endpoint.token)[2:-1] not in f"{endpoint!r} {listener!r}"


async def test_a_client_does_not_talk_to_whoever_took_over_the_port() -> None:
    async with serving() as (_, impostor, endpoint):
        impostor.welcome = lambda *_: Welcome(1_000, b"\0" * 32)  # pyright: ignore[reportAttributeAccessIssue]  # it lets anyone in
        with pytest.raises(UnauthenticatedError):
            await connect_link(endpoint, TARGET)


async def test_a_frame_above_the_limit_closes_its_connection_and_no_other() -> None:
    async with serving(frame_bytes=1_000) as (echo, _, endpoint):
        good, bad = await connect_link(endpoint, TARGET), await connect_link(endpoint, TARGET)
        assert isinstance(await ask(bad, b"x" * 1_001), ProtocolError)
        assert not bad.is_open
        assert await ask(good, b"x" * 1_000) == b"x" * 1_000
        assert [data for _, _, data in echo.asked] == [b"x" * 1_000]
        good.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    garbage=st.one_of(
        st.binary(min_size=1, max_size=400),
        st.builds(pack, st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=200)),
    ),
    is_client=st.booleans(),
)
def test_hostile_bytes_close_that_connection_and_nothing_else(garbage: bytes, is_client: bool) -> None:
    async def attack() -> None:
        async with serving() as (_, listener, endpoint):
            good = await connect_link(endpoint, TARGET)
            if is_client:
                bad = await connect_link(endpoint, TARGET)
                bad._transport.write(garbage)
                bad._transport.write_eof()
                await until(lambda: len(listener) == 1)
            else:
                reader, writer = await asyncio.open_unix_connection(endpoint.unix)
                writer.write(garbage)
                writer.write_eof()
                kinds = [kind for kind, _, _ in await read_all(reader)]
                assert Kind.WELCOME not in kinds
                assert set(kinds) <= {Kind.CHALLENGE, Kind.REFUSED}
                writer.close()
            assert await ask(good, b"still here") == b"still here"
            good.close()

    asyncio.run(attack())


async def test_a_flood_of_strangers_takes_no_clients_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "STRANGERS", 3)
    monkeypatch.setattr(peers, "HANDSHAKE_S", 0.2)
    async with serving() as (_, listener, endpoint):
        good = await connect_link(endpoint, TARGET)
        silent = [await asyncio.open_unix_connection(endpoint.unix) for _ in range(3)]
        await until(lambda: len(listener._strangers) == 3)
        reader, writer = await asyncio.open_unix_connection(endpoint.unix)
        assert [kind for kind, _, _ in await read_all(reader)] == [Kind.REFUSED]
        assert await ask(good, b"x") == b"x"
        await until(lambda: not listener._strangers)  # those that say nothing are sent away
        late = await connect_link(endpoint, TARGET)
        assert await ask(late, b"y") == b"y"
        for each in (good, late):
            each.close()
        for _, each in [*silent, (reader, writer)]:
            each.close()


async def test_connections_are_limited_and_the_refusal_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "CONNECTIONS", 2)
    async with serving() as (_, _, endpoint):
        links = [await connect_link(endpoint, TARGET) for _ in range(2)]
        with pytest.raises(ShardUnavailableError, match="handle"):
            await connect_link(endpoint, TARGET)
        for each in links:
            each.close()


async def test_no_more_is_read_from_a_connection_than_may_be_in_flight() -> None:
    async with serving() as (echo, _, endpoint):
        echo.held = True
        link = await connect_link(endpoint, TARGET)
        most = peers.REQUESTS_IN_FLIGHT
        waiting = [asyncio.ensure_future(ask(link, b"%d" % n)) for n in range(3 * most)]
        await until(lambda: len(echo.asked) == most)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(echo.asked) == most
        echo.held = False
        for peer, number, data in list(echo.asked):
            peer.reply(number, data)
        assert await asyncio.gather(*waiting) == [b"%d" % n for n in range(3 * most)]
        link.close()


async def test_a_slow_reader_is_told_to_flush_and_never_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "UNSENT_BYTES", 50_000)
    async with serving() as (echo, listener, endpoint):
        pushes: list[Pushed] = []
        slow = await connect_link(endpoint, TARGET, on_push=pushes.append)
        slow.track()
        (peer,) = listener._peers
        await until(lambda: peer.tracks)
        slow._transport.pause_reading()
        told = 0
        while peer.push(Invalidations([Invalidation(1, "k" * 200, 7, told, 1)])):
            told += 1
            assert told < 100_000
        quick = await connect_link(endpoint, TARGET)
        assert await ask(quick, b"x") == b"x"
        slow._transport.resume_reading()
        await until(lambda: isinstance(pushes[-1] if pushes else None, FlushAll))
        assert len(pushes) == told + 1
        assert await ask(slow, b"y") == b"y"
        assert echo.asked[-1][2] == b"y"
        slow.close()
        quick.close()


async def test_a_reader_that_takes_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "UNSENT_BYTES", 10_000)
    monkeypatch.setattr(peers, "UNREAD_S", 0.05)
    async with serving() as (_, listener, endpoint):
        slow = await connect_link(endpoint, TARGET)
        (peer,) = listener._peers
        slow._transport.pause_reading()
        while peer.push(Invalidations([Invalidation(1, "k" * 200, 7, 1, 1)])):
            pass
        await until(lambda: not listener._peers)
        slow.close()


async def test_a_service_that_says_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert revival.SILENT_S == 3.0
    for name, value in (("PING_S", 0.05), ("SILENT_S", 0.15)):
        monkeypatch.setattr(f"lightning_state.actors.wire.link_async.{name}", value)
    async with serving() as (echo, listener, endpoint):
        echo.held = True
        link = await connect_link(endpoint, TARGET)
        (peer,) = listener._peers
        waiting = asyncio.ensure_future(ask(link, b"x"))
        await until(lambda: bool(echo.asked))
        pings: list[int] = []
        take = peer._take
        peer._take = lambda record: pings.append(record[0]) if take(record) is None else None  # pyright: ignore[reportAttributeAccessIssue]  # to count them
        await until(lambda: pings.count(Kind.PING) > 6)  # longer than SILENT_S: a slow answer is no silence
        assert not waiting.done()
        peer._transport.pause_reading()
        lost = await waiting
        assert isinstance(lost, ShardUnavailableError)
        assert "silent" in str(lost)
        assert not link.is_open


async def test_a_tracking_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "SILENT_S", 0.05)
    async with serving() as (_, listener, endpoint):
        link = await connect_link(endpoint, TARGET)
        idle = await connect_link(endpoint, TARGET)
        link._transport.write(pack(Kind.TRACK, 0))
        await until(lambda: len(listener) == 1)
        assert idle.is_open
        idle.close()


async def test_a_refusal_names_its_error() -> None:
    async with serving() as (_, _, endpoint):
        reader, writer = await asyncio.open_unix_connection(endpoint.unix)
        writer.write(pack(Kind.REQUEST, 1, b"no hello"))
        records = await read_all(reader)
        assert [kind for kind, _, _ in records] == [Kind.CHALLENGE, Kind.REFUSED]
        assert msgspec.msgpack.decode(records[1][2], type=Refused).code == "protocol"
        writer.close()


def test_a_damaged_push_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        decode_pushed(b"\x93\x01")
