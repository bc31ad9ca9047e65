"""The HTTP clients against the real application: results, typed errors, lost answers, a server that is away."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from tests.http_service import AUTHORIZED, TOKEN, app_of, served
from tests.local_service import NOTES, LocalService, Note

from lightning_state.actors.core.messages import ANY, Refused, Resolution
from lightning_state.actors.core.service_map import Register
from lightning_state.actors.core.verl.messages import ReasoningStep, Statement, Verdict
from lightning_state.actors.errors import (
    ClientClosedError,
    DeadlineExceededError,
    InvalidKeyError,
    InvalidStateError,
    InvalidTransitionError,
    OutcomeUnknownError,
    OverloadedError,
    ShardUnavailableError,
    StateNotFoundError,
    UnauthenticatedError,
    ValidationFailedError,
    VersionConflictError,
)
from lightning_state.actors.models import AgentState, AgentStatus, FactState, ResearchState, VerificationState
from lightning_state.serve.client import AsyncHttpStateClient, HttpStateClient
from lightning_state.serve.client.breaker import Breaker


class FaultyWire(httpx.AsyncBaseTransport):
    """A wire to the application on which the next requests meet faults: "unsent", "lost" (executed, no answer), 500."""

    def __init__(self, service: LocalService) -> None:
        self._inner = httpx.ASGITransport(app_of(service))
        self.faults: deque[str | None] = deque()
        self.seen: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fault = self.faults.popleft() if self.faults else None
        self.seen.append(request)
        if fault == "unsent":
            raise httpx.ConnectError("refused", request=request)
        answer = await self._inner.handle_async_request(request)
        if fault == "lost":
            raise httpx.ReadError("reset", request=request)
        return httpx.Response(500, text="gateway", request=request) if fault == "gateway" else answer


@pytest.fixture
def wire(service: LocalService) -> FaultyWire:
    return FaultyWire(service)


@pytest.fixture
async def state(wire: FaultyWire) -> AsyncIterator[AsyncHttpStateClient]:
    http = httpx.AsyncClient(transport=wire, base_url="http://state", headers=AUTHORIZED)
    async with AsyncHttpStateClient(http, timeout_s=5.0) as client:
        yield client


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture
def blocking(url: str) -> Iterator[HttpStateClient]:
    with HttpStateClient.connect(url, TOKEN, timeout_s=5.0) as client:
        yield client


def agent(name: str = "a-1", **fields: object) -> AgentState:
    return AgentState(**{"agent_id": name, "agent_type": "x", **fields})  # pyright: ignore[reportArgumentType]  # checked when it runs


def test_the_blocking_client_does_over_a_socket_what_the_actors_client_does(blocking: HttpStateClient) -> None:
    stored = blocking.agents.set(agent("b/1", properties={"k": [1, {"x": None}]}))
    assert stored.version == 1
    assert blocking.agents.get("b/1") == stored
    assert blocking.agents.exists("b/1")
    assert blocking.agents.update_status("b/1", AgentStatus.READY).version == 2
    assert blocking.agents.update("b/1", lambda s: s.replace(agent_type="y")).agent_type == "y"
    assert blocking.agents.patch("b/1", {"properties": {"k": None}}, expected_version=3).properties == {}
    assert [each.agent_id for each in blocking.agents.list(prefix="b/", status=AgentStatus.READY)] == ["b/1"]
    assert blocking.agents.get_many(["nobody", "b/1"])["b/1"].version == 4
    blocking.agents.delete("b/1", expected_version=4)
    with pytest.raises(StateNotFoundError):
        blocking.agents.get("b/1")
    blocking.research.set(ResearchState(research_id="r-1", query="?"))
    assert blocking.research.update_progress("r-1", iteration_count=2, quality_score=0.5).iteration_count == 2
    blocking.verifications.set(VerificationState(verification_id="v-1", source_id="r-1", content="c"))
    assert [each.verification_id for each in blocking.verifications.for_source("r-1")] == ["v-1"]
    verdict = blocking.verl.verify("agents", "b-2", agent("b-2"))
    assert isinstance(verdict, Verdict)
    assert verdict.is_accepted
    assert blocking.metrics()["calls"]["agents.set"] == 2  # update sets too


async def test_a_repeated_update_returns_the_first_result(state: AsyncHttpStateClient) -> None:
    await state.agents.set(agent(performance_metrics={"n": 0}))

    def increment(current: AgentState) -> AgentState:
        return current.replace(performance_metrics={"n": current.performance_metrics["n"] + 1})

    first = await state.agents.update("a-1", increment, request_id="mine")
    await state.agents.update("a-1", increment)
    assert await state.agents.update("a-1", increment, request_id="mine") == first
    assert (await state.agents.get("a-1")).performance_metrics == {"n": 2}
    with pytest.raises(InvalidStateError):
        await state.agents.update("a-1", lambda _: agent("a-2"))
    assert not await state.agents.exists("a-2")


async def test_refusals_are_the_actors_own_errors(state: AsyncHttpStateClient, service: LocalService) -> None:
    first = await state.agents.set(agent(status=AgentStatus.READY))
    with pytest.raises(VersionConflictError) as conflict:
        await state.agents.set(agent())
    assert conflict.value.current == first
    assert (conflict.value.expected_version, conflict.value.current_version) == (0, 1)
    with pytest.raises(InvalidTransitionError) as transition:
        await state.agents.update_status("a-1", AgentStatus.INITIALIZING)
    assert (transition.value.from_status, transition.value.to_status) == ("Ready", "Initializing")
    with pytest.raises(InvalidKeyError):
        await state.agents.get(".x")
    with pytest.raises(InvalidStateError):
        await state.agents.patch("a-1", {"agentType": 3}, expected_version=ANY)
    with pytest.raises(InvalidStateError):
        await state.agents.list(nothing="x")
    service.verdict = lambda _: Refused(
        "validation_failed", "no", {"verdict": ["verdict", False, 0.0, [["r", "p", "m"]], "r", 0, b"h", 0.8]}
    )
    with pytest.raises(ValidationFailedError) as refused:
        await state.agents.set(first.replace(agent_type="z"))
    assert (refused.value.verdict.issues[0].code, refused.value.verdict.content_hash) == ("r", b"h")


async def test_a_wrong_token_is_unauthenticated(url: str) -> None:
    async with AsyncHttpStateClient.connect(url, "wrong") as client:
        with pytest.raises(UnauthenticatedError):
            await client.agents.get("a-1")


async def test_a_batch_answers_each_id(state: AsyncHttpStateClient) -> None:
    old = await state.agents.set(agent("old"))
    results = await state.agents.set_many([agent("new"), agent("old"), agent(".bad")])
    assert isinstance(results["new"], AgentState)
    assert isinstance(results["old"], VersionConflictError)
    assert results["old"].current == old
    assert isinstance(results[".bad"], InvalidKeyError)
    again = await state.agents.set_many([old, agent("new")], expected_version=ANY)
    assert [each.version for each in again.values() if isinstance(each, AgentState)] == [2, 2]


async def test_a_users_own_category_is_reached(state: AsyncHttpStateClient, service: LocalService) -> None:
    service.register(Register(NOTES.name, NOTES.import_path, NOTES.hash, NOTES.schema_version))
    notes = state.category(Note)
    assert (await notes.set(Note(note_id="n-1", text="hello"))).version == 1
    assert (await notes.get("n-1")).text == "hello"
    assert (await state.verl.evaluate_confidence("notes", Note(note_id="n-1"))).confidence == 1.0


async def test_verl_answers_as_over_actors(state: AsyncHttpStateClient) -> None:
    report = await state.verl.check_consistency(["The sky is blue.", Statement("s", "The sky is not blue.")])
    assert (report.is_consistent, report.contradictions[0].second) == (False, "s")
    fact = FactState(id="f", content="The sky is blue.", source="s")
    facts = await state.verl.verify_facts([fact], source_texts={"f": "The sky is blue."})
    assert facts.findings[0].status == "Verified"
    steps = await state.verl.validate_reasoning_chain(["a", ReasoningStep("2", "b", "inference", ["9"])])
    assert not steps.is_valid


@pytest.mark.parametrize("fault", ["unsent", "lost", "gateway"])
async def test_a_write_that_got_no_answer_is_repeated_under_its_id_and_happens_once(
    state: AsyncHttpStateClient, wire: FaultyWire, fault: str
) -> None:
    wire.faults.extend([fault, fault])
    assert (await state.agents.set(agent())).version == 1
    assert len({request.headers["idempotency-key"] for request in wire.seen}) == 1
    assert len(wire.seen) == 3
    assert (await state.agents.get("a-1")).version == 1


async def test_a_write_whose_answers_are_all_lost_is_unknown_and_can_be_resolved(
    state: AsyncHttpStateClient, wire: FaultyWire
) -> None:
    wire.faults.extend(["lost"] * 6)
    with pytest.raises(OutcomeUnknownError) as unknown:
        await state.agents.set(agent())
    assert await state.resolve(unknown.value.request_id, "agents", "a-1") == Resolution(True, 1)


async def test_a_write_that_never_left_is_not_unknown(state: AsyncHttpStateClient, wire: FaultyWire) -> None:
    wire.faults.extend(["unsent"] * 6)
    with pytest.raises(ShardUnavailableError):
        await state.agents.set(agent())


async def test_a_refusal_after_a_lost_answer_settles_it(state: AsyncHttpStateClient, wire: FaultyWire) -> None:
    await state.agents.set(agent())
    wire.faults.append("gateway")
    with pytest.raises(VersionConflictError):
        await state.agents.set(agent())


async def test_the_breaker_fails_calls_at_once_and_lets_one_try(state: AsyncHttpStateClient, wire: FaultyWire) -> None:
    await state.agents.set(agent())
    wire.faults.extend(["unsent"] * 8)
    for _ in range(2):
        with pytest.raises(ShardUnavailableError):
            await state.agents.get("a-1")
    sent = len(wire.seen)
    with pytest.raises(ShardUnavailableError) as refused:
        await state.agents.get("a-1")
    assert refused.value.retry_after_s > 0
    assert len(wire.seen) == sent


def test_the_breaker_opens_half_opens_and_closes() -> None:
    breaker = Breaker("s", opens_after=2)
    breaker.failed(0.0)
    breaker.admit(0.0)
    breaker.failed(0.0)
    with pytest.raises(ShardUnavailableError):
        breaker.admit(0.4)
    breaker.admit(0.6)
    with pytest.raises(ShardUnavailableError):
        breaker.admit(0.6)
    breaker.failed(0.7)
    with pytest.raises(ShardUnavailableError):
        breaker.admit(1.6)
    breaker.admit(1.8)
    breaker.answered()
    breaker.admit(1.8)
    assert not breaker.is_open


async def test_a_busy_service_is_asked_again_a_few_times(state: AsyncHttpStateClient, service: LocalService) -> None:
    overloaded = Refused("overloaded", "full", {"retry_after_s": 0.001})
    service.refuse_next.extend([overloaded] * 8)
    assert (await state.agents.set(agent())).version == 1
    service.refuse_next.extend([overloaded] * 200)
    with pytest.raises(OverloadedError):
        await state.agents.get("a-1", timeout_s=20.0)


async def test_a_deadline_holds(state: AsyncHttpStateClient, service: LocalService) -> None:
    service.faults.extend(["hang", "hang", "hang"])
    with pytest.raises(DeadlineExceededError):
        await state.agents.get("a-1", timeout_s=0.2)


async def test_a_closed_client_says_so(state: AsyncHttpStateClient) -> None:
    await state.close()
    with pytest.raises(ClientClosedError):
        await state.agents.get("a-1")
