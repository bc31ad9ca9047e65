"""Lists, batches, VERL's calls and figures over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.http_service import LocalPoolCalls
from tests.unit.serve.test_states import NEW, agent, problem, put


async def test_pages_hold_every_state_once_in_key_order(http: httpx.AsyncClient) -> None:
    names = sorted(f"a-{number}" for number in range(25))
    for name in names:
        await put(http, name)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await http.get("/v1/agents", params={"limit": "7", "prefix": "a-", **cursor})).json()
        seen += [item["agentId"] for item in page["items"]]
        if page["cursor"] is None:
            break
        cursor = {"cursor": page["cursor"]}
    assert seen == names
    assert set(page["items"][0]) == {*agent(), "version", "lastUpdated", *page["items"][0]}


async def test_lists_filter_by_an_index_under_its_json_name(http: httpx.AsyncClient) -> None:
    await put(http, "a-1", status="Ready")
    await put(http, "a-2")
    ready = (await http.get("/v1/agents", params={"status": "Ready"})).json()
    assert [item["agentId"] for item in ready["items"]] == ["a-1"]
    for name, source in (("v-1", "r-1"), ("v-2", "r-2"), ("v-3", "r-1")):
        body = {"verificationId": name, "sourceId": source, "content": "c"}
        assert (await http.put(f"/v1/verifications/{name}", json=body, headers=NEW)).status_code == 201
    found = (await http.get("/v1/verifications", params={"sourceId": "r-1"})).json()
    assert [item["verificationId"] for item in found["items"]] == ["v-1", "v-3"]


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "x"},
        {"limit": "9999999"},
        {"cursor": "x"},
        {"cursor": ""},
        {"prefix": "é"},
        {"status": "Reedy"},
        {"status": "Ready", "agentType": "x"},
        {"agent_type": "x"},
        {"sourceId": "x"},
    ],
)
async def test_an_odd_list_is_refused(http: httpx.AsyncClient, params: dict[str, str]) -> None:
    assert problem(await http.get("/v1/agents", params=params))[0] in {400, 422}


async def test_a_batch_reads_what_exists_in_the_order_asked(http: httpx.AsyncClient) -> None:
    await put(http, "a-1")
    await put(http, "a-2")
    answer = await http.post("/v1/agents:batchGet", json={"ids": ["a-2", "nobody", "a-1"]})
    assert list(answer.json()["items"]) == ["a-2", "a-1"]
    one = await http.get("/v1/agents/a-1")
    assert answer.json()["items"]["a-1"] == one.json()


async def test_a_batch_stores_each_on_its_own(http: httpx.AsyncClient) -> None:
    await put(http, "old")
    states = [agent("new"), agent("old"), agent("bad", status="Reedy"), agent(".key")]
    results = (await http.post("/v1/agents:batchSet", json={"states": states})).json()["results"]
    assert (results["new"]["status"], results["new"]["state"]["version"]) == (200, 1)
    assert [results[name]["status"] for name in ("old", "bad", ".key")] == [409, 422, 422]
    codes = [results[name]["problem"]["code"] for name in ("old", "bad", ".key")]
    assert codes == ["version_conflict", "invalid_state", "invalid_key"]
    assert results["old"]["problem"]["current"]["version"] == 1
    again = [agent("old", version=1), agent("new")]
    results = (await http.post("/v1/agents:batchSet", json={"states": again, "expectedVersion": "any"})).json()
    assert [result["state"]["version"] for result in results["results"].values()] == [2, 2]
    kept = (await http.post("/v1/agents:batchSet", json={"states": [agent("old", version=2)]})).json()
    assert kept["results"]["old"]["state"]["version"] == 3


async def test_a_version_that_no_frame_can_carry_is_refused_alone(http: httpx.AsyncClient) -> None:
    states = [agent("a-1", version=2**70), agent("a-2")]
    results = (await http.post("/v1/agents:batchSet", json={"states": states})).json()["results"]
    assert [results[name]["status"] for name in ("a-1", "a-2")] == [422, 200]


async def test_a_repeated_batch_writes_once(http: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "batch-1"}
    first = await http.post("/v1/agents:batchSet", json={"states": [agent()]}, headers=headers)
    again = await http.post("/v1/agents:batchSet", json={"states": [agent()]}, headers=headers)
    assert again.content == first.content


@pytest.mark.parametrize(
    ("verb", "body", "status"),
    [
        ("batchGet", {"ids": "a"}, 422),
        ("batchGet", {"ids": [1]}, 422),
        ("batchGet", {"ids": ["a", ".b"]}, 422),
        ("batchGet", {"ids": [], "more": 1}, 422),
        ("batchGet", {"ids": [], "consistency": "x"}, 422),
        ("batchGet", {"ids": [f"a-{n}" for n in range(1001)]}, 413),
        ("batchSet", {"states": {}}, 422),
        ("batchSet", {"states": [3]}, 422),
        ("batchSet", {"states": [{"agentType": "x"}]}, 422),
        ("batchSet", {"states": [agent(), agent()]}, 422),
        ("batchSet", {"states": [], "expectedVersion": "7"}, 422),
        ("batchSet", {"states": [agent(f"a-{n}") for n in range(1001)]}, 413),
        ("batchSet", [], 422),
    ],
)
async def test_a_bad_batch_is_refused_as_a_whole(http: httpx.AsyncClient, verb: str, body: Any, status: int) -> None:
    assert problem(await http.post(f"/v1/agents:{verb}", json=body))[0] == status


async def test_a_deep_batch_is_refused_and_nothing_breaks(http: httpx.AsyncClient) -> None:
    deep = b'{"states":[' + b"[" * 100_000
    answer = await http.post("/v1/agents:batchSet", content=deep, headers={"content-type": "application/json"})
    assert problem(answer) == (422, "too_deep")


async def test_verl_judges_a_state_that_is_not_written(http: httpx.AsyncClient) -> None:
    body = {"category": "agents", "id": "a-1", "state": agent()}
    verdict = (await http.post("/v1/verl/verify", json=body)).json()
    assert (verdict["isValid"], verdict["confidence"], verdict["issues"]) == (True, 1.0, [])
    other = await http.post("/v1/verl/verify", json={**body, "id": "a-2"})
    assert (other.status_code, other.json()["isValid"]) == (200, False)
    assert {"code", "path", "message", "severity", "weight", "transient"} == set(other.json()["issues"][0])
    confidence = await http.post("/v1/verl/evaluateConfidence", json={"category": "agents", "state": agent()})
    assert confidence.json()["confidence"] == 1.0
    assert problem(await http.get("/v1/agents/a-1")) == (404, "not_found")


async def test_a_validator_that_is_there_but_silent_is_a_deadline(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: LocalPoolCalls, __: bytes) -> bytes:
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(LocalPoolCalls, "_examine", never)
    asked = {"statements": ["The sky is blue."]}
    late = await http.post("/v1/verl/checkConsistency", json=asked, headers={"Request-Timeout": "0.2"})
    assert problem(late) == (504, "deadline_exceeded")


async def test_verl_checks_facts_arguments_and_consistency(http: httpx.AsyncClient) -> None:
    sky = ["The sky is blue.", "The sky is not blue."]
    report = (await http.post("/v1/verl/checkConsistency", json={"statements": sky})).json()
    assert not report["isConsistent"]
    assert (report["contradictions"][0]["first"], report["contradictions"][0]["second"]) == ("1", "2")
    run = {"researchId": "r-1", "query": "?"}
    two = {"states": [run, {**run, "status": "InProgress"}]}
    assert not (await http.post("/v1/verl/checkConsistency", json=two)).json()["isConsistent"]
    facts = {"facts": [{"id": "1", "content": sky[0], "sourceText": sky[0]}, {"id": "2", "content": sky[0]}]}
    findings = (await http.post("/v1/verl/verifyFacts", json=facts)).json()["findings"]
    assert [finding["status"] for finding in findings] == ["Verified", "Pending"]
    steps = {"steps": ["All ravens are black.", {"id": "2", "text": "So this one is.", "dependsOn": ["9"]}]}
    assert not (await http.post("/v1/verl/validateReasoning", json=steps)).json()["isValid"]


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("verify", {"category": "agents", "state": agent()}),
        ("verify", {"category": "agents", "id": "a-1", "state": {"agentId": "a-1"}}),
        ("verify", {"category": "agents", "id": ".", "state": agent()}),
        ("evaluateConfidence", {"category": "agents", "state": 3}),
        ("verifyFacts", {"facts": [{}]}),
        ("validateReasoning", {"steps": [{"id": "1"}]}),
        ("checkConsistency", {"statements": [3]}),
        ("checkConsistency", {"states": [{"researchId": "r"}]}),
    ],
)
async def test_a_bad_question_to_verl_is_refused(http: httpx.AsyncClient, call: str, body: Any) -> None:
    assert problem(await http.post(f"/v1/verl/{call}", json=body))[0] == 422


async def test_verl_does_not_know_an_unknown_category(http: httpx.AsyncClient) -> None:
    body = {"category": "nothing", "state": {}}
    assert problem(await http.post("/v1/verl/evaluateConfidence", json=body)) == (404, "unknown_category")


async def test_figures_count_operations_by_status(http: httpx.AsyncClient) -> None:
    await put(http)
    await http.get("/v1/agents/nobody")
    figures = (await http.get("/v1/metrics")).json()
    assert figures["requests"]["state.get"] == {"404": 1}
    assert figures["requests"]["state.put"] == {"200": 1}
    assert figures["client"]["calls"]["agents.set"] == 1
    text = (await http.get("/metrics")).text
    assert 'lightning_state_http_requests_total{operation="state.get",replica="local",status="404"} 1.0' in text
