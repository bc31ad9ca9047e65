"""The client for threads: generated from the asyncio one, so these tests are about what its own transport does."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.local_service import LocalService

from lightning_state.actors.category import AGENTS
from lightning_state.actors.client import LightningStateService, StateClient
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import (
    ClientClosedError,
    DeadlineExceededError,
    OutcomeUnknownError,
    StateNotFoundError,
    UnauthenticatedError,
    VersionConflictError,
)
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import AgentState, AgentStatus, ResearchState, VerificationState
from lightning_state.actors.wire.codec import encode


@pytest.fixture
def service() -> LocalService:
    return LocalService()


@pytest.fixture
def state(service: LocalService) -> Iterator[StateClient]:
    with service.client() as client:
        yield client


def agent(name: str = "a-1", n: int = 0) -> AgentState:
    return AgentState(agent_id=name, agent_type="researcher", performance_metrics={"n": n})


def test_set_get_delete(state: StateClient) -> None:
    stored = state.agents.set(agent())
    assert state.agents.get("a-1") == stored
    state.agents.delete("a-1", expected_version=stored.version)
    with pytest.raises(StateNotFoundError):
        state.agents.get("a-1")


def test_a_batch_asks_each_shard_once(service: LocalService, state: StateClient) -> None:
    state.agents.set_many([agent(f"a-{n}") for n in range(40)])
    service.frames.clear()
    assert len(state.agents.get_many([f"a-{n}" for n in range(40)])) == 40
    assert sorted(shard for shard, _ in service.frames) == [0, 1]


def test_large_batches_are_split_into_frames() -> None:
    service = LocalService(shards=1, limits=Limits(frame_bytes=5_000))
    with service.client() as state:
        results = state.agents.set_many(agent(f"a-{n}").replace(agent_type="x" * 1_500) for n in range(20))
        assert all(isinstance(result, AgentState) for result in results.values())
        assert 6 < len(service.frames) < 20
        assert all(len(encode(frame)) <= 5_000 for _, frame in service.frames)


def test_threads_share_one_client_without_losing_an_update(state: StateClient) -> None:
    state.agents.set(agent())

    def increment(current: AgentState) -> AgentState:
        return current.replace(performance_metrics={"n": current.performance_metrics["n"] + 1})

    with ThreadPoolExecutor(8) as pool:
        updates = [pool.submit(state.agents.update, "a-1", increment) for _ in range(40)]
    assert all(update.result() for update in updates)
    assert state.agents.get("a-1").performance_metrics == {"n": 40}


def test_one_threads_silent_frame_does_not_hold_up_another(service: LocalService, state: StateClient) -> None:
    state.agents.exists("a-1")
    service.faults.append("hang")
    silent: list[BaseException] = []

    def read() -> None:
        try:
            state.agents.get("a-1", timeout_s=0.5)
        except DeadlineExceededError as error:
            silent.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    while service.faults:
        threading.Event().wait(0.001)
    assert not state.agents.exists("a-1")
    assert thread.is_alive()
    thread.join()
    assert len(silent) == 1


def test_a_lost_answer_is_asked_for_again(service: LocalService, state: StateClient) -> None:
    service.faults.append("lose_reply")
    assert state.agents.set(agent()).version == 1


def test_a_write_that_could_not_be_sent_is_not_unknown(service: LocalService, state: StateClient) -> None:
    state.agents.exists("a-1")
    service.faults.extend(("unsent",) * 1_000)
    with pytest.raises(DeadlineExceededError):
        state.agents.set(agent(), timeout_s=0.2)


def test_a_write_without_an_answer_is_unknown(service: LocalService, state: StateClient) -> None:
    service.faults.append("hang")
    with pytest.raises(OutcomeUnknownError) as raised:
        state.agents.set(agent(), timeout_s=0.1)
    assert not state.resolve(raised.value.request_id, "agents", "a-1").applied


def test_a_closed_client_refuses_calls(state: StateClient) -> None:
    state.close()
    with pytest.raises(ClientClosedError):
        state.agents.get("a-1")


def test_the_collection_of_a_category_is_found_by_its_model(state: StateClient) -> None:
    stored = state.agents.set(agent())
    assert state.category(AgentState).get("a-1") == stored
    assert state.category(AGENTS).get("a-1") == stored


def test_a_pickled_client_names_where_to_connect(state: StateClient) -> None:
    rebuild, arguments = state.__reduce__()
    assert rebuild == StateClient.connect
    assert arguments == ("local", None, None)
    assert pickle.loads(pickle.dumps(rebuild)) == StateClient.connect


def test_a_token_is_never_silently_ignored() -> None:
    with pytest.raises(UnauthenticatedError):
        StateClient.connect(token="secret")


def test_the_facade_speaks_the_documents_method_names(service: LocalService) -> None:
    with LightningStateService(service.client()) as facade:
        facade.set_agent_state(agent())
        assert facade.update_agent_status("a-1", AgentStatus.READY).status is AgentStatus.READY
        assert facade.get_agent_state("a-1").version == 2
        facade.set_research_state(ResearchState(research_id="r-1", query="q"))
        assert facade.update_research_progress("r-1", 2, 0.5).iteration_count == 2
        assert facade.get_research_state("r-1").current_quality_score == 0.5
        facade.set_verification_state(VerificationState(verification_id="v-1", source_id="r-1", content="c"))
        assert facade.get_verification_state("v-1").source_id == "r-1"
        assert [v.verification_id for v in facade.get_verifications_for_source("r-1")] == ["v-1"]
        facade.set_multiple_agent_states([agent("a-2"), agent("a-3")])
        assert sorted(facade.get_multiple_agent_states(["a-1", "a-2", "a-4"])) == ["a-1", "a-2"]
        assert facade.get_metrics()["calls"]["agents.set"] == 1


def test_an_update_that_never_wins_ends_with_the_last_conflict_by_its_deadline(
    service: LocalService, state: StateClient
) -> None:
    state.agents.set(agent())
    with service.client() as other:

        def overtaken(current: AgentState) -> AgentState:
            other.agents.set(current, expected_version=ANY)
            return current

        with pytest.raises((VersionConflictError, DeadlineExceededError)):
            state.agents.update("a-1", overtaken, timeout_s=0.2)


def test_nothing_is_sent_after_the_deadline(service: LocalService, state: StateClient) -> None:
    state.agents.exists("a-1")
    service.frames.clear()
    with pytest.raises(DeadlineExceededError):
        state.agents.set(agent(), timeout_s=0.0)
    assert service.frames == []
