"""POST /v1/cache:…: through whichever replica, every cache forgets, and the token makes reads as new as the order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from tests.channel_service import ChannelService
from tests.replicas import Balancer, Replica, http_state, replicas_of
from tests.unit.serve.test_states import ANY, NEW, agent, problem

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.errors import InvalidKeyError, UnknownCategoryError
from lightning_state.serve.freshness import FRESHNESS


@pytest.fixture
def service() -> Iterator[ChannelService]:
    with ChannelService(shards=2) as running:
        yield running


@pytest.fixture
async def replicas(service: ChannelService) -> AsyncIterator[list[Replica]]:
    async with replicas_of(service) as running:
        for key in ("a-1", "a-2"):
            await running[0].http.put(f"/v1/agents/{key}", json=agent(key), headers=NEW)
        yield running


@pytest.fixture
async def in_python(service: ChannelService) -> AsyncIterator[AsyncStateClient]:
    async with service.async_client() as client:
        await client.agents.list()  # connected to every shard
        yield client


def holds(client: AsyncStateClient, key: str) -> bool:
    return client._calls.cache.holds(("agents", key))


async def fill(replicas: list[Replica], in_python: AsyncStateClient) -> list[AsyncStateClient]:
    """Everybody's cache holds both keys."""
    for replica in replicas:
        for key in ("a-1", "a-2"):
            await replica.http.get(f"/v1/agents/{key}")
    await in_python.agents.get_many(["a-1", "a-2"])
    everybody = [*(replica.state for replica in replicas), in_python]
    assert all(holds(client, key) for client in everybody for key in ("a-1", "a-2"))
    return everybody


async def take_in(client: AsyncStateClient) -> None:
    """As every read does before it answers from memory."""
    while client._calls.transport.has_pushes():
        await client._calls.transport.take_in()


async def test_one_state_is_forgotten_by_every_cache_and_no_other(
    replicas: list[Replica], in_python: AsyncStateClient
) -> None:
    everybody = await fill(replicas, in_python)
    answer = await replicas[0].http.post("/v1/cache:invalidate", json={"category": "agents", "id": "a-1"})
    assert (answer.status_code, answer.content) == (204, b"")
    for client in everybody:
        await take_in(client)
        assert not holds(client, "a-1")
        assert holds(client, "a-2")
    for replica in replicas:
        assert (await replica.http.get("/v1/agents/a-1")).headers["etag"] == '"1"'


async def test_a_category_is_forgotten_by_every_cache(replicas: list[Replica], in_python: AsyncStateClient) -> None:
    everybody = await fill(replicas, in_python)
    await in_python.verifications.for_source("r")
    answer = await replicas[1].http.post("/v1/cache:invalidateCategory", json={"category": "agents"})
    assert answer.status_code == 204
    for client in everybody:
        await take_in(client)
        assert not holds(client, "a-1")
        assert not holds(client, "a-2")


@pytest.mark.parametrize("verb", ["invalidate", "invalidateCategory"])
async def test_the_token_makes_reads_as_new_as_the_order_where_it_did_not_arrive(
    replicas: list[Replica], verb: str
) -> None:
    one, other = replicas
    await other.http.get("/v1/agents/a-1")
    other.hears_nothing()
    await one.http.patch("/v1/agents/a-1", json={"agentType": "new"}, params=ANY)
    body = {"category": "agents", **({"id": "a-1"} if verb == "invalidate" else {})}
    token = (await one.http.post(f"/v1/cache:{verb}", json=body)).headers[FRESHNESS]
    read = await other.http.get("/v1/agents/a-1", params={"atLeast": token})
    assert read.json()["agentType"] == "new"


async def test_the_client_over_http_reads_nothing_older_than_its_order(replicas: list[Replica]) -> None:
    one, other = replicas
    balancer = Balancer(replicas)
    async with http_state(balancer) as state:
        for forget in (
            lambda: state.cache.invalidate("agents", "a-1"),
            lambda: state.cache.invalidate_category("agents"),
        ):
            await other.http.get("/v1/agents/a-1")
            kind = f"kind-{id(forget)}"
            heard, other.state._calls.cache.invalidated = other.state._calls.cache.invalidated, lambda *_: None
            await one.http.patch("/v1/agents/a-1", json={"agentType": kind}, params=ANY)
            balancer.always = one
            await forget()
            balancer.always = other
            assert (await state.agents.get("a-1")).agent_type == kind
            other.state._calls.cache.invalidated = heard  # type: ignore[method-assign]
        with pytest.raises(UnknownCategoryError):
            await state.cache.invalidate("unheard-of", "a")
        with pytest.raises(UnknownCategoryError):
            await state.cache.invalidate_category("unheard-of")
        with pytest.raises(InvalidKeyError):
            await state.cache.invalidate("agents", ".bad")


async def test_what_is_not_stored_may_be_forgotten(replicas: list[Replica]) -> None:
    answer = await replicas[0].http.post("/v1/cache:invalidate", json={"category": "agents", "id": "nobody"})
    assert answer.status_code == 204
    empty = await replicas[0].http.post("/v1/cache:invalidateCategory", json={"category": "verifications"})
    assert empty.status_code == 204


async def test_a_replica_without_channels_keeps_nothing_it_was_told_to_forget(
    service: ChannelService, replicas: list[Replica]
) -> None:
    (one, _) = replicas
    await one.http.get("/v1/agents/a-1")
    for shard in service.shards:
        service.on_loop(shard.channel._listener.disconnect)
    answer = await one.http.post("/v1/cache:invalidate", json={"category": "agents", "id": "a-1"})
    assert answer.status_code == 204
    assert not holds(one.state, "a-1")


@pytest.mark.parametrize(
    ("verb", "body", "expected"),
    [
        ("invalidate", {"category": "agents"}, (422, "invalid_state")),
        ("invalidate", {"category": "agents", "id": ""}, (422, "invalid_state")),
        ("invalidate", {"category": "agents", "id": ".x"}, (422, "invalid_key")),
        ("invalidate", {"category": "agents", "id": "a", "more": 1}, (422, "invalid_state")),
        ("invalidate", {"category": "nothing", "id": "a"}, (404, "unknown_category")),
        ("invalidate", [], (422, "invalid_state")),
        ("invalidateCategory", {}, (422, "invalid_state")),
        ("invalidateCategory", {"category": 3}, (422, "invalid_state")),
        ("invalidateCategory", {"category": "nothing"}, (404, "unknown_category")),
        ("invalidateNothing", {"category": "agents"}, (404, "no_such_route")),
    ],
)
async def test_a_bad_order_is_refused(
    http: httpx.AsyncClient, verb: str, body: object, expected: tuple[int, str]
) -> None:
    assert problem(await http.post(f"/v1/cache:{verb}", json=body)) == expected


async def test_only_post_is_taken(http: httpx.AsyncClient) -> None:
    for verb in ("invalidate", "invalidateCategory"):
        refused = await http.get(f"/v1/cache:{verb}")
        assert (problem(refused), refused.headers["allow"]) == ((405, "method_not_allowed"), "POST")
