"""HTTP reads from memory (C8): each replica's cache holds stored bytes, coherent with the owners and the other ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from tests.channel_service import ChannelService
from tests.replicas import Replica, replicas_of
from tests.unit.serve.test_states import ANY, agent, problem

from lightning_state.actors import AgentState


@pytest.fixture
def service() -> Iterator[ChannelService]:
    with ChannelService(shards=2) as running:
        yield running


@pytest.fixture
async def replicas(service: ChannelService) -> AsyncIterator[list[Replica]]:
    async with replicas_of(service) as running:
        yield running


def frames(service: ChannelService) -> int:
    return sum(shard.runtime._performer._last_call for shard in service.shards if shard.runtime._performer)


async def put(replica: Replica, key: str = "a-1", **fields: Any) -> httpx.Response:
    answer = await replica.http.put(f"/v1/agents/{key}", json=agent(key, **fields), params=ANY)
    assert answer.status_code == 200, answer.text
    return answer


async def test_a_second_read_asks_no_shard_and_has_the_same_bytes(
    service: ChannelService, replicas: list[Replica]
) -> None:
    one, other = replicas
    stored = await put(one, properties={"k": [1, {"x": None}]})
    first = await other.http.get("/v1/agents/a-1")
    before = frames(service)
    for _ in range(3):
        again = await other.http.get("/v1/agents/a-1")
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    unchanged = await other.http.get("/v1/agents/a-1", headers={"If-None-Match": first.headers["etag"]})
    many = await other.http.post("/v1/agents:batchGet", json={"ids": ["a-1"]})
    assert frames(service) == before
    assert unchanged.status_code == 304
    assert first.content == stored.content
    assert many.json()["items"]["a-1"] == first.json()
    assert other.cache["hits"] == 5
    assert other.cache["entries"] == 1


async def test_linearizable_asks_the_owner(service: ChannelService, replicas: list[Replica]) -> None:
    (one, _) = replicas
    await put(one)
    await one.http.get("/v1/agents/a-1")
    before = frames(service)
    await one.http.get("/v1/agents/a-1", params={"consistency": "linearizable"})
    await one.http.post("/v1/agents:batchGet", json={"ids": ["a-1"], "consistency": "linearizable"})
    assert frames(service) == before + 2


async def test_a_state_that_is_not_there_is_remembered_until_it_is_created(
    service: ChannelService, replicas: list[Replica]
) -> None:
    one, other = replicas
    for _ in range(2):
        assert problem(await other.http.get("/v1/agents/a-1")) == (404, "not_found")
    before = frames(service)
    assert (await other.http.post("/v1/agents:batchGet", json={"ids": ["a-1"]})).json() == {"items": {}}
    assert frames(service) == before
    await put(one)
    assert (await other.http.get("/v1/agents/a-1")).status_code == 200


async def test_a_write_through_one_replica_is_seen_through_the_other_once_it_was_pushed(
    replicas: list[Replica],
) -> None:
    """The push is in the other's socket before the writer has its answer, and a read looks there first."""
    one, other = replicas
    for version in range(1, 60):
        await put(one, agentType=str(version))
        read = await other.http.get("/v1/agents/a-1")
        assert read.headers["etag"] == f'"{version}"'
    assert (await other.http.get("/v1/agents/a-1")).json()["agentType"] == "59"
    assert other.cache["hits"] > 0


async def test_writes_through_a_replica_are_seen_through_it(replicas: list[Replica]) -> None:
    (one, _) = replicas
    http = one.http
    await put(one)
    await http.get("/v1/agents/a-1")
    await http.patch("/v1/agents/a-1", json={"agentType": "patched"}, params=ANY)
    assert (await http.get("/v1/agents/a-1")).json()["agentType"] == "patched"
    await http.post("/v1/agents/a-1/~status", json={"status": "Ready"})
    assert (await http.get("/v1/agents/a-1")).json()["status"] == "Ready"
    batch = [agent(agentType="batch", status="Ready")]
    await http.post("/v1/agents:batchSet", json={"states": batch, "expectedVersion": "any"})
    assert (await http.get("/v1/agents/a-1")).json()["agentType"] == "batch"
    await http.delete("/v1/agents/a-1", params=ANY)
    assert problem(await http.get("/v1/agents/a-1")) == (404, "not_found")


async def test_an_own_write_is_kept_as_it_was_stored(service: ChannelService, replicas: list[Replica]) -> None:
    (one, _) = replicas
    stored = await put(one)
    before = frames(service)
    assert (await one.http.get("/v1/agents/a-1")).content == stored.content
    deleted = await one.http.delete("/v1/agents/a-1", params=ANY)
    assert deleted.status_code == 204
    assert (await one.http.get("/v1/agents/a-1")).status_code == 404
    assert frames(service) == before + 1  # the delete


async def test_of_many_requests_at_once_one_asks(service: ChannelService, replicas: list[Replica]) -> None:
    one, other = replicas
    await put(one)
    before = frames(service)
    answers = await asyncio.gather(*(other.http.get("/v1/agents/a-1") for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    assert frames(service) == before + 1


async def test_a_key_is_held_once_whoever_reads_it(service: ChannelService, replicas: list[Replica]) -> None:
    """As a state and as bytes through one client: the form changes, the entry is one, and no answer is wrong."""
    (one, _) = replicas
    await put(one)
    raw = await one.state.raw("agents")
    for _ in range(3):
        read = await one.state.agents.get("a-1")
        assert isinstance(read, AgentState)
        assert read.version == (await raw.get_raw("a-1")).version == 1
        many = await raw.get_many_raw(["a-1", "nobody"])
        assert list(many.states) == ["a-1"]
        assert many.states["a-1"].body == one.state.agents.category.encode(read)
        assert not await one.state.agents.exists("nobody")
    before = frames(service)
    await raw.get_raw("a-1")
    await one.state.agents.get("a-1")  # from the bytes
    assert frames(service) == before
    assert one.cache["entries"] == 2


async def test_a_shard_that_dies_empties_what_it_served(service: ChannelService, replicas: list[Replica]) -> None:
    (one, _) = replicas
    await put(one)
    for number in range(2):
        await asyncio.to_thread(service.restart, number)
    assert (await one.http.get("/v1/agents/a-1")).headers["etag"] == '"1"'
    await put(one)
    assert (await one.http.get("/v1/agents/a-1")).headers["etag"] == '"2"'
