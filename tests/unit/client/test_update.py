"""C5 for `update`: the same request id again returns the stored result, whatever is stored since."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.channel_service import ChannelService, eventually
from tests.local_service import LocalService

from lightning_state.actors.client import StateClient
from lightning_state.actors.core.effects import Validate
from lightning_state.actors.core.messages import ANY, Write
from lightning_state.actors.errors import (
    IdempotencyMismatchError,
    InvalidStateError,
    OutcomeUnknownError,
    RequestBarredError,
    StateNotFoundError,
)
from lightning_state.actors.models import AgentState

Service = LocalService | ChannelService


def agent(key: str = "a-1") -> AgentState:
    return AgentState(agent_id=key, agent_type="researcher", performance_metrics={"n": 0})


def increment(current: AgentState) -> AgentState:
    return current.replace(performance_metrics={"n": current.performance_metrics["n"] + 1})


def never(_: AgentState) -> AgentState:
    raise AssertionError("the update was applied already")


@pytest.fixture(params=["handle", "channel"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    if request.param == "handle":
        yield LocalService()
        return
    with ChannelService(shards=2) as running:
        yield running


@pytest.fixture
def state(service: Service) -> Iterator[StateClient]:
    with service.client() as client:
        client.agents.set(agent())
        yield client


def test_the_same_id_returns_the_first_result_and_changes_nothing(state: StateClient) -> None:
    first = state.agents.update("a-1", increment, request_id="mine")
    assert (first.version, first.performance_metrics) == (2, {"n": 1})
    assert state.agents.update("a-1", never, request_id="mine") == first
    newer = state.agents.update("a-1", increment)
    assert state.agents.update("a-1", never, request_id="mine") == first
    assert state.agents.get("a-1") == newer


async def test_the_same_id_returns_the_first_result_over_asyncio_too(service: Service) -> None:
    async with service.async_client() as state:
        await state.agents.set(agent())
        first = await state.agents.update("a-1", increment, request_id="mine")
        assert await state.agents.update("a-1", never, request_id="mine") == first
        assert await state.agents.get("a-1", consistency="linearizable") == first


def test_the_same_id_returns_the_first_result_of_a_state_deleted_since(state: StateClient) -> None:
    first = state.agents.update("a-1", increment, request_id="mine")
    state.agents.delete("a-1", expected_version=first.version)
    assert state.agents.update("a-1", never, request_id="mine") == first
    assert not state.agents.exists("a-1")
    with pytest.raises(StateNotFoundError):
        state.agents.update("a-1", never, request_id="another")


def test_the_same_id_finds_its_result_after_a_restart(service: Service, state: StateClient) -> None:
    first = state.agents.update("a-1", increment, request_id="mine")
    for number in range(2):
        service.restart(number)
    assert state.agents.update("a-1", never, request_id="mine") == first


def test_an_update_of_unknown_outcome_is_repeated_under_the_id_it_names() -> None:
    service = LocalService()
    with service.client() as state:
        state.agents.set(agent())
        service.faults.extend([None, "lose_reply", "hang"])
        with pytest.raises(OutcomeUnknownError) as unknown:
            state.agents.update("a-1", increment, timeout_s=0.2)
        repeated = state.agents.update("a-1", never, request_id=unknown.value.request_id)
        assert repeated.performance_metrics == {"n": 1}


def test_an_id_of_another_write_is_a_mismatch(state: StateClient) -> None:
    stored = state.agents.set(increment(agent()), expected_version=ANY, request_id="set")
    state.agents.patch("a-1", {"agentType": "x"}, expected_version=ANY, request_id="patch")
    state.agents.update("a-1", increment, request_id="update")
    for used in ("set", "patch"):
        with pytest.raises(IdempotencyMismatchError):
            state.agents.update("a-1", never, request_id=used)
    with pytest.raises(IdempotencyMismatchError):
        state.agents.set(stored, expected_version=ANY, request_id="update")
    assert state.agents.get("a-1").version == 4


def test_a_barred_id_stays_barred(state: StateClient) -> None:
    assert not state.resolve("mine", "agents", "a-1").applied
    with pytest.raises(RequestBarredError):
        state.agents.update("a-1", never, request_id="mine")


def test_an_update_keeps_the_key(state: StateClient) -> None:
    with pytest.raises(InvalidStateError):
        state.agents.update("a-1", lambda _: agent("a-2"))
    assert not state.agents.exists("a-2")


def test_a_cached_state_is_not_older_than_what_an_update_was_given(state: StateClient, service: Service) -> None:
    state.agents.get("a-1")
    with service.client() as other:
        other.agents.update("a-1", increment)
    seen: list[int] = []

    def look(current: AgentState) -> AgentState:
        seen.append(current.version)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        state.agents.update("a-1", look, request_id="mine")
    assert state.agents.get("a-1").version >= seen[0] == 2


def test_of_two_updates_of_one_id_at_once_one_is_applied_and_both_get_its_result() -> None:
    with ChannelService() as service, service.client() as one, service.client() as two, ThreadPoolExecutor(2) as pool:
        one.agents.set(agent())
        gate = service.on_loop(asyncio.Event)
        shard = service.shards[0]

        async def hold(_: Validate) -> None:
            await gate.wait()

        def pending() -> int:
            performer = shard.runtime._performer
            return 0 if performer is None else performer.shard.pending

        shard.judges.gate = hold
        updating = [pool.submit(client.agents.update, "a-1", increment, request_id="mine") for client in (one, two)]
        eventually(lambda: service.on_loop(pending) == 2)
        service.on_loop(gate.set)
        results = [each.result() for each in updating]
        assert results[0] == results[1]
        assert (results[0].version, results[0].performance_metrics) == (2, {"n": 1})


def test_a_retry_of_an_overtaken_update_is_the_same_request(service: Service, state: StateClient) -> None:
    calls: list[Callable[[], object]] = []
    with service.client() as other:
        calls.append(lambda: other.agents.update("a-1", increment))

        def overtaken(current: AgentState) -> AgentState:
            if calls:
                calls.pop()()
            return increment(current)

        done = state.agents.update("a-1", overtaken, request_id="mine")
    assert (done.version, done.performance_metrics) == (3, {"n": 2})
    assert state.agents.update("a-1", never, request_id="mine") == done
    if isinstance(service, LocalService):
        writes = [r for _, f in service.frames for r in f.requests if isinstance(r, Write)]
        assert [w.request_id for w in writes if w.intent].count("mine") == 2
