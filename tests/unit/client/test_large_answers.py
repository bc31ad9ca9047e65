"""Answers are bounded in bytes: no message much above a frame, and the client asks for the rest by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.channel_service import ChannelService
from tests.local_service import LocalService

from lightning_state.actors.client import StateClient
from lightning_state.actors.core.messages import ANY, Pending, Value
from lightning_state.actors.core.rows import Op
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import AgentState, VerificationState
from lightning_state.actors.shard_actor import calls
from lightning_state.actors.shard_actor.calls import HandleCall
from lightning_state.actors.wire.channel_async import AsyncChannelTransport
from lightning_state.actors.wire.peer import Peer

LIMITS = Limits(frame_bytes=40_000, state_bytes=20_000, hot_bytes=60_000)
KEYS = [f"a-{n:02}" for n in range(30)]


def agent(key: str) -> AgentState:
    return AgentState(agent_id=key, agent_type="x", properties={"text": "x" * 9_000})


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the records that shards answer with."""
    found: list[int] = []
    reply, part = Peer.reply, Peer.reply_in_part

    def noted(self: Peer, number: int, payload: bytes) -> None:
        found.append(len(payload))
        reply(self, number, payload)

    def noted_part(self: Peer, number: int, payload: bytes, *, last: bool) -> None:
        found.append(len(payload))
        part(self, number, payload, last=last)

    monkeypatch.setattr(Peer, "reply", noted)
    monkeypatch.setattr(Peer, "reply_in_part", noted_part)
    monkeypatch.setattr(calls, "PART_BYTES", 20_000)
    return found


@pytest.fixture
def service() -> Iterator[ChannelService]:
    with ChannelService(shards=2, limits=LIMITS) as running:
        yield running


@pytest.fixture
def state(service: ChannelService, sent: list[int]) -> Iterator[StateClient]:
    with service.client() as client:
        for key in KEYS:
            client.agents.set(agent(key))
        sent.clear()
        yield client


def test_many_large_states_come_in_bounded_records(state: StateClient, sent: list[int]) -> None:
    found = state.agents.get_many(KEYS, consistency="linearizable")
    assert list(found) == KEYS
    assert all(len(str(one.properties["text"])) == 9_000 for one in found.values())
    assert sum(sent) > 30 * 9_000
    assert max(sent) < 20_000


async def test_asyncio_asks_for_the_rest_too(service: ChannelService, state: StateClient, sent: list[int]) -> None:
    async with service.async_client() as client:
        assert isinstance(client._calls.transport, AsyncChannelTransport)
        assert list(await client.agents.get_many(KEYS, consistency="linearizable")) == KEYS
    assert max(sent) < 20_000
    assert state.agents.exists(KEYS[0])


def test_many_large_states_come_by_handle_in_bounded_messages(service: ChannelService, state: StateClient) -> None:
    lengths: list[int] = []
    answer = service.answer

    async def noted(name: str, data: bytes) -> bytes:
        replied = await answer(name, data)
        lengths.append(len(replied))
        return replied

    service.answer = noted  # pyright: ignore[reportAttributeAccessIssue]  # to see what passes
    transport = state._calls.transport
    handles = StateClient(transport._fallback, service=service.name)  # pyright: ignore[reportAttributeAccessIssue]  # the handles only
    assert list(handles.agents.get_many(KEYS, consistency="linearizable")) == KEYS
    assert max(lengths) < LIMITS.frame_bytes
    assert len(lengths) > 30 * 9_000 // LIMITS.frame_bytes


def test_patched_states_that_do_not_fit_are_asked_for_again_and_patched_once(state: StateClient) -> None:
    session = state._calls.open(state._calls.deadline(None))
    info = session.map.categories["agents"]
    mine = [key for key in KEYS if session.map.locate(info, key)[1] == 0]
    writes = [
        session.write(
            "agents",
            key,
            Op.PATCH,
            b'{"agentType":"y"}',
            ANY,
            deadline_s=state._calls.deadline(None),
            now_ms=1,
        )
        for key in mine
    ]
    outcomes = state._calls.run(session, writes, "patch")
    assert [outcome.version for outcome in outcomes if isinstance(outcome, Value)] == [2] * len(mine)
    assert all(state.agents.get(key, consistency="linearizable").version == 2 for key in mine)


def test_a_list_is_cut_into_pages_by_bytes_and_gives_every_state_once(state: StateClient, sent: list[int]) -> None:
    found: list[str] = []
    pages, cursor = 0, None
    while True:
        page = state.agents.list(prefix="a-", limit=1_000, cursor=cursor)
        pages += 1
        found += [one.agent_id for one in page]
        if (cursor := page.cursor) is None:
            break
    assert found == KEYS
    assert pages > 5
    assert max(sent) < LIMITS.frame_bytes


def test_all_of_a_source_are_found_whatever_their_length(state: StateClient, sent: list[int]) -> None:
    for key in KEYS:
        state.verifications.set(VerificationState(verification_id=key, source_id="r", content="x" * 9_000))
    sent.clear()
    assert [one.verification_id for one in state.verifications.for_source("r")] == KEYS
    assert max(sent) < LIMITS.frame_bytes


def test_a_state_longer_than_the_room_is_sent_all_the_same() -> None:
    call = HandleCall(3, 100)
    large, small = Value(0, 1, 1, 1, 1, b"x" * 200), Value(0, 1, 1, 1, 1, None)
    for index, reply in enumerate((large, small, large)):
        call.answer(index, reply)
    assert call.flush()
    assert call._replies == [large, small, Pending()]


def test_a_local_page_ends_with_the_state_that_fills_it() -> None:
    service = LocalService(shards=1, limits=LIMITS)
    with service.client() as client:
        for key in KEYS[:5]:
            client.agents.set(agent(key))
        assert [len(client.agents.list(limit=limit)) for limit in (2, 5)] == [2, 3]
