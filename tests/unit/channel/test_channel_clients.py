"""Clients over the direct channel: the same answers, the handle when it breaks, nothing twice, back by themselves."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.channel_service import ChannelService, eventually

from lightning_state.actors import ANY
from lightning_state.actors.client import AsyncStateClient, StateClient
from lightning_state.actors.core.effects import Validate
from lightning_state.actors.errors import (
    ClientClosedError,
    DeadlineExceededError,
    OutcomeUnknownError,
    StateNotFoundError,
    VersionConflictError,
)
from lightning_state.actors.models import AgentState
from lightning_state.actors.wire.channel_async import AsyncChannelTransport
from lightning_state.actors.wire.channel_sync import ChannelTransport
from lightning_state.actors.wire.link_sync import Link


@pytest.fixture
def service() -> Iterator[ChannelService]:
    with ChannelService(shards=2) as running:
        yield running


def agent(key: str, kind: str = "researcher") -> AgentState:
    return AgentState(agent_id=key, agent_type=kind)


def transport(client: StateClient) -> ChannelTransport:
    found = client._calls.transport
    assert isinstance(found, ChannelTransport)
    return found


def link(client: StateClient, shard: int = 0) -> Link:
    found = transport(client)._ways[shard].link
    assert found is not None
    return found


def of_shard(client: StateClient, shard: int) -> str:
    """A key that this shard owns."""
    session = client._calls.open(client._calls.deadline(None))
    info = session.map.categories["agents"]
    return next(f"k-{n}" for n in range(1_000) if session.map.locate(info, f"k-{n}")[1] == shard)


def test_reads_and_writes_need_no_handle(service: ChannelService) -> None:
    with service.client() as client:
        stored = {f"a-{n}": client.agents.set(agent(f"a-{n}")) for n in range(20)}
        assert client.agents.get_many(stored, consistency="linearizable") == stored
        assert len(client.agents.list(limit=100)) == 20
        with pytest.raises(VersionConflictError) as conflict:
            client.agents.set(agent("a-1"))
        assert conflict.value.current == stored["a-1"]
        with pytest.raises(StateNotFoundError):
            client.agents.get("none")
        assert transport(client).connected == [0, 1]
    assert service.handle_frames == 0
    eventually(lambda: sum(shard.connections for shard in service.shards) == 0)


async def test_asyncio_reads_and_writes_need_no_handle(service: ChannelService) -> None:
    async with service.async_client() as client:
        stored = await asyncio.gather(*(client.agents.set(agent(f"a-{n}")) for n in range(100)))
        found = await client.agents.get_many([state.agent_id for state in stored], consistency="linearizable")
        assert list(found.values()) == list(stored)
    assert service.handle_frames == 0


def test_a_shard_that_dies_is_asked_by_handle_and_then_by_its_new_channel(service: ChannelService) -> None:
    with service.client() as client:
        key = of_shard(client, 0)
        client.agents.set(agent(key))
        service.restart(0)
        assert client.agents.set(agent(key, "y"), expected_version=1).version == 2
        eventually(lambda: client.agents.get(key, consistency="linearizable").version == 2 and is_direct(client))
        before = service.handle_frames
        client.agents.get(key, consistency="linearizable")
        assert service.handle_frames == before


def is_direct(client: StateClient) -> bool:
    return 0 in transport(client).connected


async def test_asyncio_comes_back_to_the_new_channel_too(service: ChannelService) -> None:
    async with service.async_client() as client:
        found = client._calls.transport
        assert isinstance(found, AsyncChannelTransport)
        await asyncio.gather(*(client.agents.set(agent(f"a-{n}")) for n in range(20)))
        await asyncio.to_thread(service.restart, 0)
        await asyncio.gather(*(client.agents.set(agent(f"a-{n}", "y"), expected_version=1) for n in range(20)))
        async with asyncio.timeout(10):
            while 0 not in found.connected:
                await client.agents.get_many([f"a-{n}" for n in range(20)])


def test_a_connection_cut_in_the_middle_of_a_write_applies_it_once(service: ChannelService) -> None:
    held = threading.Event()
    go = asyncio.Event()

    async def gate(_: Validate) -> None:
        held.set()
        await go.wait()

    with service.client() as client, ThreadPoolExecutor(1) as pool:
        key = of_shard(client, 0)
        client.agents.set(agent(key))
        service.shards[0].judges.gate = gate
        writing = pool.submit(client.agents.set, agent(key, "y"), expected_version=1)
        assert held.wait(10)
        service.on_loop(service.shards[0].channel._listener.disconnect)
        service.on_loop(go.set)
        assert writing.result(20).version == 2
        assert client.agents.get(key, consistency="linearizable").version == 2


def test_a_write_whose_every_way_is_cut_is_of_unknown_outcome(service: ChannelService) -> None:
    async def never(_: Validate) -> None:
        await asyncio.Event().wait()

    with service.client() as client, ThreadPoolExecutor(1) as pool:
        key = of_shard(client, 0)
        client.agents.get_many([key])
        service.shards[0].judges.gate = never
        service.handles_work = False
        writing = pool.submit(client.agents.set, agent(key), timeout_s=0.6)
        with pytest.raises(OutcomeUnknownError):
            writing.result(20)


def test_a_read_is_not_held_up_by_a_write_that_waits(service: ChannelService) -> None:
    held = threading.Event()
    go = asyncio.Event()

    async def gate(_: Validate) -> None:
        held.set()
        await go.wait()

    with service.client() as client, ThreadPoolExecutor(1) as pool:
        key = of_shard(client, 0)
        client.agents.set(agent(key))
        service.shards[0].judges.gate = gate
        writing = pool.submit(client.agents.set, agent(key, "y"), expected_version=1)
        assert held.wait(10)
        assert client.agents.get(key, consistency="linearizable").version == 1
        assert not writing.done()
        service.on_loop(go.set)
        assert writing.result(20).version == 2


def test_writes_of_one_frame_are_answered_as_they_are_decided(service: ChannelService) -> None:
    go = asyncio.Event()

    async def gate(change: Validate) -> None:
        if change.key == "slow":
            await go.wait()

    async def both(client: AsyncStateClient) -> None:
        slow = asyncio.ensure_future(client.agents.set(agent("slow")))
        fast = await asyncio.wait_for(client.agents.set(agent("fast")), 10)
        assert fast.version == 1
        assert not slow.done()
        service.loop.call_soon_threadsafe(go.set)
        assert (await slow).version == 1

    for shard in service.shards:
        shard.judges.gate = gate

    async def run() -> None:
        async with service.async_client() as client:
            await client.agents.get_many(["slow", "fast"])
            await both(client)

    asyncio.run(run())


def test_many_threads_share_a_connection_and_each_gets_its_own_answer(service: ChannelService) -> None:
    lanes, rounds = 24, 40

    def lane(client: StateClient, number: int) -> int:
        for turn in range(rounds):
            stored = client.agents.set(agent(f"t-{number}", f"x{turn}"), expected_version=turn)
            assert stored.version == turn + 1
            found = client.agents.get(f"t-{number}", consistency="linearizable")
            assert (found.agent_id, found.agent_type) == (f"t-{number}", f"x{turn}")
        return rounds

    with service.client() as client, ThreadPoolExecutor(lanes) as pool:
        done = list(pool.map(lambda number: lane(client, number), range(lanes)))
        assert done == [rounds] * lanes
        assert [shard.connections for shard in service.shards] == [1, 1]
    assert service.handle_frames == 0


def test_threads_survive_a_connection_that_breaks_under_all_of_them(service: ChannelService) -> None:
    lanes, rounds = 12, 40

    def lane(client: StateClient, number: int) -> None:
        for turn in range(rounds):
            assert client.agents.set(agent(f"t-{number}", f"x{turn}"), expected_version=turn).version == turn + 1

    with service.client() as client, ThreadPoolExecutor(lanes + 1) as pool:
        running = [pool.submit(lane, client, number) for number in range(lanes)]
        while not all(lane.done() for lane in running):
            for shard in service.shards:
                service.on_loop(shard.channel._listener.disconnect)
            service.run(asyncio.sleep(0.02))
        for each in running:
            each.result()
        found = client.agents.get_many([f"t-{number}" for number in range(lanes)], consistency="linearizable")
        assert {state.version for state in found.values()} == {rounds}


def test_a_deadline_passes_while_another_thread_reads(service: ChannelService) -> None:
    go = asyncio.Event()

    async def gate(_: Validate) -> None:
        await go.wait()

    with service.client() as client, ThreadPoolExecutor(2) as pool:
        key = of_shard(client, 0)
        client.agents.get_many([key])
        service.shards[0].judges.gate = gate
        patient = pool.submit(client.agents.set, agent(key))
        eventually(lambda: link(client)._leader is not None)
        hasty = pool.submit(client.agents.set, agent(key, "z"), timeout_s=0.2)
        with pytest.raises((DeadlineExceededError, OutcomeUnknownError)):
            hasty.result(10)
        assert not patient.done()
        service.on_loop(go.set)
        assert patient.result(10).version == 1


def test_closing_ends_what_is_under_way(service: ChannelService) -> None:
    async def never(_: Validate) -> None:
        await asyncio.Event().wait()

    with service.client() as client, ThreadPoolExecutor(1) as pool:
        key = of_shard(client, 0)
        client.agents.get_many([key])
        service.shards[0].judges.gate = never
        writing = pool.submit(client.agents.set, agent(key))
        eventually(lambda: bool(link(client)._in_flight))
        client.close()
        with pytest.raises((OutcomeUnknownError, ClientClosedError)):
            writing.result(10)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_has_a_connection_and_a_session_of_its_own(service: ChannelService) -> None:
    with service.client() as client:
        key = of_shard(client, 0)
        client.agents.set(agent(key))
        name = client._calls.open(0.0).name
        child = os.fork()
        if child == 0:
            # Nothing of pytest may run here: the only way out is _exit.
            try:
                same = client._calls.open(0.0).name == name
                stored = client.agents.set(agent(key, "child"), expected_version=1)
                os._exit(0 if stored.version == 2 and not same and transport(client).connected == [0] else 1)
            except BaseException:  # noqa: BLE001  # whatever it is, the parent reads it from the status
                os._exit(2)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.agents.get(key, consistency="linearizable").version == 2
        assert client._calls.open(0.0).name == name
    assert service.handle_frames == 0


def test_the_unix_socket_is_gone_with_its_process_and_tcp_serves_without_it(service: ChannelService) -> None:
    os.unlink(service.endpoint(0).unix)  # noqa: PTH108
    with service.client() as client:
        key = of_shard(client, 0)
        assert client.agents.set(agent(key), expected_version=ANY).version == 1
        assert 0 in transport(client).connected
    assert service.handle_frames == 0
