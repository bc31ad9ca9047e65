"""States over HTTP against real shards in this process: bytes, ETags, conditions, changes, typed refusals."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.local_service import NOTES, Fault, LocalService, Note

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.service_map import Register

NEW = {"If-None-Match": "*"}
ANY = {"expectedVersion": "any"}


def agent(name: str = "a-1", **fields: Any) -> dict[str, Any]:
    return {"agentId": name, "agentType": "researcher", **fields}


async def put(http: httpx.AsyncClient, name: str = "a-1", **fields: Any) -> httpx.Response:
    return await http.put(f"/v1/agents/{name}", json=agent(name, **fields), params=ANY)


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:lightning-state:error:{body['code']}"
    assert body["title"]
    assert body["detail"]
    return response.status_code, body["code"]


async def test_a_new_state_is_created_and_read_back_as_it_is_stored(
    http: httpx.AsyncClient, service: LocalService
) -> None:
    created = await http.put("/v1/agents/a-1", json=agent(properties={"k": [1, {"é": None}]}), headers=NEW)
    assert created.status_code == 201
    assert (created.headers["etag"], created.headers["location"]) == ('"1"', "/v1/agents/a-1")
    read = await http.get("/v1/agents/a-1")
    assert (read.status_code, read.headers["etag"], read.content) == (200, '"1"', created.content)
    assert read.json()["properties"] == {"k": [1, {"é": None}]}
    async with service.async_client() as client:
        stored = await client.agents.get("a-1")
        assert (stored.version, stored.last_updated) == (1, stored.last_updated)
        body = (await client.raw("agents")).category.encode(stored)
    assert read.content.endswith(body[1:])
    assert type(stored).model_validate_json(read.content) == stored


async def test_creating_what_exists_is_a_failed_precondition_that_carries_the_stored_state(
    http: httpx.AsyncClient,
) -> None:
    first = await put(http)
    again = await http.put("/v1/agents/a-1", json=agent(), headers=NEW)
    assert problem(again) == (412, "version_conflict")
    assert again.json()["current"] == first.json()
    assert (again.json()["expectedVersion"], again.json()["currentVersion"]) == (0, 1)


async def test_a_write_needs_a_condition(http: httpx.AsyncClient) -> None:
    await put(http)
    assert problem(await http.put("/v1/agents/a-1", json=agent())) == (428, "precondition_required")
    assert problem(await http.patch("/v1/agents/a-1", json={})) == (428, "precondition_required")
    assert problem(await http.delete("/v1/agents/a-1")) == (428, "precondition_required")


@pytest.mark.parametrize(
    ("tag", "status"),
    [('"1"', 200), ("*", 200), ('"7", "1"', 200), ('"7"', 412), ('W/"1"', 412), ('"x"', 412), ('"7", "8"', 412)],
)
async def test_if_match_names_the_versions_a_write_accepts(http: httpx.AsyncClient, tag: str, status: int) -> None:
    await put(http)
    answer = await http.put("/v1/agents/a-1", json=agent(status="Ready"), headers={"If-Match": tag})
    assert answer.status_code == status
    assert (await http.get("/v1/agents/a-1")).headers["etag"] == ('"2"' if status == 200 else '"1"')


async def test_if_match_any_needs_a_state(http: httpx.AsyncClient) -> None:
    answer = await http.put("/v1/agents/a-1", json=agent(), headers={"If-Match": "*"})
    assert problem(answer) == (412, "version_conflict")


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "1"},
        {"If-Match": '"1" "2"'},
        {"If-Match": ""},
        {"If-None-Match": '"1"'},
        {"If-Match": '"1"', "If-None-Match": "*"},
    ],
)
async def test_a_malformed_condition_is_refused(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    await put(http)
    assert problem(await http.put("/v1/agents/a-1", json=agent(), headers=headers)) == (400, "bad_request")


async def test_a_reader_who_has_the_version_gets_304_without_a_body(http: httpx.AsyncClient) -> None:
    await put(http)
    for tag in ('"1"', 'W/"1"', "*", '"0", "1"'):
        same = await http.get("/v1/agents/a-1", headers={"If-None-Match": tag})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"1"')
    changed = await http.get("/v1/agents/a-1", headers={"If-None-Match": '"2"'})
    assert changed.status_code == 200


async def test_a_patch_merges_and_null_removes(http: httpx.AsyncClient) -> None:
    await put(http, properties={"a": 1, "b": 2})
    patched = await http.patch(
        "/v1/agents/a-1",
        content=json.dumps({"properties": {"a": None, "c": 3}}),
        headers={"If-Match": '"1"', "content-type": "application/merge-patch+json"},
    )
    assert (patched.status_code, patched.headers["etag"]) == (200, '"2"')
    assert patched.json()["properties"] == {"b": 2, "c": 3}
    assert problem(await http.patch("/v1/agents/nobody", json={}, params=ANY)) == (404, "not_found")


async def test_a_deleted_state_is_gone_and_its_versions_go_on(http: httpx.AsyncClient) -> None:
    await put(http)
    assert (await http.delete("/v1/agents/a-1", headers={"If-Match": '"1"'})).status_code == 204
    assert problem(await http.get("/v1/agents/a-1")) == (404, "not_found")
    assert problem(await http.delete("/v1/agents/a-1", params=ANY)) == (404, "not_found")
    assert (await put(http)).headers["etag"] == '"3"'


async def test_status_and_progress_are_changed_in_the_shard(http: httpx.AsyncClient) -> None:
    await put(http)
    ready = await http.post("/v1/agents/a-1/~status", json={"status": "Ready"})
    assert (ready.status_code, ready.json()["status"], ready.headers["etag"]) == (200, "Ready", '"2"')
    stale = await http.post("/v1/agents/a-1/~status", json={"status": "Paused"}, headers={"If-Match": '"1"'})
    assert problem(stale) == (412, "version_conflict")
    forbidden = await http.post("/v1/agents/a-1/~status", json={"status": "Initializing"})
    assert problem(forbidden) == (409, "invalid_transition")
    assert (forbidden.json()["fromStatus"], forbidden.json()["toStatus"]) == ("Ready", "Initializing")
    await http.put("/v1/research/r/1", json={"researchId": "r/1", "query": "?"}, headers=NEW)
    body = {"iterationCount": 3, "qualityScore": 0.5}
    progress = await http.post("/v1/research/r%2F1/~progress", json=body)
    assert progress.status_code == 200
    assert (progress.json()["iterationCount"], progress.json()["currentQualityScore"]) == (3, 0.5)


async def test_the_same_idempotency_key_writes_once(http: httpx.AsyncClient) -> None:
    headers = {**NEW, "Idempotency-Key": "once"}
    first = await http.put("/v1/agents/a-1", json=agent(), headers=headers)
    again = await http.put("/v1/agents/a-1", json=agent(), headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    other = await http.put("/v1/agents/a-1", json=agent(status="Ready"), headers=headers)
    assert problem(other) == (409, "idempotency_mismatch")


@pytest.mark.parametrize("match", ["*", '"1", "9"'])
async def test_the_same_idempotency_key_writes_once_under_a_condition_that_reads(
    http: httpx.AsyncClient, match: str
) -> None:
    """The version moved with the first writing: what is asked is the same all the same."""
    await put(http)
    headers = {"If-Match": match, "Idempotency-Key": "once"}
    first = await http.patch("/v1/agents/a-1", json={"properties": {"n": 1}}, headers=headers)
    assert (first.status_code, first.headers["etag"]) == (200, '"2"')
    again = await http.patch("/v1/agents/a-1", json={"properties": {"n": 1}}, headers=headers)
    assert (again.status_code, again.content, again.headers["etag"]) == (200, first.content, '"2"')
    other = await http.patch("/v1/agents/a-1", json={"properties": {"n": 2}}, headers=headers)
    assert problem(other) == (409, "idempotency_mismatch")
    gone = {"If-Match": '"2", "9"', "Idempotency-Key": "gone"}
    for _ in range(2):
        assert (await http.delete("/v1/agents/a-1", headers=gone)).status_code == 204
    assert (await http.patch("/v1/agents/a-1", json={"properties": {"n": 1}}, headers=headers)).content == first.content
    never = await http.delete("/v1/agents/a-1", headers={"If-Match": match, "Idempotency-Key": "never"})
    assert problem(never) == (412, "version_conflict")


async def test_what_cannot_be_stored_is_refused_before_its_condition_is_looked_at(http: httpx.AsyncClient) -> None:
    for body in (b"nonsense", b'{"agentId":"a-1","agentType":3}', b'{"agentId":"a-2","agentType":"x"}'):
        headers = {"If-Match": "*", "content-type": "application/json"}
        assert problem(await http.put("/v1/agents/a-1", content=body, headers=headers)) == (422, "invalid_state")


async def test_an_update_is_recalled_before_it_is_worked_out(http: httpx.AsyncClient) -> None:
    assert problem(await http.post("/v1/agents/a-1/~recall", json={"requestId": "u"})) == (404, "not_found")
    await put(http)
    before = await http.post("/v1/agents/a-1/~recall", json={"requestId": "u"})
    assert (before.status_code, before.headers["idempotency-replayed"], before.headers["etag"]) == (200, "false", '"1"')
    headers = {"If-Match": '"1"', "Idempotency-Key": "u", "Idempotency-Intent": "update"}
    done = await http.put("/v1/agents/a-1", json=agent(agentType="y"), headers=headers)
    await put(http)
    after = await http.post("/v1/agents/a-1/~recall", json={"requestId": "u"})
    assert (after.headers["idempotency-replayed"], after.headers["etag"]) == ("true", '"2"')
    assert after.content == done.content
    repeated = await http.put("/v1/agents/a-1", json=agent(agentType="z"), headers={**headers, "If-Match": '"3"'})
    assert repeated.content == done.content
    another = await http.post("/v1/agents/a-1/~recall", json={"requestId": "u", "intent": "another"})
    assert problem(another) == (409, "idempotency_mismatch")
    bad = await http.put("/v1/agents/a-1", json=agent(), headers={**headers, "Idempotency-Intent": " "})
    assert problem(bad) == (400, "bad_request")


async def test_the_fate_of_a_write_can_be_asked_for(http: httpx.AsyncClient) -> None:
    await http.put("/v1/agents/a-1", json=agent(), headers={**NEW, "Idempotency-Key": "done"})
    done = await http.post("/v1/agents/a-1/~resolve", json={"requestId": "done"})
    assert done.json() == {"applied": True, "version": 1}
    never = await http.post("/v1/agents/a-1/~resolve", json={"requestId": "never"})
    assert never.json() == {"applied": False, "version": 0}
    barred = await http.put("/v1/agents/a-1", json=agent(), params=ANY, headers={"Idempotency-Key": "never"})
    assert problem(barred) == (409, "request_barred")


async def test_a_lost_answer_is_unknown_and_names_the_request(http: httpx.AsyncClient, service: LocalService) -> None:
    losses: list[Fault] = ["lose_reply"] * 300
    service.faults.extend(losses)
    lost = await http.put(
        "/v1/agents/a-1", json=agent(), headers={**NEW, "Idempotency-Key": "lost", "Request-Timeout": "0.2"}
    )
    assert problem(lost) == (503, "outcome_unknown")
    assert lost.json()["requestId"] == "lost"
    service.faults.clear()
    again = await http.put("/v1/agents/a-1", json=agent(), headers={**NEW, "Idempotency-Key": "lost"})
    assert (again.status_code, again.headers["etag"]) == (201, '"1"')


async def test_a_silent_shard_is_a_deadline_and_a_busy_one_says_when(
    http: httpx.AsyncClient, service: LocalService
) -> None:
    await put(http)
    silence: list[Fault] = ["hang"] * 3
    service.faults.extend(silence)
    assert problem(await http.get("/v1/agents/a-1", headers={"Request-Timeout": "0.1"}))[0] == 504
    service.faults.clear()
    service.refuse_next.extend([Refused("overloaded", "full", {"retry_after_s": 2.5})] * 10)
    busy = await http.get("/v1/agents/a-1", headers={"Request-Timeout": "1"})
    assert problem(busy) == (429, "overloaded")
    assert busy.headers["retry-after"] == "3"


async def test_what_verl_refuses_is_told_with_its_verdict(http: httpx.AsyncClient, service: LocalService) -> None:
    issues = [["some_rule", "status", "no", "error", 0.1, False]]
    verdict = ["verdict", False, 0.0, issues, "r", 0, b"h", 0.8]
    service.verdict = lambda _: Refused("validation_failed", "VERL refused it", {"verdict": verdict})
    refused = await put(http)
    assert problem(refused) == (422, "validation_failed")
    shown = refused.json()["verdict"]
    assert (shown["isValid"], shown["issues"][0]["code"], shown["contentHash"]) == (False, "some_rule", "68")


async def test_a_category_registered_later_is_served(http: httpx.AsyncClient, service: LocalService) -> None:
    note = {"noteId": "n-1", "text": "hello"}
    unknown = await http.put("/v1/memos/n-1", json=note, headers=NEW)
    assert problem(unknown) == (404, "unknown_category")
    service.register(Register(NOTES.name, NOTES.import_path, NOTES.hash, NOTES.schema_version))
    created = await http.put("/v1/notes/n-1", json=note, headers=NEW)
    assert created.status_code == 201
    assert Note.model_validate_json(created.content).text == "hello"
    assert "/v1/notes/{noteId}" in (await http.get("/openapi.json")).json()["paths"]
    assert problem(await http.post("/v1/notes/n-1/~status", json={"status": "Ready"}))[0] == 404


async def test_a_closed_service_is_unavailable_not_a_bug(http: httpx.AsyncClient, service: LocalService) -> None:
    await put(http)
    service.running = False
    assert problem(await http.get("/v1/agents/a-1", headers={"Request-Timeout": "0.3"})) == (503, "service_not_found")
    assert (await http.get("/healthz")).status_code == 200
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
