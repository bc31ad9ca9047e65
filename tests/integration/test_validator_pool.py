"""The pool on a real Ray: verdicts, scaling, and death of every part."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.verl.messages import VerdictRequest, content_hash
from lightning_state.actors.errors import ValidationUnavailableError
from lightning_state.actors.models import AgentState
from lightning_state.actors.settings import Settings, VerlSettings
from lightning_state.actors.verl_actor import start_pool, stop_pool
from lightning_state.actors.wire.validator_link import ValidatorLink
from lightning_state.actors.wire.validator_transport import RayTransport

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("ray_cluster")


def request(rule_set: str, key: str) -> VerdictRequest:
    body = AGENTS.encode(AgentState(agent_id=key, agent_type="researcher"))
    return VerdictRequest("agents", key, 0, None, body, content_hash(body), {}, rule_set)


@asynccontextmanager
async def running_pool(service: str, **verl: float) -> AsyncGenerator[tuple[ValidatorLink, RayTransport]]:
    settings = Settings.read(verl=VerlSettings(**verl))  # pyright: ignore[reportArgumentType]  # numbers by name
    start_pool(service, settings)
    link = ValidatorLink(service, settings)
    try:
        yield link, RayTransport(service)
    finally:
        await link.close()
        await asyncio.to_thread(stop_pool, service)


async def until(what: str, probe: Callable[[], Awaitable[T]], holds: Callable[[T], bool], within_s: float = 30.0) -> T:
    deadline_s = time.monotonic() + within_s
    last: T | Exception | None = None
    while time.monotonic() < deadline_s:
        try:
            last = await probe()
        except Exception as error:  # noqa: BLE001  # the pool may be away: that is what is waited for
            last = error
        else:
            if holds(last):
                return last
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what} did not come within {within_s} s; last: {last}")


async def test_a_fresh_valid_agent_state_scores_one(service_name: str) -> None:
    async with running_pool(service_name) as (link, _):
        rule_set = link.register(AGENTS, AGENTS.import_path)
        verdict = await link.verdict(request(rule_set, "a-1"), deadline_s=30)
    assert verdict.confidence == 1.0
    assert verdict.is_accepted
    assert verdict.rule_set == rule_set


async def test_without_a_pool_the_answer_is_unavailable_after_the_stated_time(service_name: str) -> None:
    link = ValidatorLink(service_name, Settings.read(verl=VerlSettings(unavailable_after_s=0.5)))
    rule_set = link.register(AGENTS, AGENTS.import_path)
    began_s = time.monotonic()
    with pytest.raises(ValidationUnavailableError):
        await link.verdict(request(rule_set, "a-1"), deadline_s=30)
    assert 0.5 <= time.monotonic() - began_s < 5
    await link.close()
