"""History, reads of the past and differences, over real shards and sockets, without Ray."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.channel_service import ChannelService

from lightning_state.actors.client import StateClient
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import InvalidKeyError, InvalidStateError, StateNotFoundError
from lightning_state.actors.models import AgentState, JsonObject


@pytest.fixture(scope="module")
def service() -> Iterator[ChannelService]:
    with ChannelService(shards=2) as running:
        yield running


@pytest.fixture
def client(service: ChannelService) -> Iterator[StateClient]:
    with service.client() as connected:
        yield connected


def write(client: StateClient, key: str, *kinds: str) -> None:
    for kind in kinds:
        client.agents.set(AgentState(agent_id=key, agent_type=kind), expected_version=ANY)


def test_every_version_is_told_deletions_too(client: StateClient) -> None:
    write(client, "a", "one", "two")
    client.agents.delete("a", expected_version=2)
    write(client, "a", "four")
    past = client.agents.history("a")
    assert [(each.version, each.operation) for each in past] == [(1, "set"), (2, "set"), (3, "delete"), (4, "set")]
    assert [each.state and each.state.agent_type for each in past] == ["one", "two", None, "four"]
    assert all(each.state.version == each.version for each in past if each.state is not None)
    assert [each.at for each in past] == sorted(each.at for each in past)
    assert client.agents.history("never") == ()


def test_it_is_read_in_parts(client: StateClient) -> None:
    write(client, "parts", *(f"kind-{number}" for number in range(7)))
    first = client.agents.history("parts", limit=3)
    rest = client.agents.history("parts", after_version=first[-1].version, limit=1_000)
    assert [each.version for each in (*first, *rest)] == list(range(1, 8))


def test_large_versions_come_in_several_replies_and_are_put_together(client: StateClient) -> None:
    for number in range(12):
        notes: JsonObject = {"notes": "n" * 900_000}
        state = AgentState(agent_id="large", agent_type=f"kind-{number}", properties=notes)
        client.agents.set(state, expected_version=ANY)
    assert [each.version for each in client.agents.history("large")] == list(range(1, 13))


def test_a_read_of_an_old_version(client: StateClient) -> None:
    write(client, "old", "one", "two")
    assert client.agents.get("old", at_version=1).agent_type == "one"
    assert client.agents.get("old", at_version=1).version == 1
    client.agents.delete("old", expected_version=2)
    for version in (3, 4):
        with pytest.raises(StateNotFoundError):
            client.agents.get("old", at_version=version)


def test_a_read_of_an_old_moment(client: StateClient) -> None:
    write(client, "then", "one")
    first = client.agents.get("then").last_updated
    assert first is not None
    write(client, "then", "two")
    client.agents.delete("then", expected_version=2)
    assert client.agents.get("then", at_time=first).agent_type == "one"
    second = client.agents.history("then")[1].at
    assert client.agents.get("then", at_time=second).agent_type == "two"
    for moment in (first - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)):
        with pytest.raises(StateNotFoundError):
            client.agents.get("then", at_time=moment)


def test_a_difference_is_a_json_patch(client: StateClient) -> None:
    write(client, "diff", "one", "two")
    assert client.agents.diff("diff", 1, 2) == [{"op": "replace", "path": "/agentType", "value": "two"}]
    assert client.agents.diff("diff", 2, 2) == []


def test_bad_input_is_refused(client: StateClient) -> None:
    for version in (0, -1, 2**63, "1", True):
        with pytest.raises(InvalidStateError):
            client.agents.get("a", at_version=version)  # pyright: ignore[reportArgumentType]  # on purpose
    for moment in (datetime(2026, 1, 1), "yesterday"):  # noqa: DTZ001  # on purpose
        with pytest.raises(InvalidStateError):
            client.agents.get("a", at_time=moment)  # pyright: ignore[reportArgumentType]  # on purpose
    with pytest.raises(InvalidStateError):
        client.agents.history("a", limit=0)
    with pytest.raises(InvalidKeyError):
        client.agents.history("a b")


async def test_asyncio_reads_the_past_too(service: ChannelService) -> None:
    async with service.async_client() as client:
        await client.agents.set(AgentState(agent_id="aio", agent_type="one"))
        assert [each.version for each in await client.agents.history("aio")] == [1]
        assert (await client.agents.get("aio", at_version=1)).agent_type == "one"
