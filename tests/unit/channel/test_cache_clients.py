"""Clients that cache (C8), against real shards over real sockets without Ray."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from tests.channel_service import ChannelService, eventually
from tests.own_basket import BASKETS, Basket

from lightning_state.actors import ANY
from lightning_state.actors.client import LightningStateService, StateClient
from lightning_state.actors.core.effects import Validate
from lightning_state.actors.errors import (
    ClientClosedError,
    InvalidStateError,
    OutcomeUnknownError,
    StateNotFoundError,
    UnknownCategoryError,
    VersionConflictError,
)
from lightning_state.actors.limits import CacheSettings
from lightning_state.actors.models import AgentState, VerificationState
from lightning_state.actors.wire.channel_sync import ChannelTransport


@pytest.fixture
def service() -> Iterator[ChannelService]:
    with ChannelService(shards=2) as running:
        yield running


@pytest.fixture
def reader(service: ChannelService) -> Iterator[StateClient]:
    with service.client() as client:
        connect(client)
        yield client


@pytest.fixture
def writer(service: ChannelService) -> Iterator[StateClient]:
    with service.client() as client:
        connect(client)
        yield client


def connect(client: StateClient) -> None:
    """Have a channel to every shard: what is asked before is not cached."""
    client.verifications.for_source("nobody")


def agent(key: str = "a", kind: str = "x") -> AgentState:
    return AgentState(agent_id=key, agent_type=kind)


def counted(client: StateClient) -> dict[str, Any]:
    return cast("dict[str, Any]", client.metrics()["cache"])


def frames(service: ChannelService) -> int:
    return sum(shard.runtime._performer._last_call for shard in service.shards if shard.runtime._performer)


def test_a_second_read_asks_nobody_and_is_the_same_object(service: ChannelService, reader: StateClient) -> None:
    reader.agents.set(agent())
    first = reader.agents.get("a")
    before = frames(service)
    assert reader.agents.get("a") is first
    assert reader.agents.exists("a")
    assert reader.agents.get_many(["a"]) == {"a": first}
    assert frames(service) == before
    assert counted(reader)["hits"] == 4


def test_linearizable_asks_the_owner(service: ChannelService, reader: StateClient) -> None:
    reader.agents.set(agent())
    before = frames(service)
    reader.agents.get("a", consistency="linearizable")
    assert frames(service) == before + 1
    with pytest.raises(InvalidStateError):
        reader.agents.get("a", consistency=cast("Any", "sometimes"))


def test_own_writes_are_seen(reader: StateClient) -> None:
    assert not reader.agents.exists("a")
    stored = reader.agents.set(agent())
    assert reader.agents.get("a") == stored
    patched = reader.agents.patch("a", {"agentType": "y"}, expected_version=1)
    assert reader.agents.get("a") == patched
    (result,) = reader.agents.set_many([patched.replace(agent_type="z")]).values()
    assert reader.agents.get("a") == result
    assert reader.agents.get("a").version == 3
    reader.agents.delete("a", expected_version=3)
    assert not reader.agents.exists("a")


def test_a_write_of_another_client_is_seen_once_it_was_pushed(reader: StateClient, writer: StateClient) -> None:
    writer.agents.set(agent())
    for version in range(1, 200):
        assert reader.agents.get("a").version == version
        writer.agents.set(agent(kind=str(version)), expected_version=version)
        # Pushed before the writer's own answer left: it is in this process's socket by now, and taken in by a read.
    assert counted(reader)["entries"] == 1


def test_an_absent_key_is_remembered_until_it_is_created(reader: StateClient, writer: StateClient) -> None:
    for _ in range(2):
        with pytest.raises(StateNotFoundError):
            reader.agents.get("a")
    assert counted(reader)["hits"] == 1
    writer.agents.set(agent())
    assert reader.agents.get("a").version == 1


def test_a_list_hears_of_a_new_a_changed_a_moved_and_a_deleted_member(reader: StateClient, writer: StateClient) -> None:
    def verification(key: str, source: str = "r", confidence: float = 0.9) -> VerificationState:
        return VerificationState(verification_id=key, source_id=source, content=key, confidence_score=confidence)

    def listed(source: str = "r") -> list[tuple[str, int]]:
        return [(each.verification_id, each.version) for each in reader.verifications.for_source(source)]

    for key in ("v1", "v2", "v3"):
        writer.verifications.set(verification(key))
    assert listed() == listed() == [("v1", 1), ("v2", 1), ("v3", 1)]
    assert counted(reader)["hits"] == 2
    writer.verifications.set(verification("v4"))
    assert len(listed()) == 4
    writer.verifications.set(verification("v2", confidence=0.95), expected_version=1)
    assert ("v2", 2) in listed()
    writer.verifications.set(verification("v3", source="s"), expected_version=1)
    assert [key for key, _ in listed()] == ["v1", "v2", "v4"]
    assert listed("s") == [("v3", 2)]
    writer.verifications.delete("v1", expected_version=1)
    assert [key for key, _ in listed()] == ["v2", "v4"]
    reader.verifications.set(verification("v5"))
    assert [key for key, _ in listed()] == ["v2", "v4", "v5"]


def test_a_long_list_is_read_page_by_page(reader: StateClient) -> None:
    for begin in range(0, 2_100, 700):
        reader.verifications.set_many(
            VerificationState(verification_id=f"v{n:05}", source_id="r", content="x") for n in range(begin, begin + 700)
        )
    for _ in range(2):
        assert len(reader.verifications.for_source("r")) == 2_100


def test_a_shard_that_dies_empties_what_it_served(service: ChannelService, reader: StateClient) -> None:
    reader.cache.warm("agents", [f"a{n}" for n in range(20)])
    assert counted(reader)["entries"] >= 20
    service.restart(0)
    service.restart(1)
    eventually(lambda: counted(reader)["entries"] == 0)
    assert not reader.agents.exists("a1")


def test_a_channel_that_is_cut_empties_what_it_served(service: ChannelService, reader: StateClient) -> None:
    reader.agents.set(agent())
    reader.agents.get("a")
    for shard in service.shards:
        service.on_loop(shard.channel._listener.disconnect)
    eventually(lambda: counted(reader)["entries"] == 0)
    assert reader.agents.get("a").version == 1


def test_too_many_keys_empty_the_cache_rather_than_miss_a_change() -> None:
    with (
        ChannelService(cache=CacheSettings(tracked_keys=10)) as service,
        service.client() as reader,
        service.client() as writer,
    ):
        writer.agents.set_many(agent(f"a{n}") for n in range(30))
        for number in range(30):
            reader.agents.get(f"a{number}")
            assert counted(reader)["entries"] <= 10
        for number in range(30):
            writer.agents.patch(f"a{number}", {"agentType": "y"}, expected_version=ANY)
        assert all(state.agent_type == "y" for state in reader.agents.get_many(f"a{n}" for n in range(30)).values())


def test_memory_is_bounded_in_bytes() -> None:
    with ChannelService(cache=CacheSettings(size_bytes=50_000)) as service, service.client() as client:
        client.agents.set_many(agent(f"a{n}", "x" * 500) for n in range(50))
        for _ in range(2):
            client.cache.warm("agents", [f"a{n}" for n in range(50)])
        figures = counted(client)
        assert 0 < figures["bytes"] <= 50_000
        assert figures["evicted"] > 0


def test_entries_end_with_their_time() -> None:
    with ChannelService(cache=CacheSettings(ttl_s=0.05)) as service, service.client() as client:
        client.agents.set(agent())
        client.agents.get("a")
        eventually(lambda: not client._calls.cache.holds(("agents", "a")))


def test_a_disabled_cache_holds_nothing() -> None:
    with ChannelService(cache=CacheSettings(enabled=False)) as service, service.client() as client:
        client.agents.set(agent())
        for _ in range(3):
            client.agents.get("a")
        assert counted(client)["entries"] == counted(client)["hits"] == 0
        assert client.cache.warm("agents", ["a"]) == 0


def test_what_can_be_changed_is_never_shared() -> None:
    with ChannelService(categories=[BASKETS]) as service, service.client() as client:
        baskets = client.category(BASKETS)
        mine = Basket(basket_id="b", items=["apple"])
        stored = baskets.set(mine)
        mine.items.append("from the writer's hand")
        baskets.get("b").items.append("from a first read")
        stored.items.append("from what set returned")
        hits = counted(client)["hits"]
        for _ in range(3):
            read = baskets.get("b")
            assert read.items == ["apple"]
            read.items.append("from a hit")
        assert counted(client)["hits"] == hits + 3
        assert baskets.get("b").items == ["apple"]


def test_by_hand(service: ChannelService, reader: StateClient) -> None:
    reader.agents.set(agent())
    reader.agents.set(agent("b"))
    facade = LightningStateService(reader)
    for forget in (
        lambda: reader.cache.invalidate("agents", "a"),
        lambda: reader.cache.invalidate_category("agents"),
        lambda: facade.invalidate_cache("agents", "a"),
        lambda: facade.invalidate_category("agents"),
    ):
        assert reader.cache.warm("agents", ["a", "b", "none"]) == 3
        before = frames(service)
        forget()
        reader.agents.get("a")
        assert frames(service) == before + 1
    with pytest.raises(UnknownCategoryError):
        reader.cache.invalidate("unheard-of", "a")


def test_a_fresh_client_can_be_warmed(service: ChannelService, writer: StateClient) -> None:
    writer.agents.set_many(agent(f"a{n}") for n in range(50))
    with service.client() as fresh:
        assert fresh.cache.warm("agents", [f"a{n}" for n in range(50)]) == 50
        before = frames(service)
        assert len(fresh.agents.get_many(f"a{n}" for n in range(50))) == 50
        assert frames(service) == before


def test_of_many_readers_at_once_one_asks(reader: StateClient) -> None:
    reader.agents.exists("other")
    barrier = threading.Barrier(8)

    def read(number: int) -> bool:
        barrier.wait()
        return reader.agents.exists(f"k{number}")

    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            assert not any(pool.map(read, [number] * 8))
    figures = counted(reader)
    assert figures["hits"] + figures["joined"] + figures["misses"] == 8 * 20 + 1 + 2
    assert figures["misses"] < 8 * 20


async def test_of_many_tasks_at_once_one_asks(service: ChannelService) -> None:
    async with service.async_client() as client:
        await client.agents.exists("other")
        await client.agents.set(agent())
        await client.cache.invalidate("agents", "a")
        before = frames(service)
        states = await asyncio.gather(*(client.agents.get("a") for _ in range(50)))
        assert len({id(state) for state in states}) == 1
        assert frames(service) == before + 1
        assert client.metrics()["cache"]["joined"] == 49


async def test_a_task_that_only_reads_hears_of_changes_too(service: ChannelService) -> None:
    """Answers from memory never wait: without a look at the socket such a loop would be deaf."""
    async with service.async_client() as client, service.async_client() as other:
        await client.agents.set(agent())
        while await client.agents.get("a") is not await client.agents.get("a"):
            pass
        writing = asyncio.to_thread(write_once, service)
        task = asyncio.ensure_future(writing)
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while (await client.agents.get("a")).version == 1:  # it must not need to yield
                pass
        await task
        assert (await other.agents.get("a")).version == 2


def write_once(service: ChannelService) -> None:
    with service.client() as client:
        client.agents.set(agent(kind="y"), expected_version=1)


async def test_a_reader_whose_leader_is_cancelled_asks_itself(service: ChannelService) -> None:
    async with service.async_client() as client:
        await client.agents.set(agent())
        await client.agents.get("a")
        await client.cache.invalidate("agents", "a")
        leader = asyncio.ensure_future(client.agents.get("a"))
        follower = asyncio.ensure_future(client.agents.get("a"))
        await asyncio.sleep(0)
        leader.cancel()
        assert (await follower).version == 1
        assert not client._calls.cache._cache._tickets


def test_a_write_of_unknown_outcome_drops_its_key(service: ChannelService, reader: StateClient) -> None:
    async def never(_: Validate) -> None:
        await asyncio.Event().wait()

    reader.agents.set(agent())
    reader.agents.get("a")
    for shard in service.shards:
        shard.judges.gate = never
    service.handles_work = False
    with pytest.raises(OutcomeUnknownError):
        reader.agents.set(agent(kind="y"), expected_version=1, timeout_s=0.3)
    assert not reader._calls.cache.holds(("agents", "a"))


def test_a_refused_write_leaves_nothing_of_itself_behind(reader: StateClient) -> None:
    reader.agents.set(agent())
    with pytest.raises(VersionConflictError):
        reader.agents.set(agent(kind="refused"))
    assert reader.agents.get("a").agent_type == "x"


def test_a_token_makes_another_client_read_what_this_one_wrote(service: ChannelService, reader: StateClient) -> None:
    with service.client() as writer:
        stored = writer.agents.set(agent())
        assert reader.agents.get("a") == stored
        other = reader.agents.get("a", at_least=writer.token())
        assert other == stored
        before = frames(service)
        assert reader.agents.get("a", at_least=reader.token()) == stored  # proven from memory
        assert frames(service) == before
        writer.agents.set(agent("z", "other"))
        assert reader.agents.get_many(["a"], at_least=writer.token()) == {"a": stored}
        assert reader.agents.exists("z", at_least=pickle.loads(pickle.dumps(writer.token())))
    with pytest.raises(InvalidStateError):
        reader.agents.get("a", at_least="invented")


def test_a_token_is_obeyed_while_the_push_is_held_up(service: ChannelService, reader: StateClient) -> None:
    with service.client() as writer:
        writer.agents.set(agent())
        assert reader.agents.get("a").version == 1
        transport = cast("Any", reader._calls.transport)
        transport.has_pushes = lambda: False  # as if the network kept the push back
        reader._calls.transport.take_in = lambda: None  # type: ignore[method-assign]
        writer.agents.set(agent(kind="y"), expected_version=1)
        assert reader.agents.get("a", at_least=writer.token()).version == 2


def test_a_client_that_is_closed_answers_nothing_from_memory(service: ChannelService) -> None:
    client = service.client()
    connect(client)
    client.agents.set(agent())
    client.agents.get("a")
    client.close()
    with pytest.raises(ClientClosedError):
        client.agents.get("a")


def test_the_child_of_a_fork_begins_with_an_empty_cache(reader: StateClient) -> None:
    reader.agents.set(agent())
    reader.agents.get("a")
    with reader._calls.cache._lock:  # as another thread may hold it at that moment
        child = os.fork()
        if child == 0:
            empty = counted(reader)["entries"] == 0
            os._exit(0 if empty else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert counted(reader)["entries"] == 1


def test_an_entry_that_no_proof_keeps_alive_does_not_answer(service: ChannelService, reader: StateClient) -> None:
    reader.agents.set(agent())
    reader.agents.get("a")
    transport = reader._calls.transport
    assert isinstance(transport, ChannelTransport)
    for channel in reader._calls.cache._cache._channels.values():
        channel.proven_s -= 60
    before = frames(service)
    assert reader.agents.get("a").version == 1
    assert frames(service) >= before  # the owner, or a proof that came meanwhile
    eventually(lambda: reader._calls.cache.holds(("agents", "a")))


class Swallowing:
    """A transport whose other end hears nothing any more."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        pass


def silence(service: ChannelService) -> None:
    """From now on nothing reaches those who are connected, and nobody is told."""
    for shard in service.shards:
        for peer in shard.channel._listener._peers:
            peer._transport = cast("Any", Swallowing(peer._transport))


def test_behind_a_silent_network_nothing_older_than_promised_is_read(
    service: ChannelService, reader: StateClient, record_property: Callable[[str, object], None]
) -> None:
    reader.agents.set(agent(kind="0"))
    assert reader._calls.cache.holds(("agents", "a"))
    service.on_loop(lambda: silence(service))
    with service.client() as writer:
        writer.agents.set(agent(kind="1"), expected_version=1)
    acknowledged_s = time.monotonic()
    largest_s = 0.0
    while True:
        began_s = time.monotonic()
        if reader.agents.get("a").agent_type == "1":
            break
        largest_s = began_s - acknowledged_s
    record_property("largest_staleness_s", largest_s)
    sys.stdout.write(f"\nlargest staleness {largest_s:.2f} s\n")
    assert 1.0 < largest_s <= 3.0
