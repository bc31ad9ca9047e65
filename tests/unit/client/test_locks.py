"""C6 as callers see it: locks of the blocking and the asyncio client, over real shards and sockets, without Ray."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from tests.channel_service import ChannelService, eventually

from lightning_state.actors.client import LightningStateService, StateClient
from lightning_state.actors.client.fencing import FencingToken
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import (
    InvalidKeyError,
    InvalidStateError,
    LockedError,
    LockLostError,
    LockTimeoutError,
    StaleFencingTokenError,
    UnknownCategoryError,
)
from lightning_state.actors.models import AgentState


@pytest.fixture
def service() -> Iterator[ChannelService]:
    with ChannelService(shards=2) as running:
        yield running


def agent(key: str) -> AgentState:
    return AgentState(agent_id=key, agent_type="worker")


def test_a_lock_admits_its_holder_and_nobody_else(service: ChannelService) -> None:
    with service.client() as one, service.client() as two:
        with one.lock("agents", "a") as lock:
            stored = one.agents.set(agent("a"), lock=lock)
            with pytest.raises(LockedError) as refused:
                two.agents.update("a", lambda state: state.replace(agent_type="other"))
            assert refused.value.details["holder"]
            one.agents.patch("a", {"agentType": "x"}, expected_version=stored.version, lock=lock)
            one.agents.update("a", lambda state: state.replace(agent_type="y"), lock=lock)
            one.agents.update_status("a", "Ready", lock=lock)  # pyright: ignore[reportArgumentType]  # the name will do
            assert not [error for error in one.agents.set_many([agent("b")]).values() if isinstance(error, Exception)]
            two.agents.patch("a", {"agentType": "z"}, expected_version=ANY, lock=FencingToken(lock.token))
        two.agents.delete("a", expected_version=ANY)


def test_the_token_of_the_former_holder_is_refused(service: ChannelService) -> None:
    with service.client() as one, service.client() as two:
        first = one.lock("agents", "a")
        with first:
            old = FencingToken(first.token)
        with pytest.raises(LockLostError):
            first.token  # noqa: B018  # reading it is what is tested
        with pytest.raises(LockLostError):
            one.agents.set(agent("a"), lock=old)
        with two.lock("agents", "a"), pytest.raises(StaleFencingTokenError):
            one.agents.set(agent("a"), lock=old)
        assert not one.agents.exists("a")


def test_who_waits_gets_it_next(service: ChannelService) -> None:
    order: list[str] = []
    with service.client() as one, service.client() as two:

        def wait() -> None:
            with two.lock("agents", "a"):
                order.append("two")

        thread = threading.Thread(target=wait)
        with one.lock("agents", "a"):
            thread.start()
            shards = [shard.runtime._performer for shard in service.shards]
            eventually(lambda: any(p is not None and p.shard.depths().locks_waiting for p in shards))
            order.append("one")
        thread.join()
    assert order == ["one", "two"]


def test_who_waits_longer_than_it_wants_to_gets_nothing(service: ChannelService) -> None:
    with service.client() as one, service.client() as two, one.lock("agents", "a"):
        with pytest.raises(LockTimeoutError), two.lock("agents", "a", wait_s=0.05):
            raise AssertionError
        with pytest.raises(LockedError), two.lock("agents", "a", wait_s=0):
            raise AssertionError


def test_a_holder_that_lives_keeps_its_lease_past_its_time_to_live(service: ChannelService) -> None:
    with service.client() as one, service.client() as two, one.lock("agents", "a", ttl_s=0.3) as lock:
        with pytest.raises(LockTimeoutError), two.lock("agents", "a", wait_s=1.0):
            raise AssertionError
        one.agents.set(agent("a"), lock=lock)


def test_a_lease_that_nobody_renews_is_lost_and_leaving_says_so(service: ChannelService) -> None:
    with service.client() as one, service.client() as two:
        lock = one.lock("agents", "a", ttl_s=0.2).acquire()
        one._calls.keeper.drop(lock)  # as if this process were stopped
        with two.lock("agents", "a") as newer:
            with pytest.raises(StaleFencingTokenError):
                one.agents.set(agent("a"), lock=lock)
            two.agents.set(agent("a"), lock=newer)
        with pytest.raises(LockLostError):
            lock.release()
        assert one.agents.get("a").version == 1


def test_what_ends_the_block_is_not_hidden_by_a_lost_lease(service: ChannelService) -> None:
    def work(one: StateClient, two: StateClient) -> None:
        with one.lock("agents", "a", ttl_s=0.1) as lock:
            one._calls.keeper.drop(lock)
            with two.lock("agents", "a"):
                raise ZeroDivisionError

    with service.client() as one, service.client() as two, pytest.raises(ZeroDivisionError):
        work(one, two)


def test_the_same_thread_may_lock_again_and_another_may_not(service: ChannelService) -> None:
    with service.client() as one, one.lock("agents", "a") as outer:
        with one.lock("agents", "a") as inner:
            assert inner.token == outer.token
        refused: list[type[Exception]] = []

        def other() -> None:
            try:
                one.lock("agents", "a", wait_s=0).acquire()
            except LockedError as error:
                refused.append(type(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert refused == [LockedError]
        one.agents.set(agent("a"), lock=outer)


def test_several_are_locked_in_one_order_and_all_or_none(service: ChannelService) -> None:
    with service.client() as one, service.client() as two:
        with one.lock_all([("agents", "b"), ("agents", "a")]) as locks:
            results = one.agents.set_many([agent("a"), agent("b"), agent("c")], lock=locks)
            assert [state.version for state in results.values() if isinstance(state, AgentState)] == [1, 1, 1]
        with one.lock("agents", "b"):
            with pytest.raises(LockedError), two.lock_all([("agents", "a"), ("agents", "b")], wait_s=0):
                raise AssertionError
            with two.lock("agents", "a", wait_s=0):
                pass


def test_bad_input_is_refused(service: ChannelService) -> None:
    with service.client() as one:
        for bad in ({"ttl_s": 0}, {"ttl_s": 4_000}, {"wait_s": -1}, {"owner": ""}, {"owner": "x" * 300}):
            with pytest.raises(InvalidStateError):
                one.lock("agents", "a", **bad).acquire()  # pyright: ignore[reportArgumentType]  # on purpose
        with pytest.raises(InvalidKeyError):
            one.lock("agents", "a b").acquire()
        with pytest.raises(UnknownCategoryError):
            one.lock("ghosts", "a").acquire()
        with one.lock("agents", "a") as lock, pytest.raises(InvalidStateError, match="write of agents/b"):
            one.agents.set(agent("b"), lock=lock)


def test_a_shard_that_restarts_keeps_the_lease_and_its_holder_goes_on(service: ChannelService) -> None:
    with service.client() as one, service.client() as two:
        with one.lock("agents", "a") as lock:
            token = lock.token
            for number in range(2):
                service.restart(number)
            with pytest.raises(LockedError):
                two.agents.set(agent("a"))
            one.agents.set(agent("a"), lock=lock)
            assert lock.token == token
        two.agents.set(agent("a"), expected_version=ANY)


def test_the_facade_locks_too(service: ChannelService) -> None:
    with LightningStateService(service.client()) as facade, facade.acquire_lock("agents", "a") as lock:
        assert lock.token > 0


async def test_tasks_exclude_each_other_and_lose_no_update(service: ChannelService) -> None:
    """C6 with a read-modify-write that nothing but the lock protects."""
    async with service.async_client() as client:
        await client.agents.set(agent("counter"))

        async def add() -> None:
            async with client.lock("agents", "counter") as lock:
                state = await client.agents.get("counter", consistency="linearizable")
                count = int(state.performance_metrics.get("n", 0)) + 1
                changed = state.replace(performance_metrics={"n": count})
                await client.agents.set(changed, expected_version=ANY, lock=lock)

        await asyncio.gather(*(add() for _ in range(20)))
        assert (await client.agents.get("counter")).performance_metrics["n"] == 20


async def test_a_cancelled_waiter_does_not_keep_the_lock_from_the_others(service: ChannelService) -> None:
    async with service.async_client() as client:
        async with client.lock("agents", "a"):
            waiting = asyncio.create_task(client.lock("agents", "a", owner="x").acquire())
            await asyncio.sleep(0)
            waiting.cancel()
        # Whoever was cancelled while waiting is gone after three seconds at the latest.
        async with client.lock("agents", "a", wait_s=10, owner="y") as lock:
            assert lock.token
