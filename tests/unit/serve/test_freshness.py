"""Freshness over HTTP (C8): what an answer reflects, what a read must reflect, and one client over many replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from tests.channel_service import ChannelService
from tests.http_service import TOKEN, served
from tests.local_service import LocalService
from tests.replicas import Balancer, Replica, http_state, replicas_of
from tests.unit.serve.test_states import ANY, NEW, agent, problem

from lightning_state.actors.core.freshness import read_token, write_token
from lightning_state.actors.errors import (
    InvalidStateError,
    InvalidTransitionError,
    StateNotFoundError,
    VersionConflictError,
)
from lightning_state.actors.models import AgentState, AgentStatus, VerificationState
from lightning_state.serve.client import AsyncHttpStateClient, HttpStateClient
from lightning_state.serve.freshness import FRESHNESS, LONGEST


@pytest.fixture
def service() -> Iterator[ChannelService]:
    with ChannelService(shards=2) as running:
        yield running


@pytest.fixture
async def replicas(service: ChannelService) -> AsyncIterator[list[Replica]]:
    async with replicas_of(service) as running:
        yield running


@pytest.fixture
def balancer(replicas: list[Replica]) -> Balancer:
    return Balancer(replicas)


@pytest.fixture
async def state(balancer: Balancer) -> AsyncIterator[AsyncHttpStateClient]:
    async with http_state(balancer) as client:
        yield client


def frames(service: ChannelService) -> int:
    return sum(shard.runtime._performer._last_call for shard in service.shards if shard.runtime._performer)


def slots(answer: httpx.Response) -> dict[int, tuple[int, int]]:
    return dict(read_token(answer.headers[FRESHNESS]).slots)


def state_of(key: str = "a-1", kind: str = "x", **fields: Any) -> AgentState:
    return AgentState(agent_id=key, agent_type=kind, **fields)


async def stale(replicas: list[Replica], key: str = "a-1") -> Replica:
    """A replica that holds version 1 of a key, and will not hear of what comes after."""
    (one, other) = replicas
    assert (await one.http.put(f"/v1/agents/{key}", json=agent(key), headers=NEW)).status_code == 201
    assert (await other.http.get(f"/v1/agents/{key}")).headers["etag"] == '"1"'
    other.hears_nothing()
    return other


async def test_every_answer_about_states_says_what_it_reflects(replicas: list[Replica]) -> None:
    http = replicas[0].http
    created = await http.put("/v1/agents/a-1", json=agent(), headers=NEW)
    ((slot, (epoch, revision)),) = slots(created).items()
    assert (epoch, revision) > (0, 0)
    read = await http.get("/v1/agents/a-1")
    assert slots(read) == slots(created)
    unchanged = await http.get("/v1/agents/a-1", headers={"If-None-Match": '"1"'})
    assert slots(unchanged) == slots(created)
    assert slots(await http.head("/v1/agents/a-1")) == slots(created)
    patched = await http.patch("/v1/agents/a-1", json={"agentType": "y"}, params=ANY)
    assert slots(patched) == {slot: (epoch, revision + 1)}
    status = await http.post("/v1/agents/a-1/~status", json={"status": "Ready"})
    assert slots(status) == {slot: (epoch, revision + 2)}
    assert slots(await http.post("/v1/agents:batchGet", json={"ids": ["a-1"]})) == slots(status)
    stored = await http.post("/v1/agents:batchSet", json={"states": [agent(version=3, status="Ready")]})
    assert slots(stored) == {slot: (epoch, revision + 3)}
    assert slots(await http.get("/v1/agents"))[slot] == (epoch, revision + 3)
    deleted = await http.delete("/v1/agents/a-1", params=ANY)
    assert slots(deleted) == {slot: (epoch, revision + 4)}
    absent = await http.get("/v1/agents/a-1")
    assert problem(absent) == (404, "not_found")
    assert slots(absent) == slots(deleted)
    assert slots(await http.get("/v1/agents")) == slots(deleted)  # it shows that there is none


async def test_a_refusal_says_what_it_reflects_and_hides_it_from_the_body(replicas: list[Replica]) -> None:
    http = replicas[0].http
    created = await http.put("/v1/agents/a-1", json=agent(status="Ready"), headers=NEW)
    refusals = {
        "version_conflict": await http.put("/v1/agents/a-1", json=agent(), headers=NEW),
        "invalid_transition": await http.post("/v1/agents/a-1/~status", json={"status": "Initializing"}),
        "not_found": await http.delete("/v1/agents/a-1x", params=ANY),
    }
    for code, answer in refusals.items():
        assert answer.json()["code"] == code
        assert "moment" not in answer.json()
        assert FRESHNESS in answer.headers
    assert slots(refusals["version_conflict"]) == slots(refusals["invalid_transition"]) == slots(created)
    several = await http.patch("/v1/agents/a-1", json={}, headers={"If-Match": '"8", "9"'})
    assert slots(several) == slots(created)
    batch = await http.post("/v1/agents:batchSet", json={"states": [agent()]})
    assert batch.json()["results"]["a-1"]["problem"]["code"] == "version_conflict"
    assert slots(batch) == slots(created)


async def test_what_names_no_state_reflects_nothing(replicas: list[Replica]) -> None:
    for path in ("/v1/agents/.bad", "/v1/unknown/x", "/healthz", "/"):
        assert FRESHNESS not in (await replicas[0].http.get(path)).headers


@pytest.mark.parametrize("many", [False, True])
async def test_a_read_reflects_the_token_it_is_given_where_memory_is_behind(
    replicas: list[Replica], *, many: bool
) -> None:
    other = await stale(replicas)
    written = await replicas[0].http.patch("/v1/agents/a-1", json={"agentType": "new"}, params=ANY)
    token = written.headers[FRESHNESS]

    async def kind(**params: str) -> str:
        if many:
            answer = await other.http.post("/v1/agents:batchGet", json={"ids": ["a-1"]}, params=params)
            return answer.json()["items"]["a-1"]["agentType"]
        return (await other.http.get("/v1/agents/a-1", params=params)).json()["agentType"]

    assert await kind() == "researcher"  # what it would have answered
    assert await kind(atLeast=token) == "new"
    assert await kind() == "new"  # and never an older one afterwards


async def test_what_memory_can_prove_fresh_it_answers(service: ChannelService, replicas: list[Replica]) -> None:
    one, other = replicas
    token = (await one.http.put("/v1/agents/a-1", json=agent(), headers=NEW)).headers[FRESHNESS]
    assert (await other.http.get("/v1/agents/a-1", params={"atLeast": token})).status_code == 200
    before = frames(service)
    for _ in range(3):
        assert (await other.http.get("/v1/agents/a-1", params={"atLeast": token})).status_code == 200
    assert frames(service) == before


async def test_writes_to_other_keys_of_a_slot_cost_a_reader_one_question(
    service: ChannelService, replicas: list[Replica], state: AsyncHttpStateClient
) -> None:
    """A token names slots, not keys: what the owner says of one key proves the whole slot from then on."""
    await state.agents.set_many([state_of(f"k-{number}") for number in range(200)])
    for _ in range(4):  # each replica proves each slot once
        await state.agents.get("k-7")
    before = frames(service)
    for _ in range(4):
        await state.agents.get("k-7")
    assert frames(service) == before
    assert all(replica.cache["hits"] > 0 for replica in replicas)


async def test_a_list_takes_any_token_of_this_service(replicas: list[Replica]) -> None:
    one, other = replicas
    token = (await one.http.put("/v1/agents/a-1", json=agent(), headers=NEW)).headers[FRESHNESS]
    listed = await other.http.get("/v1/agents", params={"atLeast": token, "limit": "1"})
    assert [item["agentId"] for item in listed.json()["items"]] == ["a-1"]


@pytest.mark.parametrize("token", ["", "x", "????", "AAAA", "ké", "x" * (LONGEST + 1)])
async def test_what_is_no_token_is_refused(replicas: list[Replica], token: str) -> None:
    http = replicas[0].http
    await http.put("/v1/agents/a-1", json=agent(), headers=NEW)
    params = {"atLeast": token}
    answers = [
        await http.get("/v1/agents/a-1", params=params),
        await http.get("/v1/agents", params=params),
        await http.post("/v1/agents:batchGet", json={"ids": ["a-1"]}, params=params),
    ]
    expected = (400, "bad_request") if len(token) > LONGEST else (422, "invalid_state")
    assert [problem(answer) for answer in answers] == [expected] * 3


async def test_a_token_of_another_service_is_refused_and_one_from_the_future_is_obeyed(
    service: ChannelService, replicas: list[Replica]
) -> None:
    http = replicas[0].http
    created = await http.put("/v1/agents/a-1", json=agent(), headers=NEW)
    foreign = write_token("another", slots(created))
    refused = await http.get("/v1/agents/a-1", params={"atLeast": foreign})
    assert problem(refused) == (422, "invalid_state")
    assert refused.json()["reason"] == "foreign_token"
    invented = write_token("id-1", dict.fromkeys(slots(created), (999, 999)))
    before = frames(service)
    for _ in range(2):
        assert (await http.get("/v1/agents/a-1", params={"atLeast": invented})).status_code == 200
    assert frames(service) == before + 2  # nothing in memory can be proven that new; the owner is always new enough
    honest = created.headers[FRESHNESS]
    assert (await http.get("/v1/agents/a-1", params={"atLeast": honest})).status_code == 200
    assert frames(service) == before + 2


async def test_an_invented_token_leaves_nothing_behind(replicas: list[Replica]) -> None:
    (one, _) = replicas
    await one.http.put("/v1/agents/a-1", json=agent(), headers=NEW)
    held = one.state._calls.cache._seen.token("id-1")
    for begin in range(0, 3_000, 300):
        token = write_token("id-1", dict.fromkeys(range(begin, begin + 300), (1, 1)))
        await one.http.get("/v1/agents/a-1", params={"atLeast": token})
    assert one.state._calls.cache._seen.token("id-1") == held


async def test_one_client_sees_its_own_writes_whatever_replica_answers(
    replicas: list[Replica], balancer: Balancer, state: AsyncHttpStateClient
) -> None:
    other = await stale(replicas)
    balancer.always = replicas[0]
    await state.agents.patch("a-1", {"agentType": "mine"}, expected_version=1)
    await state.agents.update_status("a-1", AgentStatus.READY)
    balancer.always = other
    assert (await state.agents.get("a-1")).version == 3
    assert (await state.agents.get_many(["a-1"]))["a-1"].version == 3
    balancer.always = replicas[0]
    await state.agents.delete("a-1", expected_version=3)
    balancer.always = other
    with pytest.raises(StateNotFoundError):
        await state.agents.get("a-1")


async def test_versions_never_go_back_for_one_client(
    replicas: list[Replica], balancer: Balancer, state: AsyncHttpStateClient
) -> None:
    """What it saw by a read, a list, a conflict or a missing state through one replica, it sees through the other."""
    learn: dict[str, Callable[[str], Awaitable[object]]] = {
        "read": state.agents.get,
        "many": lambda key: state.agents.get_many([key]),
        "list": lambda key: state.agents.list(prefix=key),
        "conflict": lambda key: state.agents.set(state_of(key)),
        "transition": lambda key: state.agents.update_status(key, AgentStatus.INITIALIZING),
    }
    one, other = replicas
    for key in learn:
        await one.http.put(f"/v1/agents/{key}", json=agent(key), headers=NEW)
        await other.http.get(f"/v1/agents/{key}")
    other.hears_nothing()
    for key, learning in learn.items():
        await one.http.post(f"/v1/agents/{key}/~status", json={"status": "Ready"})
        assert (await other.http.get(f"/v1/agents/{key}")).headers["etag"] == '"1"'
        balancer.always = one
        with suppress(VersionConflictError, InvalidTransitionError):
            await learning(key)
        balancer.always = other
        assert (await state.agents.get(key)).version == 2, key


async def test_what_was_gone_stays_gone(
    replicas: list[Replica], balancer: Balancer, state: AsyncHttpStateClient
) -> None:
    one, other = replicas
    for key in ("g-1", "g-2"):
        await one.http.put(f"/v1/agents/{key}", json=agent(key), headers=NEW)
        await other.http.get(f"/v1/agents/{key}")
    other.hears_nothing()
    for key in ("g-1", "g-2"):
        await one.http.delete(f"/v1/agents/{key}", params=ANY)
    balancer.always = one
    assert not await state.agents.exists("g-1")
    assert (await state.agents.list(prefix="g-2")).states == ()
    balancer.always = other
    assert not await state.agents.exists("g-1")
    assert not await state.agents.exists("g-2")


async def test_a_write_of_unknown_outcome_that_turns_out_to_be_applied_is_seen(
    replicas: list[Replica], balancer: Balancer, state: AsyncHttpStateClient
) -> None:
    other = await stale(replicas)
    headers = {"Idempotency-Key": "lost"}
    await replicas[0].http.patch("/v1/agents/a-1", json={"agentType": "y"}, params=ANY, headers=headers)
    balancer.always = replicas[0]
    assert (await state.resolve("lost", "agents", "a-1")).applied
    balancer.always = other
    assert (await state.agents.get("a-1")).version == 2


async def test_tokens_pass_between_clients_over_http_and_over_actors(
    service: ChannelService, replicas: list[Replica], balancer: Balancer, state: AsyncHttpStateClient
) -> None:
    other = await stale(replicas)
    async with service.async_client() as actors, http_state(balancer) as second:
        await actors.agents.patch("a-1", {"agentType": "2"}, expected_version=1)
        balancer.always = other
        assert (await state.agents.get("a-1")).version == 1
        assert (await state.agents.get("a-1", at_least=await actors.token())).version == 2
        assert (await state.agents.get("a-1")).version == 2
        assert (await second.agents.get_many(["a-1"], at_least=await state.token()))["a-1"].version == 2
        await second.agents.patch("a-1", {"agentType": "3"}, expected_version=2)
        assert (await actors.agents.get("a-1", at_least=await second.token())).version == 3
        assert await second.agents.exists("a-1", at_least=await actors.token())
        assert len((await second.agents.list(at_least=await actors.token())).states) == 1
        with pytest.raises(InvalidStateError):
            await second.agents.get("a-1", at_least="invented")
        with pytest.raises(InvalidStateError):
            await second.agents.get("a-1", at_least=write_token("another", {}))


async def test_a_client_that_has_seen_nothing_has_a_token_too(state: AsyncHttpStateClient) -> None:
    token = await state.token()
    assert read_token(token).service_id == "id-1"
    assert await state.agents.get_many(["nobody"], at_least=token) == {}


async def test_requests_carry_the_slots_of_their_keys_and_no_more(state: AsyncHttpStateClient) -> None:
    await state.agents.set_many([state_of(f"k-{number}") for number in range(100)])
    await state.verifications.set(VerificationState(verification_id="v", source_id="s", content="c"))
    seen = state._calls.seen
    assert seen.of_keys("agents", []) is None
    one = seen.of_keys("agents", ["k-1"])
    assert one is not None
    assert len(one) < 80
    assert len(read_token(one).slots) == 1
    whole = await state.token()
    assert len(read_token(whole).slots) <= 2 * 8
    assert seen.of_keys("research", ["r-1"]) == whole  # nothing is known of that category: pass on everything


async def test_a_service_that_was_replaced_behind_its_address_is_a_new_one(balancer: Balancer) -> None:
    async with http_state(balancer) as state:
        await state.agents.set(state_of())
        with ChannelService(service_id="id-2") as newer:
            async with replicas_of(newer, 1) as (replica,):
                balancer.always = replica
                assert not await state.agents.exists("a-1")
                assert (await state.agents.set(state_of())).version == 1
                assert read_token(await state.token()).service_id == "id-2"


async def test_many_tasks_share_a_client_and_none_sees_an_older_version(state: AsyncHttpStateClient) -> None:
    await state.agents.set(state_of())

    async def go() -> None:
        for _ in range(10):
            written = await state.agents.update("a-1", lambda s: s.replace(agent_type="y"))
            assert (await state.agents.get("a-1")).version >= written.version

    await asyncio.gather(*(go() for _ in range(5)))
    assert (await state.agents.get("a-1")).version == 51


def test_the_blocking_client_does_the_same() -> None:
    with served(LocalService()) as url, HttpStateClient.connect(url, TOKEN, timeout_s=5.0) as state:
        state.agents.set(state_of())
        token = state.token()
        assert state.agents.get("a-1", at_least=token).version == 1
        assert state.agents.exists("a-1", at_least=token)
        assert len(state.agents.list(at_least=token)) == 1
