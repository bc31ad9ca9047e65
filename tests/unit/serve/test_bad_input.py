"""Bad input over HTTP: a problem document with the right status and code for each, and never a 5xx."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.http_service import TOKEN, app_of, client_of, http_client
from tests.local_service import LocalService
from tests.unit.serve.test_states import ANY, NEW, agent, problem, put

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.client._async.raw import AsyncRawCollection
from lightning_state.actors.limits import Limits
from lightning_state.serve.app import build_app
from lightning_state.serve.tokens import digest_of

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_state"),
        (b"{", "invalid_state"),
        (b"[]", "invalid_state"),
        (b'"x"', "invalid_state"),
        (b"\xff\xfe", "invalid_state"),
        (b'{"agentId":"a-1","agentType":"\xff"}', "invalid_state"),
        (json.dumps({"agentId": "a-1"}).encode(), "invalid_state"),
        (json.dumps(agent(extra=1)).encode(), "invalid_state"),
        (json.dumps({"agent_id": "a-1", "agent_type": "x"}).encode(), "invalid_state"),
        (json.dumps(agent("other")).encode(), "invalid_state"),
        (json.dumps(agent(status="Reedy")).encode(), "invalid_state"),
        (json.dumps(agent(agentType=3)).encode(), "invalid_state"),
        (b'{"agentId":"a-1","agentType":"x","performanceMetrics":{"a":NaN}}', "invalid_state"),
        (b'{"agentId":"a-1","agentType":"x","properties":{"a":NaN}}', "invalid_state"),
        (b'{"agentId":"a-1","agentType":"x","properties":{"a":1e999}}', "invalid_state"),
        (b'{"agentId":"a-1","agentType":"\\ud800"}', "invalid_state"),
        (json.dumps(agent(properties={"a": json.loads("[" * 40 + "]" * 40)})).encode(), "too_deep"),
        (b"[" * 100_000, "too_deep"),
    ],
)
async def test_a_bad_state_is_refused_and_nothing_is_stored(http: httpx.AsyncClient, body: bytes, code: str) -> None:
    answer = await http.put("/v1/agents/a-1", content=body, headers={**NEW, **JSON})
    assert problem(answer) == (422, code)
    assert problem(await http.get("/v1/agents/a-1")) == (404, "not_found")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"a":NaN}', b'{"a":1e999}', b"\xff", b'{"status":7}'])
async def test_a_bad_patch_changes_nothing(http: httpx.AsyncClient, body: bytes) -> None:
    await put(http)
    assert problem(await http.patch("/v1/agents/a-1", content=body, params=ANY, headers=JSON))[0] == 422
    assert (await http.get("/v1/agents/a-1")).headers["etag"] == '"1"'


@pytest.mark.parametrize(
    "key", [".hidden", "%2Fx", "a//b", "a%2F%2Fb", "a%2F..%2Fb", "é", "a%20b", "a%00b", "a~b", "x" * 257, "%0A", "%FF"]
)
async def test_a_bad_key_is_refused(http: httpx.AsyncClient, key: str) -> None:
    assert problem(await http.get(f"/v1/agents/{key}")) == (422, "invalid_key")
    assert problem(await http.delete(f"/v1/agents/{key}", params=ANY)) == (422, "invalid_key")


@pytest.mark.parametrize("key", ["a/b", "a.b", "a:b@c+d-e_f", "a%2Fb", "x" * 256, "a.", "batch:batchSet"])
async def test_every_good_key_works(http: httpx.AsyncClient, key: str) -> None:
    body = agent(key.replace("%2F", "/"))
    assert (await http.put(f"/v1/agents/{key}", json=body, headers=NEW)).status_code == 201
    assert (await http.get(f"/v1/agents/{key}")).status_code == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nothing", "no_such_route"),
        ("/v1", "no_such_route"),
        ("/v1/agents/", "no_such_route"),
        ("/v1/locks/agents/a", "no_such_route"),
        ("/v1/agents/a-1/~nothing", "no_such_route"),
        ("/v1/unknown", "unknown_category"),
        ("/v1/unknown/x", "unknown_category"),
        ("/v1/Agents/x", "unknown_category"),
        ("/v1/verlx/x", "unknown_category"),
    ],
)
async def test_an_unknown_path_is_a_404(http: httpx.AsyncClient, path: str, code: str) -> None:
    assert problem(await http.get(path)) == (404, code)


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/agents/a-1", "DELETE, GET, HEAD, PATCH, PUT"),
        ("/v1/agents", "GET, HEAD"),
        ("/v1/agents:batchGet", "POST"),
        ("/v1/agents/a-1/~status", "POST"),
        ("/v1/verl/verify", "POST"),
        ("/v1/metrics", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_a_405_that_names_every_method_there_is(
    http: httpx.AsyncClient, path: str, allow: str
) -> None:
    for method in ("POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"):
        if method not in allow:
            answer = await http.request(method, path)
            assert problem(answer) == (405, "method_not_allowed")
            assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "query", ["consistency=fresh", "x=1", "consistency=cached&consistency=cached", "atVersion=1", "%zz", "consistency"]
)
async def test_an_odd_query_is_refused(http: httpx.AsyncClient, query: str) -> None:
    await put(http)
    assert (await http.get(f"/v1/agents/a-1?{query}")).status_code in {400, 422}


@pytest.mark.parametrize(
    "headers",
    [
        {"Request-Timeout": "0"},
        {"Request-Timeout": "-1"},
        {"Request-Timeout": "nan"},
        {"Request-Timeout": "1e9"},
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "x" * 129},
        {"Idempotency-Key": "a b"},
    ],
)
async def test_an_odd_header_is_refused(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.put("/v1/agents/a-1", json=agent(), headers={**NEW, **headers})
    assert problem(answer) == (400, "bad_request")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/json; charset=latin-1", "application/xml", "x"])
async def test_a_body_that_is_not_json_is_unsupported(http: httpx.AsyncClient, kind: str) -> None:
    answer = await http.put("/v1/agents/a-1", content=json.dumps(agent()), headers={**NEW, "content-type": kind})
    assert problem(answer) == (415, "unsupported_media_type")


async def test_a_compressed_body_is_refused_unread(http: httpx.AsyncClient) -> None:
    bomb = gzip.compress(b"[" * 10_000_000)
    headers = {**NEW, **JSON, "content-encoding": "gzip"}
    answer = await http.put("/v1/agents/a-1", content=bomb, headers=headers)
    assert problem(answer) == (415, "unsupported_media_type")
    assert answer.headers["connection"] == "close"


async def test_an_oversize_body_is_refused_by_its_announced_length(http: httpx.AsyncClient) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = {**NEW, **JSON, "content-length": str(1024 * 1024 + 4097)}
    assert problem(await http.put("/v1/agents/a-1", content=never(), headers=headers)) == (413, "too_large")
    for nonsense in ("-1", "1e3", "9" * 30):
        answer = await http.put("/v1/agents/a-1", content=never(), headers={**headers, "content-length": nonsense})
        assert answer.status_code in {400, 413}


async def test_an_endless_body_is_cut_off_at_the_limit(http: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    answer = await http.put("/v1/agents/a-1", content=endless(), headers={**NEW, **JSON})
    assert problem(answer) == (413, "too_large")
    assert sent < 2 * 1024 * 1024


async def test_a_state_at_the_limit_is_stored_and_one_beyond_is_not() -> None:
    small = LocalService(limits=Limits(state_bytes=1_000))
    async with http_client(app_of(small)) as http:
        assert (await put(http, properties={"k": "x" * 800})).status_code == 200
        assert problem(await put(http, properties={"k": "x" * 1_000})) == (413, "too_large")


async def test_a_body_that_drips_is_given_up(service: LocalService) -> None:
    app = app_of(service, body_within_s=0.05)
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/v1/agents/a-1",
        "raw_path": b"/v1/agents/a-1",
        "query_string": b"expectedVersion=any",
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
        "server": ("x", 1),
    }
    await app(scope, receive, send)  # pyright: ignore[reportArgumentType]  # a plain receive
    assert answers[0]["status"] == 408
    assert (b"connection", b"close") in answers[0]["headers"]


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
)
async def test_missing_and_wrong_tokens_get_the_same_answer(service: LocalService, authorization: str | None) -> None:
    async with http_client(app_of(service)) as http:
        del http.headers["authorization"]
        headers = [] if authorization is None else [(b"authorization", authorization.encode())]
        answer = await http.get("/v1/agents/a-1", headers=headers)
        reference = await http.get("/v1/agents/a-1?token=wrong")
    assert problem(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (answer.content, dict(answer.headers)) == (reference.content, dict(reference.headers))


async def test_without_the_token_not_even_paths_are_told_apart(service: LocalService) -> None:
    async with http_client(app_of(service)) as http:
        del http.headers["authorization"]
        answers = [
            await http.get(path) for path in ("/", "/nothing", "/v1/agents", "/v1/unknown", "/metrics", "/openapi.json")
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200


async def test_a_browser_may_give_the_token_in_the_query_but_not_to_write(service: LocalService) -> None:
    async with http_client(app_of(service)) as http:
        del http.headers["authorization"]
        assert (await http.get("/", params={"token": TOKEN})).status_code == 200
        answer = await http.put("/v1/agents/a-1", json=agent(), params={**ANY, "token": TOKEN})
        assert problem(answer) == (401, "unauthenticated")


async def test_too_many_headers_are_refused(http: httpx.AsyncClient) -> None:
    assert problem(await http.get("/", headers={"x": "y" * 20_000})) == (431, "headers_too_large")


class _Broken(AsyncStateClient):
    async def raw(self, name: str, *, timeout_s: float | None = None) -> AsyncRawCollection:
        del name, timeout_s
        raise RuntimeError("a secret of the inside")


async def test_a_bug_is_a_500_that_tells_nothing(service: LocalService, caplog: pytest.LogCaptureFixture) -> None:
    broken = _Broken(client_of(service)._calls.transport, service=service.name)
    async with http_client(build_app(broken, digest_of(TOKEN), service.limits)) as http:
        answer = await http.get("/v1/agents/a-1")
    assert problem(answer) == (500, "error")
    assert "secret" not in answer.text
    assert "a secret of the inside" in caplog.text
