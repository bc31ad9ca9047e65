"""The pool on a real Ray: verdicts, scaling, and death of every part."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import pytest
from tests.verl_cases import POISON, SLOW, STUCK, Order, change

from lightning_state.actors.category import AGENTS
from lightning_state.actors.core.verl.messages import PoolView, Verdict, VerdictRequest, content_hash
from lightning_state.actors.errors import DeadlineExceededError, OverloadedError, ValidationUnavailableError
from lightning_state.actors.models import AgentState
from lightning_state.actors.settings import Settings, VerlSettings
from lightning_state.actors.verl_actor import start_pool, stop_pool
from lightning_state.actors.verl_actor.validators import list_validators
from lightning_state.actors.wire.validator_link import ValidatorLink
from lightning_state.actors.wire.validator_transport import RayTransport, ping
from lightning_state.cluster.service import stop_service

T = TypeVar("T")
SLOW_PATH = "tests.verl_cases:SLOW"

pytestmark = pytest.mark.usefixtures("ray_cluster")


def request(rule_set: str, key: str) -> VerdictRequest:
    body = AGENTS.encode(AgentState(agent_id=key, agent_type="researcher"))
    return VerdictRequest("agents", key, 0, None, body, content_hash(body), {}, rule_set)


@asynccontextmanager
async def running_pool(service: str, **verl: float) -> AsyncGenerator[tuple[ValidatorLink, RayTransport]]:
    """A pool at its least size: a call made before the first validator is there may be refused as unavailable."""
    settings = Settings.read(verl=VerlSettings(**verl))  # pyright: ignore[reportArgumentType]  # numbers by name
    start_pool(service, settings)
    link, transport = ValidatorLink(service, settings), RayTransport(service)
    try:
        await has(transport, settings.verl.min_validators)
        yield link, transport
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


def order(rule_set: str, number: int) -> VerdictRequest:
    return change(SLOW, Order(order_id=f"o-{number}", amount=1), rule_set=rule_set)


async def pids(transport: RayTransport) -> dict[str, int]:
    return {name: (await ping(transport, name, 2)).pid for name in (await transport.members()).members}


def is_back(now: dict[str, int], gone: int) -> bool:
    return gone not in now.values() and len(now) == 2


async def while_they_work(working: list[asyncio.Task[int]], awaited: Awaitable[T]) -> T:
    """What is awaited; or, at once, the error that ended a worker it depends on."""
    waiting = asyncio.ensure_future(awaited)
    try:
        done, _ = await asyncio.wait({waiting, *working}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()
        return await waiting
    finally:
        waiting.cancel()


async def has(transport: RayTransport, validators: int) -> PoolView:
    return await until(f"{validators} validators", transport.members, lambda view: len(view.members) == validators)


async def test_a_category_of_the_users_needs_no_restart_and_its_wait_delays_nobody(service_name: str) -> None:
    async with running_pool(service_name) as (link, _):
        agents = link.register(AGENTS, AGENTS.import_path)
        await link.verdict(request(agents, "a-1"), deadline_s=30)
        slow = link.register(SLOW, SLOW_PATH)
        waiting = asyncio.gather(*(link.verdict(order(slow, n), deadline_s=30) for n in range(20)))
        await asyncio.gather(*(link.verdict(request(agents, f"b-{n}"), deadline_s=30) for n in range(500)))
        assert not waiting.done()
        assert all(verdict.is_accepted for verdict in await waiting)


async def test_a_full_user_lane_is_overloaded_at_once(service_name: str) -> None:
    async with running_pool(service_name) as (link, _):
        slow = link.register(SLOW, SLOW_PATH)
        asked = [asyncio.ensure_future(link.verdict(order(slow, n), deadline_s=0.5)) for n in range(1_500)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        kinds = {type(result) for result in results}
        assert kinds <= {Verdict, OverloadedError, DeadlineExceededError}
        assert OverloadedError in kinds


async def test_the_pool_grows_under_load_and_shrinks_again(service_name: str) -> None:
    async with running_pool(service_name, max_validators=3, cooldown_s=1.0) as (link, transport):
        slow = link.register(SLOW, SLOW_PATH)
        stop = asyncio.Event()

        async def load(lane: int) -> int:
            done = 0
            while not stop.is_set():
                assert (await link.verdict(order(slow, lane * 10_000 + done), deadline_s=30)).is_accepted
                done += 1
            return done

        working = [asyncio.ensure_future(load(lane)) for lane in range(12)]
        grown = await while_they_work(working, has(transport, 3))
        stop.set()
        assert min(await asyncio.gather(*working)) > 0
        shrunk = await has(transport, 1)
        assert [d.action for d in grown.decisions if d.action.startswith("scale")] == ["scale_up", "scale_up"]
        assert {"scale_up", "scale_down"} <= {d.action for d in shrunk.decisions}
        assert all("utilisation" in d.reason for d in shrunk.decisions if d.action.startswith("scale"))


async def test_killing_a_validator_under_load_loses_nothing(service_name: str) -> None:
    async with running_pool(service_name, min_validators=2) as (link, transport):
        agents = link.register(AGENTS, AGENTS.import_path)
        before = await pids(transport)
        stop = asyncio.Event()

        async def load(lane: int) -> int:
            done = 0
            while not stop.is_set():
                assert (await link.verdict(request(agents, f"a-{lane}-{done}"), deadline_s=10)).is_accepted
                done += 1
            return done

        working = [asyncio.ensure_future(load(lane)) for lane in range(50)]
        for pid in before.values():  # one after the other, each as soon as the last is back
            os.kill(pid, signal.SIGKILL)
            back = until("the killed validator", lambda: pids(transport), partial(is_back, gone=pid))
            await while_they_work(working, back)
        stop.set()
        assert min(await asyncio.gather(*working)) > 0


async def test_a_silent_validator_is_replaced_and_its_calls_answered(service_name: str) -> None:
    async with running_pool(service_name, min_validators=2) as (link, transport):
        agents = link.register(AGENTS, AGENTS.import_path)
        await link.verdict(request(agents, "warm"), deadline_s=10)
        name, pid = min((await pids(transport)).items())
        os.kill(pid, signal.SIGSTOP)
        asked = (link.verdict(request(agents, f"a-{n}"), deadline_s=20) for n in range(200))
        assert all(verdict.is_accepted for verdict in await asyncio.gather(*asked))
        await until("a new process", lambda: ping(transport, name, 2), lambda load: load.pid != pid)
        view = await transport.members()
        assert any(d.action == "replace" and d.subject == name and "silent" in d.reason for d in view.decisions)


async def test_a_killed_supervisor_comes_back_and_adopts_the_validators(service_name: str) -> None:
    async with running_pool(service_name, min_validators=2) as (link, transport):
        view = await has(transport, 2)
        agents = link.register(AGENTS, AGENTS.import_path)
        await link.verdict(request(agents, "before"), deadline_s=10)
        before = await pids(transport)
        os.kill(view.pid, signal.SIGKILL)
        assert (await link.verdict(request(agents, "meanwhile"), deadline_s=10)).is_accepted
        back = await until(
            "the supervisor", transport.members, lambda now: now.pid != view.pid and len(now.members) == 2
        )
        assert await pids(transport) == before
        assert {d.subject for d in back.decisions if d.action == "adopt"} == set(before)


async def test_a_stopped_pool_is_unavailable_and_leaves_no_actor(service_name: str) -> None:
    async with running_pool(service_name, unavailable_after_s=0.5) as (link, _):
        agents = link.register(AGENTS, AGENTS.import_path)
        assert (await link.verdict(request(agents, "a-1"), deadline_s=30)).is_accepted
        await asyncio.to_thread(stop_pool, service_name)
        with pytest.raises(ValidationUnavailableError):
            await link.verdict(request(agents, "a-2"), deadline_s=30)
        assert (await link.verdict(request(agents, "a-1"), deadline_s=30)).is_accepted  # known already
        assert list_validators(service_name) == {}


async def test_a_service_stopped_while_its_pool_starts_leaves_no_validator_to_the_next(service_name: str) -> None:
    """One left behind would judge the next service's states by the rules of the last."""
    for _ in range(5):
        start_pool(service_name, Settings.read(verl=VerlSettings(min_validators=5, max_validators=5)))
        await until("the supervisor", RayTransport(service_name).members, lambda view: view.pid > 0)
        await asyncio.to_thread(stop_service, service_name)
        assert list_validators(service_name) == {}


async def test_a_call_that_ends_every_validator_is_given_up_and_the_others_are_answered(service_name: str) -> None:
    async with running_pool(service_name, min_validators=2, unavailable_after_s=10) as (link, _):
        rule_set = link.register(POISON, "tests.verl_cases:POISON")

        def asked(key: str) -> VerdictRequest:
            return change(POISON, Order(order_id=key, amount=1), rule_set=rule_set)

        poison = asyncio.ensure_future(link.verdict(asked("poison"), deadline_s=40))
        verdicts = await asyncio.gather(*(link.verdict(asked(f"o-{n}"), deadline_s=40) for n in range(50)))
        assert all(verdict.is_accepted for verdict in verdicts)
        with pytest.raises(ValidationUnavailableError):
            await poison
        assert (await link.verdict(asked("after"), deadline_s=20)).is_accepted


async def test_a_validator_whose_threads_are_all_held_is_replaced(service_name: str) -> None:
    async with running_pool(service_name, validator_timeout_s=0.2) as (link, transport):
        rule_set = link.register(STUCK, "tests.verl_cases:STUCK")
        before = await pids(transport)
        orders = (change(STUCK, Order(order_id=f"o-{n}", amount=1), rule_set=rule_set) for n in range(16))
        verdicts = await asyncio.gather(*(link.verdict(asked, deadline_s=20) for asked in orders))
        assert not any(verdict.is_valid for verdict in verdicts)
        await until("a new process", lambda: pids(transport), lambda now: bool(now) and now != before)
        view = await transport.members()
        assert any(d.action == "replace" and "threads" in d.reason for d in view.decisions)
