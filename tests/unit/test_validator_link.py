"""The link against validators in this process: the same frames, no Ray; what fails is chosen by the test."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.verl_cases import ORDERS, RAISING, SLEEPY, SLOW, Order, change

from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.verl.messages import (
    Answers,
    Batch,
    CheckConsistency,
    FactClaim,
    PoolView,
    ReasoningStep,
    Statement,
    ValidateReasoning,
    VerdictRequest,
    VerifyFacts,
)
from lightning_state.actors.core.verl.report import verdict_as_json
from lightning_state.actors.errors import (
    DeadlineExceededError,
    ShardUnavailableError,
    StateTooLargeError,
    UnknownCategoryError,
    ValidationUnavailableError,
)
from lightning_state.actors.models import AgentState
from lightning_state.actors.settings import Settings, VerlSettings
from lightning_state.actors.verl_actor.validator import Validator
from lightning_state.actors.wire.validator_link import ValidatorLink
from lightning_state.actors.wire.verl_codec import decode_from_validator, decode_to_validator, encode

Fault = Callable[[str, bytes], Awaitable[bytes | None]]


class InProcess:
    """Validators as plain objects behind the transport protocol; `fault` may answer in their place or raise."""

    def __init__(self, *names: str) -> None:
        self.validators = {name: Validator(name, None) for name in names}
        self.frames: list[tuple[str, int]] = []
        self.fault: Fault | None = None

    async def members(self) -> PoolView:
        return PoolView(list(self.validators), 0.0, len(self.validators), [], 1)

    async def send(self, validator: str, frame: bytes) -> bytes:
        message = decode_to_validator(frame)
        if isinstance(message, Batch):
            self.frames.append((validator, len(message.calls)))
        if self.fault is not None and (answer := await self.fault(validator, frame)) is not None:
            return answer
        return await self.validators[validator].frame(frame)

    async def close(self) -> None:
        pass


@asynccontextmanager
async def linked(*names: str, unavailable_after_s: float = 5) -> AsyncGenerator[tuple[ValidatorLink, InProcess]]:
    transport = InProcess(*names)
    settings = Settings.read(verl=VerlSettings(unavailable_after_s=unavailable_after_s, validator_timeout_s=20))
    link = ValidatorLink("s", settings, transport)
    yield link, transport
    await link.close()


def request(link: ValidatorLink, key: str = "a", agent_type: str = "x") -> VerdictRequest:
    rule_set = link.register(AGENTS, AGENTS.import_path)
    return change(AGENTS, AgentState(agent_id=key, agent_type=agent_type), rule_set=rule_set)


async def test_what_waits_together_travels_together() -> None:
    async with linked("v1") as (link, transport):
        await link.verdict(request(link, "first"), 5)
        transport.frames.clear()
        await asyncio.gather(*(link.verdict(request(link, f"a-{n}"), 5) for n in range(100)))
        assert transport.frames == [("v1", 100)]


async def test_the_same_question_is_answered_from_the_cache_and_another_base_is_not() -> None:
    async with linked("v1") as (link, transport):
        asked = request(link)
        assert await link.verdict(asked, 5) is await link.verdict(asked, 5)
        assert len(transport.frames) == 1
        base = AgentState(agent_id="a", agent_type="older")
        other = change(AGENTS, AgentState(agent_id="a", agent_type="x"), base, rule_set=asked.rule_set)
        assert (await link.verdict(other, 5)).base_version == 1
        assert len(transport.frames) == 2


async def test_a_transient_refusal_is_asked_again() -> None:
    async with linked("v1") as (link, transport):
        rule_set = link.register(RAISING, "tests.verl_cases:RAISING")
        asked = change(RAISING, Order(order_id="o", amount=1), rule_set=rule_set)
        assert not (await link.verdict(asked, 5)).is_accepted
        assert not (await link.verdict(asked, 5)).is_accepted
        assert len(transport.frames) == 2


@pytest.mark.parametrize("fault", ["raises", "damaged", "short"])
async def test_calls_of_a_failing_validator_are_answered_by_another(fault: str) -> None:
    async def fail(validator: str, _: bytes) -> bytes | None:
        if validator != "v1":
            return None
        if fault == "raises":
            raise ShardUnavailableError
        return b"\xc1" if fault == "damaged" else encode(Answers([]))

    async with linked("v1", "v2") as (link, transport):
        transport.fault = fail
        verdicts = await asyncio.gather(*(link.verdict(request(link, f"a-{n}"), 5) for n in range(50)))
        assert all(verdict.is_accepted for verdict in verdicts)
        assert {name for name, _ in transport.frames} == {"v1", "v2"}


async def test_a_silent_validators_calls_are_answered_by_another() -> None:
    async def silent(validator: str, _: bytes) -> bytes | None:
        return await asyncio.Event().wait() and None if validator == "v1" else None

    async with linked("v1", "v2") as (link, transport):
        transport.fault = silent
        assert (await link.verdict(request(link), 30)).is_accepted


async def test_no_validator_is_told_after_the_shorter_of_deadline_and_limit() -> None:
    for deadline_s, limit_s in ((0.3, 5), (30, 0.3)):
        async with linked(unavailable_after_s=limit_s) as (link, _):
            began_s = time.monotonic()
            with pytest.raises(ValidationUnavailableError):
                await link.verdict(request(link), deadline_s)
            assert 0.3 <= time.monotonic() - began_s < 2


async def test_a_slow_validator_ends_at_the_deadline_and_holds_up_no_other() -> None:
    async with linked("v1") as (link, _):
        sleepy = link.register(SLEEPY, "tests.verl_cases:SLEEPY")
        slow = asyncio.ensure_future(link.verdict(change(SLEEPY, Order(order_id="o", amount=1), rule_set=sleepy), 0.5))
        quick = link.register(SLOW, "tests.verl_cases:SLOW")
        assert (await link.verdict(change(SLOW, Order(order_id="o", amount=1), rule_set=quick), 5)).is_accepted
        assert (await link.verdict(request(link), 5)).is_accepted
        assert not slow.done()
        with pytest.raises(DeadlineExceededError):
            await slow


async def test_a_category_nobody_registered_is_named() -> None:
    async with linked("v1") as (link, _):
        with pytest.raises(UnknownCategoryError):
            await link.verdict(change(ORDERS, Order(order_id="o", amount=1), rule_set="unknown"), 5)
        lost = link.register(ORDERS, "no.such.module:ORDERS")
        with pytest.raises(UnknownCategoryError, match=r"no\.such\.module"):
            await link.verdict(change(ORDERS, Order(order_id="o", amount=1), rule_set=lost), 5)


async def test_closing_answers_what_waits() -> None:
    async with linked() as (link, _):
        waiting = asyncio.ensure_future(link.verdict(request(link), 30))
        await asyncio.sleep(0)
    with pytest.raises(ValidationUnavailableError):
        await waiting


async def test_the_other_calls_answer() -> None:
    async with linked("v1") as (link, _):
        rule_set = link.register(AGENTS, AGENTS.import_path)
        body = AGENTS.encode(AgentState(agent_id="a", agent_type="x"))
        assert (await link.evaluate_confidence("a", body, rule_set, 5)).confidence == 1.0
        assert (await link.verify_facts(VerifyFacts([FactClaim("f", "a b c", "a b c")]), 5)).confidence == 1.0
        assert (await link.validate_reasoning(ValidateReasoning([ReasoningStep("1", "a b", "premise")]), 5)).is_valid
        sky = CheckConsistency([Statement("1", "the sky is blue"), Statement("2", "the sky is not blue")])
        assert [(c.first, c.second) for c in (await link.check_consistency(sky, 5)).contradictions] == [("1", "2")]


async def test_a_verdict_is_shown_as_json_with_its_issues() -> None:
    async with linked("v1") as (link, _):
        rule_set = link.register(AGENTS, AGENTS.import_path)
        asked = change(AGENTS, AgentState(agent_id="a", agent_type="x"), key="b", rule_set=rule_set)
        shown = verdict_as_json(await link.verdict(asked, 5))
        assert json.loads(json.dumps(shown)) == shown
        assert (shown["isValid"], shown["confidence"], shown["ruleSet"]) == (False, 0.0, rule_set)
        assert [issue["code"] for issue in shown["issues"]] == ["key_mismatch"]


def test_an_answer_survives_its_bytes() -> None:
    answers = Answers([])
    assert decode_from_validator(encode(answers)) == answers


async def test_more_text_than_one_call_takes_is_refused_with_the_limit() -> None:
    async with linked("v1") as (link, _):
        with pytest.raises(StateTooLargeError, match="split it"):
            await link.verify_facts(VerifyFacts([FactClaim("f", "a", "b" * 9_000_000)]), 5)
