"""Pushes (C8): who is told of which change, before which reply, and what happens when it is too much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from tests.channel_service import ChannelService, eventually

from lightning_state.actors.client import StateClient
from lightning_state.actors.core.effects import Drop, Invalidate
from lightning_state.actors.core.messages import PROTOCOL, Absent, Frame, Get, List, Page
from lightning_state.actors.core.rows import Entry
from lightning_state.actors.limits import CacheSettings
from lightning_state.actors.models import AgentState
from lightning_state.actors.shard_actor.subscribers import Subscribers
from lightning_state.actors.wire import pushes as pushes_wire
from lightning_state.actors.wire.channel_async import AsyncChannelTransport
from lightning_state.actors.wire.channel_sync import ChannelTransport
from lightning_state.actors.wire.codec import encode
from lightning_state.actors.wire.framing import Kind, RecordParser, pack
from lightning_state.actors.wire.handshake import Target
from lightning_state.actors.wire.link_async import AsyncLink, connect_link
from lightning_state.actors.wire.names import shard_name
from lightning_state.actors.wire.peer import Peer
from lightning_state.actors.wire.pushes import (
    FlushAll,
    Invalidation,
    Invalidations,
    ListInvalidation,
    Pushed,
    decode_pushed,
)


class Heard:
    """A cache that only listens."""

    def __init__(self) -> None:
        self.changes: list[Invalidation] = []
        self.flushes: list[int] = []

    def opened(self, shard: int, epoch: int) -> None:
        pass

    def invalidated(self, shard: int, changes: Invalidations) -> None:  # noqa: ARG002  # there is one shard here
        self.changes += changes.keys

    def flushed(self, shard: int) -> None:
        self.flushes.append(shard)

    def lost(self, shard: int) -> None:
        self.flushes.append(shard)

    def proved(self, shard: int, sent_s: float) -> None:
        pass

    def forked(self) -> None:
        pass

    def versions(self, key: str) -> list[int]:
        return [change.version for change in self.changes if change.key == key]


@pytest.fixture
def service() -> Iterator[ChannelService]:
    with ChannelService(cache=CacheSettings(enabled=False)) as running:
        yield running


def agent(key: str, kind: str = "x") -> AgentState:
    return AgentState(agent_id=key, agent_type=kind)


def listening(client: StateClient) -> Heard:
    heard = Heard()
    transport = client._calls.transport
    assert isinstance(transport, ChannelTransport)
    transport.listen(heard)
    return heard


def test_a_reader_hears_once_of_the_next_change_of_what_it_read(service: ChannelService) -> None:
    with service.client() as writer, service.client() as reader:
        heard = listening(reader)
        for key in ("read", "other"):
            writer.agents.set(agent(key))
        reader.agents.get("read")
        for key in ("read", "other"):
            writer.agents.set(agent(key, "y"), expected_version=1)
            writer.agents.set(agent(key, "z"), expected_version=2)
        eventually(lambda: bool(heard.changes))  # read by the thread that reads when nobody does
        reader.agents.exists("third")
        assert heard.versions("read") == [2]
        assert not heard.versions("other")
        assert reader.agents.get("read").version == 3
        writer.agents.set(agent("read"), expected_version=3)
        reader.agents.exists("third")
        assert heard.versions("read") == [2, 4]


def test_an_absent_key_that_is_created_was_tracked(service: ChannelService) -> None:
    with service.client() as writer, service.client() as reader:
        heard = listening(reader)
        assert not reader.agents.exists("a")
        writer.agents.set(agent("a"))
        reader.agents.exists("b")
        assert heard.versions("a") == [1]


def test_what_a_connection_wrote_is_tracked_and_its_own_write_does_not_end_that(service: ChannelService) -> None:
    with service.client() as other, service.client() as writer:
        heard = listening(writer)
        writer.agents.set(agent("a"))
        assert not heard.changes
        other.agents.set(agent("a"), expected_version=1)
        writer.agents.exists("b")
        assert heard.versions("a") == [2]


def test_no_reply_shows_a_commit_whose_push_has_not_arrived(service: ChannelService) -> None:
    rounds = 300
    with service.client() as writer, service.client() as reader:
        heard = listening(reader)
        writer.agents.set(agent("a"))
        writing = threading.Thread(
            target=lambda: [writer.agents.set(agent("a"), expected_version=n) for n in range(1, rounds)]
        )
        writing.start()
        seen = reader.agents.get("a").version
        while seen < rounds:
            version = reader.agents.get("a").version
            if version > seen:
                assert heard.versions("a")[-1] > seen  # told before the reply
            seen = version
        writing.join()


def test_a_lost_channel_empties_what_it_served(service: ChannelService) -> None:
    with service.client() as reader:
        heard = listening(reader)
        reader.agents.exists("a")
        service.restart()
        eventually(lambda: heard.flushes == [0])


def test_the_last_connection_that_leaves_takes_its_keys_along(service: ChannelService) -> None:
    subscribers = service.shards[0].runtime.subscribers
    with service.client() as reader:
        listening(reader)
        reader.agents.exists("a")
        assert subscribers._readers
    eventually(lambda: not subscribers._readers and not subscribers._tracked)


async def test_asyncio_hears_of_changes_without_asking(service: ChannelService) -> None:
    heard = Heard()
    async with service.async_client() as reader, service.async_client() as writer:
        transport = reader._calls.transport
        assert isinstance(transport, AsyncChannelTransport)
        transport.listen(heard)
        await writer.agents.set(agent("a"))
        await reader.agents.get("a")
        await writer.agents.set(agent("a"), expected_version=1)
        await writer.agents.delete("a", expected_version=2)
        await reader.agents.exists("b")
    assert heard.versions("a") == [2]


async def test_too_many_keys_are_answered_by_flush_everything(service: ChannelService) -> None:
    pushes: list[Pushed] = []
    shard = service.shards[0]
    subscribers = shard.runtime.subscribers
    subscribers.most = 3
    target = Target(shard_name(service.name, 0), "id-1", shard.runtime.epoch)
    link = await connect_link(service.endpoint(), target, on_push=pushes.append)
    link.track()
    async with service.async_client() as client:
        session = await client._calls.open(client._calls.deadline(None))
        info = session.map.categories["agents"]
        for number in range(4):
            await read(link, session.map.locate(info, f"k{number}")[0], f"k{number}")
    assert pushes == [FlushAll()]
    (tracked,) = subscribers._tracked.values()
    assert {key for _, key in tracked} == {"k3"}
    link.close()


async def read(link: AsyncLink, slot: int, key: str) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def land(*_: object) -> bool:
        done.set_result(None)
        return True

    link.request(encode(Frame(PROTOCOL, "s", 0, "", [Get(slot, key)])), land)
    await asyncio.wait_for(done, 10)


class Written(Peer):
    """A peer that keeps what is pushed."""

    def __init__(self) -> None:
        self.pushed: list[Pushed] = []

    def push(self, message: Pushed) -> bool:
        parser = RecordParser(10_000)
        ((kind, _, payload),) = parser.feed(pack(Kind.PUSH, 0, pushes_wire.encode(message)))
        assert kind == Kind.PUSH
        self.pushed.append(decode_pushed(payload))
        return True


def test_changes_of_one_commit_are_one_push() -> None:
    subscribers = Subscribers()
    peer = Written()
    frame = Frame(PROTOCOL, "s", 0, "", [Get(1, "a"), Get(1, "b"), Get(1, "c")])
    for index in range(3):
        subscribers.shown(peer, frame.requests[index], Absent(1, 1, 0, 0), 0)
    subscribers.changed([Invalidate(1, "a", 7, 1, 1), Invalidate(1, "b", 7, 2, 1), Invalidate(1, "x", 7, 3, 1)])
    (push,) = peer.pushed
    assert not isinstance(push, FlushAll)
    assert [(key.key, key.epoch, key.revision, key.version) for key in push.keys] == [("a", 7, 1, 1), ("b", 7, 2, 1)]
    assert set(subscribers._readers) == {(0, "c")}


def test_a_key_dropped_by_hand_is_told_to_those_who_track_it_and_to_nobody_else() -> None:
    subscribers = Subscribers()
    reader, lister, stranger = Written(), Written(), Written()
    subscribers.shown(reader, Get(1, "a"), Absent(1, 1, 0, 0), 0)
    subscribers.shown(lister, LISTED, page("a", "b"), subscribers.moment(LISTED))
    subscribers.shown(stranger, Get(1, "c"), Absent(1, 1, 0, 0), 0)
    subscribers.drop(Drop(1, "a", 7, 5))
    assert told(reader) == told(lister) == ["a"]
    assert told(stranger) == []
    assert (0, "a") not in subscribers._readers
    subscribers.drop(Drop(1, "a", 7, 5))
    assert told(reader) == []


def test_a_category_dropped_by_hand_flushes_those_who_have_any_of_it() -> None:
    subscribers = Subscribers()
    reader, stranger = Written(), Written()
    subscribers.shown(reader, Get(1, "a"), Absent(1, 1, 0, 0), 0)
    subscribers.shown(stranger, Get(1 << 16, "r"), Absent(1 << 16, 1, 0, 0), 0)
    subscribers.drop(Drop(0, "", 7, 5))
    assert reader.pushed == [FlushAll()]
    assert stranger.pushed == []
    assert set(subscribers._readers) == {(1, "r")}


def test_a_list_that_is_read_while_its_member_is_dropped_by_hand_is_not_kept() -> None:
    subscribers, peer = Subscribers(), Written()
    moment = subscribers.moment(LISTED)
    subscribers.drop(Drop(1, "a", 7, 5))
    subscribers.shown(peer, LISTED, page("a"), moment)
    assert told(peer) == [ListInvalidation(0, "status", "Ready")]


LISTED = List(0, "", "", 100, "status", "Ready")


def page(*keys: str) -> Page:
    return Page([Entry(key, 1, 1, b"{}", 1, 1) for key in keys], more=False)


def told(peer: Written) -> list[ListInvalidation | str]:
    """What lists and keys the connection heard of; forgotten then."""
    heard: list[ListInvalidation | str] = []
    for push in peer.pushed:
        assert not isinstance(push, FlushAll)
        heard += [*push.lists, *(change.key for change in push.keys)]
    peer.pushed.clear()
    return heard


def test_a_list_is_tracked_by_its_value_and_by_its_members() -> None:
    subscribers, peer = Subscribers(), Written()
    ready = ListInvalidation(0, "status", "Ready")
    subscribers.shown(peer, LISTED, page("a", "b"), subscribers.moment(LISTED))
    subscribers.changed([Invalidate(1, "other", 7, 1, 1, {"status": "Failed"})])
    assert told(peer) == []
    subscribers.changed([Invalidate(1, "new", 7, 2, 1, {"status": "Ready"})])
    assert told(peer) == [ready]
    subscribers.changed([Invalidate(1, "b", 7, 3, 2, {"status": "Failed"})])  # it leaves the list
    assert told(peer) == ["b"]


def test_a_list_read_while_its_category_changed_is_told_of_before_it_is_shown() -> None:
    """The page was read before the commit, or not: its reader must not keep it."""
    subscribers, peer = Subscribers(), Written()
    moment = subscribers.moment(LISTED)
    subscribers.changed([Invalidate(1, "a", 7, 1, 2, {"status": "Failed"})])
    subscribers.shown(peer, LISTED, page("a"), moment)
    assert told(peer) == [ListInvalidation(0, "status", "Ready")]
    assert not subscribers._readers


def test_a_part_of_a_list_that_goes_on_is_not_tracked() -> None:
    subscribers, peer = Subscribers(), Written()
    subscribers.shown(peer, LISTED, Page(page("a").entries, more=True), subscribers.moment(LISTED))
    subscribers.shown(peer, List(0, "", "", 100), page("a"), subscribers.moment(LISTED))
    assert not subscribers._readers
