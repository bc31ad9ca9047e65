"""User validators and the judge: what they answer counts, and what they fail to answer refuses the write."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.verl_cases import (
    APPROVED,
    BLOCKED,
    DOUBTED,
    JUDGED,
    NONSENSE,
    ORDERS,
    RAISING,
    SLEEPY,
    Order,
    change,
    rules_of,
)

from lightning_state.actors.category import AGENTS, Category
from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.messages import (
    VERL_PROTOCOL,
    Answer,
    Batch,
    Call,
    EvaluateConfidence,
    FactClaim,
    FactReport,
    Severity,
    Verdict,
    VerifyFacts,
)
from lightning_state.actors.models import AgentState
from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.verl_actor.examiner import Examiner


async def examine(
    category: Category[Any], *, amount: int = 1, judge: JudgeSettings | None = None, timeout_s: float = 5
) -> Verdict:
    answer = await answer_of(Examiner(judge), category, amount=amount, timeout_s=timeout_s)
    assert isinstance(answer, Verdict)
    return answer


async def answer_of(examiner: Examiner, category: Category[Any], *, amount: int = 1, timeout_s: float = 5) -> Answer:
    rule_set = rules_of(category, verl={"validator_timeout_s": timeout_s})
    request = change(category, Order(order_id="k", amount=amount), rule_set=rule_set.id)
    return (await examiner.examine(Batch(VERL_PROTOCOL, {rule_set.id: rule_set}, [request]))).answers[0]


async def test_a_validator_without_findings_accepts() -> None:
    assert (await examine(APPROVED)).confidence == 1.0


async def test_a_validators_warning_weighs_what_it_says() -> None:
    verdict = await examine(DOUBTED)
    assert (verdict.confidence, verdict.is_valid, verdict.is_accepted) == (0.7, True, False)


@pytest.mark.parametrize("category", [SLEEPY, BLOCKED], ids=["async", "sync"])
async def test_a_validator_out_of_time_refuses_the_write_by_name(category: Category[Any]) -> None:
    began_s = time.monotonic()
    verdict = await examine(category, timeout_s=0.1)
    assert time.monotonic() - began_s < 2
    assert [issue.code for issue in verdict.issues] == ["validator_failed"]
    assert category.validators[0] in verdict.issues[0].message
    assert not verdict.is_valid
    assert verdict.is_transient


@pytest.mark.parametrize("category", [RAISING, NONSENSE], ids=["raises", "nonsense"])
async def test_a_validator_that_fails_refuses_the_write_without_telling_why(category: Category[Any]) -> None:
    verdict = await examine(category)
    assert [issue.code for issue in verdict.issues] == ["validator_failed"]
    assert "secret" not in str(verdict.issues)


async def test_validators_do_not_see_what_the_rules_refuse() -> None:
    verdict = await examine(RAISING, amount=0)
    assert [issue.code for issue in verdict.issues] == ["amount"]


async def test_threads_that_overrun_are_counted_until_they_return() -> None:
    examiner = Examiner()
    for answer in await asyncio.gather(*(answer_of(examiner, BLOCKED, timeout_s=0.05) for _ in range(16))):
        assert isinstance(answer, Verdict)
    assert examiner.is_stuck
    async with asyncio.timeout(10):
        while examiner.is_stuck:  # noqa: ASYNC110  # the condition is the state under test
            await asyncio.sleep(0.01)


async def test_one_batch_answers_every_kind_of_call_in_order() -> None:
    orders, agents = rules_of(ORDERS), rules_of(AGENTS)
    body = AGENTS.encode(AgentState(agent_id="a", agent_type="x"))
    calls: list[Call] = [
        EvaluateConfidence("a", body, agents.id),
        VerifyFacts([FactClaim("f", "x is y", "x is y")]),
        change(ORDERS, Order(order_id="k", amount=0), rule_set=orders.id),
        change(ORDERS, Order(order_id="k", amount=1), rule_set="unknown"),
    ]
    answers = (await Examiner().examine(Batch(VERL_PROTOCOL, {r.id: r for r in (orders, agents)}, calls))).answers
    confidence, facts, refused_by_rule, refused = answers
    assert isinstance(confidence, Verdict)
    assert confidence.confidence == 1.0
    assert isinstance(facts, FactReport)
    assert isinstance(refused_by_rule, Verdict)
    assert not refused_by_rule.is_valid
    assert isinstance(refused, Refused)
    assert refused.code == "unknown_category"


@asynccontextmanager
async def endpoint(answer: bytes | None, status: int = 200) -> AsyncGenerator[tuple[JudgeSettings, list[Any]]]:
    """A real HTTP server with one answer for everything; None: it never answers."""
    received: list[Any] = []
    stopping = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n"))}
        received.append((head, json.loads(await reader.readexactly(int(lines["content-length"])))))
        if answer is None:
            await stopping.wait()
        else:
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(answer), answer))
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = JudgeSettings(base_url=f"http://127.0.0.1:{port}/v1", model="m", api_key="key", timeout_s=0.5)
    try:
        yield settings, received
    finally:
        stopping.set()
        server.close()
        await server.wait_closed()


def completion(content: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


async def judged(answer: bytes | None, status: int = 200) -> Verdict:
    async with endpoint(answer, status) as (settings, _):
        return await examine(JUDGED, judge=settings)


async def test_the_judge_is_asked_for_the_state_and_its_confidence_counts() -> None:
    async with endpoint(completion('```json\n{"confidence": 0.9, "issues": []}\n```')) as (settings, received):
        verdict = await examine(JUDGED, judge=settings)
    ((head, request),) = received
    assert head.startswith("POST /v1/chat/completions")
    assert "Authorization: Bearer key" in head
    assert request["model"] == "m"
    assert json.loads(request["messages"][1]["content"])["state"] == {"orderId": "k", "amount": 1, "note": ""}
    assert (verdict.confidence, verdict.is_accepted) == (0.9, True)


async def test_the_judges_findings_are_those_of_the_verdict() -> None:
    warning = {"path": "note", "message": "odd", "severity": "warning"}
    content = json.dumps({"confidence": 0.6, "issues": [warning, {**warning, "path": "amount"}]})
    verdict = await judged(completion(content))
    assert [(issue.path, issue.severity) for issue in verdict.issues] == [
        ("note", Severity.WARNING),
        ("amount", Severity.WARNING),
    ]
    assert (verdict.confidence, verdict.is_accepted) == (0.6, False)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (None, 200, "judge_unavailable"),
        (b"busy", 503, "judge_unavailable"),
        (b"not json", 200, "judge_unreadable"),
        (b'{"choices": []}', 200, "judge_unreadable"),
        (completion("Looks fine to me!"), 200, "judge_unreadable"),
        (completion('{"confidence": 7}'), 200, "judge_unreadable"),
        (completion('{"issues": []}'), 200, "judge_unreadable"),
        (b" " * 2_000_000, 200, "judge_unavailable"),
    ],
    ids=["silent", "503", "no JSON", "no choice", "prose", "out of range", "no confidence", "endless"],
)
async def test_a_judge_without_a_usable_answer_refuses_the_write(answer: bytes | None, status: int, code: str) -> None:
    verdict = await judged(answer, status)
    assert [issue.code for issue in verdict.issues] == [code]
    assert not verdict.is_valid
    assert verdict.is_transient


async def test_a_judge_that_is_not_there_or_not_configured_refuses_the_write() -> None:
    refused = await examine(JUDGED, judge=JudgeSettings(base_url="http://127.0.0.1:9", timeout_s=1))
    assert [issue.code for issue in refused.issues] == ["judge_unavailable"]
    unset = await examine(JUDGED)
    assert [issue.code for issue in unset.issues] == ["judge_not_configured"]
