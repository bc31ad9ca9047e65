"""The asyncio client against real shards in this process: results, typed errors, lost answers, unknown outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec import to_builtins
from tests.local_service import NOTES, OTHER_NOTES, Fault, LocalService, Note, until

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.core.messages import ANY, Get, Refused, Write
from lightning_state.actors.core.verl.messages import Issue, Verdict
from lightning_state.actors.errors import (
    CategoryMismatchError,
    ClientClosedError,
    DeadlineExceededError,
    IdempotencyMismatchError,
    InvalidKeyError,
    InvalidStateError,
    InvalidTransitionError,
    LightningStateError,
    OutcomeUnknownError,
    OverloadedError,
    RequestBarredError,
    ServiceNotFoundError,
    StateNotFoundError,
    StateTooLargeError,
    StoreCorruptError,
    StoreUnavailableError,
    ValidationFailedError,
    VersionConflictError,
)
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import AgentState, AgentStatus, ResearchState, VerificationState
from lightning_state.actors.wire.batching import FRAMES_IN_FLIGHT

REFUSING = Verdict(
    is_valid=False,
    confidence=0.0,
    issues=[Issue("some_rule", "status", "no")],
    rule_set="r",
    base_version=0,
    content_hash=b"h",
    threshold=0.8,
)


@pytest.fixture
def service() -> LocalService:
    return LocalService()


@pytest.fixture
async def state(service: LocalService) -> AsyncIterator[AsyncStateClient]:
    async with service.async_client() as client:
        yield client


def agent(name: str = "a-1", **fields: object) -> AgentState:
    return AgentState(**{"agent_id": name, "agent_type": "researcher", **fields})  # pyright: ignore[reportArgumentType]  # checked when it runs


async def test_set_returns_the_stored_state_and_get_reads_it(state: AsyncStateClient) -> None:
    stored = await state.agents.set(agent(properties={"k": [1, {"x": None}]}))
    assert stored.version == 1
    assert stored.last_updated is not None
    assert await state.agents.get("a-1") == stored
    assert await state.agents.get("a-1", consistency="linearizable") == stored


async def test_get_of_a_missing_key_names_it(state: AsyncStateClient) -> None:
    with pytest.raises(StateNotFoundError) as raised:
        await state.agents.get("nobody")
    assert (raised.value.category, raised.value.key) == ("agents", "nobody")
    assert not await state.agents.exists("nobody")


async def test_a_conflict_carries_the_stored_state(state: AsyncStateClient) -> None:
    first = await state.agents.set(agent())
    newer = await state.agents.set(first.replace(agent_type="writer"))
    with pytest.raises(VersionConflictError) as raised:
        await state.agents.set(first.replace(agent_type="other"))
    error = raised.value
    assert (error.category, error.key, error.expected_version, error.current_version) == ("agents", "a-1", 1, 2)
    assert error.current == newer


async def test_an_unread_state_must_not_exist_yet_unless_the_last_writer_is_to_win(state: AsyncStateClient) -> None:
    await state.agents.set(agent())
    with pytest.raises(VersionConflictError):
        await state.agents.set(agent())
    assert (await state.agents.set(agent(), expected_version=ANY)).version == 2


async def test_a_conflict_with_nothing_stored_has_no_current_state(state: AsyncStateClient) -> None:
    stored = await state.agents.set(agent())
    await state.agents.delete("a-1", expected_version=stored.version)
    with pytest.raises(VersionConflictError) as raised:
        await state.agents.set(stored)
    assert raised.value.current is None
    assert (await state.agents.set(agent())).version == 3


async def test_update_applies_again_when_another_writer_was_faster(
    service: LocalService, state: AsyncStateClient
) -> None:
    await state.agents.set(agent(performance_metrics={"n": 0}))
    clients = [service.async_client() for _ in range(4)]

    def increment(current: AgentState) -> AgentState:
        return current.replace(performance_metrics={"n": current.performance_metrics["n"] + 1})

    await asyncio.gather(*(client.agents.update("a-1", increment) for client in clients for _ in range(5)))
    assert (await state.agents.get("a-1")).performance_metrics == {"n": 20}


async def test_update_of_a_state_deleted_meanwhile_is_not_found(service: LocalService, state: AsyncStateClient) -> None:
    stored = await state.agents.set(agent())
    with service.client() as other:

        def overtaken(current: AgentState) -> AgentState:
            other.agents.delete("a-1", expected_version=stored.version)
            return current.replace(agent_type="x")

        with pytest.raises(StateNotFoundError):
            await state.agents.update("a-1", overtaken)


async def test_patch_merges_inside_the_shard(state: AsyncStateClient) -> None:
    await state.agents.set(agent(properties={"a": 1, "b": 2}))
    patched = await state.agents.patch("a-1", {"properties": {"b": None, "c": 3}}, expected_version=ANY)
    assert patched.properties == {"a": 1, "c": 3}
    assert patched.version == 2
    with pytest.raises(VersionConflictError):
        await state.agents.patch("a-1", {"agentType": "x"}, expected_version=1)
    with pytest.raises(InvalidStateError):
        await state.agents.patch("a-1", {"agentType": object()}, expected_version=ANY)


async def test_update_status_follows_the_transition_table(state: AsyncStateClient) -> None:
    await state.agents.set(agent())
    assert (await state.agents.update_status("a-1", AgentStatus.READY)).status is AgentStatus.READY
    with pytest.raises(InvalidTransitionError):
        await state.agents.update_status("a-1", AgentStatus.INITIALIZING)
    with pytest.raises(StateNotFoundError):
        await state.agents.update_status("a-2", AgentStatus.READY)


async def test_update_progress_changes_only_what_is_given(state: AsyncStateClient) -> None:
    await state.research.set(ResearchState(research_id="r-1", query="why?"))
    changed = await state.research.update_progress("r-1", iteration_count=3, quality_score=0.85)
    assert (changed.iteration_count, changed.current_quality_score, changed.query) == (3, 0.85, "why?")
    assert (await state.research.update_progress("r-1", iteration_count=4)).current_quality_score == 0.85
    with pytest.raises(InvalidStateError):
        await state.research.update_progress("r-1")


async def test_get_many_omits_what_does_not_exist_and_asks_each_shard_once(
    service: LocalService, state: AsyncStateClient
) -> None:
    await state.agents.set_many([agent(f"a-{n}") for n in range(50)])
    service.frames.clear()
    found = await state.agents.get_many([f"a-{n}" for n in range(60)] + ["a-1"])
    assert list(found) == [f"a-{n}" for n in range(50)]
    assert sorted(shard for shard, _ in service.frames) == [0, 1]


async def test_set_many_stores_each_on_its_own(service: LocalService, state: AsyncStateClient) -> None:
    await state.agents.set(agent("a-1"))
    service.frames.clear()
    results = await state.agents.set_many([agent(f"a-{n}") for n in range(20)] + [agent("no key")])
    assert isinstance(results["a-1"], VersionConflictError)
    assert isinstance(results["no key"], InvalidKeyError)
    stored = [r for r in results.values() if isinstance(r, AgentState)]
    assert len(stored) == 19
    assert sorted(shard for shard, _ in service.frames) == [0, 1]


async def test_a_batch_names_no_id_twice_and_has_a_limit() -> None:
    async with LocalService(limits=Limits(batch_keys=2)).async_client() as state:
        with pytest.raises(InvalidStateError):
            await state.agents.set_many([agent(), agent()])
        with pytest.raises(StateTooLargeError):
            await state.agents.get_many(["a", "b", "c"])


async def test_list_gives_every_state_once_in_key_order(state: AsyncStateClient) -> None:
    await state.agents.set_many([agent(f"a-{n:02}") for n in range(25)] + [agent("b-1")])
    keys: list[str] = []
    cursor: str | None = None
    while True:
        page = await state.agents.list(prefix="a-", limit=7, cursor=cursor)
        assert len(page) <= 7
        keys += [each.agent_id for each in page]
        cursor = page.cursor
        if cursor is None:
            break
    assert keys == [f"a-{n:02}" for n in range(25)]


async def test_list_filters_by_an_index(state: AsyncStateClient) -> None:
    await state.agents.set_many([agent("a-1"), agent("a-2", status=AgentStatus.READY)])
    ready = await state.agents.list(status=AgentStatus.READY)
    assert [each.agent_id for each in ready.states] == ["a-2"]
    with pytest.raises(InvalidStateError):
        await state.agents.list(colour="red")
    with pytest.raises(InvalidStateError):
        await state.agents.list(status="Ready", agent_type="x")
    with pytest.raises(InvalidStateError):
        await state.agents.list(cursor="bogus")
    with pytest.raises(InvalidStateError):
        await state.agents.list(limit=0)


async def test_for_source_finds_every_verification_of_a_source(state: AsyncStateClient) -> None:
    await state.verifications.set_many(
        [
            VerificationState(verification_id=f"v-{n}", source_id="r-1" if n % 2 else "r-2", content="c")
            for n in range(9)
        ]
    )
    found = await state.verifications.for_source("r-1")
    assert [each.verification_id for each in found] == ["v-1", "v-3", "v-5", "v-7"]
    assert await state.verifications.for_source("r-9") == ()


async def test_a_lost_answer_is_asked_for_again_under_the_same_id(
    service: LocalService, state: AsyncStateClient
) -> None:
    service.faults.append("lose_reply")
    stored = await state.agents.set(agent())
    assert stored.version == 1
    writes = [r for _, f in service.frames for r in f.requests if isinstance(r, Write)]
    assert len({w.request_id for w in writes}) == 1
    assert [w.fresh for w in writes] == [True, False]
    assert state.metrics()["retries"] == 1


async def test_a_lost_answer_survives_the_restart_of_the_shard(service: LocalService, state: AsyncStateClient) -> None:
    await state.agents.get_many([])
    service.faults.append("lose_reply")
    setting = asyncio.create_task(state.agents.set(agent()))
    await until(lambda: bool(service.frames))
    for number in range(2):
        service.restart(number)
    assert (await setting).version == 1


@pytest.mark.parametrize("fault", ["unsent", "lose_request", "pending"])
async def test_a_write_that_never_arrived_is_sent_again(
    service: LocalService, state: AsyncStateClient, fault: Fault
) -> None:
    service.faults.append(fault)
    assert (await state.agents.set(agent())).version == 1


async def test_a_new_epoch_is_learnt_from_the_directory(service: LocalService, state: AsyncStateClient) -> None:
    stored = await state.agents.set(agent())
    for number in range(2):
        service.restart(number)
    assert (await state.agents.set(stored)).version == 2


async def test_a_write_without_an_answer_is_unknown_and_can_be_resolved(
    service: LocalService, state: AsyncStateClient
) -> None:
    service.faults.extend(["lose_reply", "hang"])
    with pytest.raises(OutcomeUnknownError) as raised:
        await state.agents.set(agent(), timeout_s=0.2)
    error = raised.value
    assert (error.category, error.key) == ("agents", "a-1")
    resolution = await state.resolve(error.request_id, "agents", "a-1")
    assert (resolution.applied, resolution.version) == (True, 1)


async def test_resolving_a_write_that_never_arrived_bars_it(service: LocalService, state: AsyncStateClient) -> None:
    service.faults.append("hang")
    with pytest.raises(OutcomeUnknownError):
        await state.agents.set(agent(), timeout_s=0.1, request_id="mine")
    resolution = await state.resolve("mine", "agents", "a-1")
    assert not resolution.applied
    with pytest.raises(RequestBarredError):
        await state.agents.set(agent(), request_id="mine")


async def test_a_read_without_an_answer_only_exceeds_its_deadline(
    service: LocalService, state: AsyncStateClient
) -> None:
    service.faults.append("hang")
    with pytest.raises(DeadlineExceededError):
        await state.agents.get("a-1", timeout_s=0.1)


async def test_a_write_that_was_only_refused_is_not_unknown(service: LocalService, state: AsyncStateClient) -> None:
    await state.agents.get_many([])
    for shard in service.shards:
        shard.start()
    with pytest.raises(DeadlineExceededError):
        await state.agents.set(agent(), timeout_s=0.2)


async def test_an_overloaded_service_is_asked_a_few_times(service: LocalService, state: AsyncStateClient) -> None:
    overloaded = Refused("overloaded", "full", {"retry_after_s": 0.001})
    service.refuse_next.extend([overloaded] * 2)
    assert (await state.agents.set(agent())).version == 1
    service.refuse_next.extend([overloaded] * 100)
    with pytest.raises(OverloadedError):
        await state.agents.set(agent("a-2"))
    assert 90 < len(service.refuse_next) < 100


async def test_damage_after_a_lost_answer_leaves_the_write_unknown(
    service: LocalService, state: AsyncStateClient
) -> None:
    corrupt = Refused(StoreCorruptError.code, "damaged", {})
    service.refuse_next.append(corrupt)
    with pytest.raises(StoreCorruptError):
        await state.agents.set(agent())
    service.faults.append("lose_reply")
    await state.agents.get_many([])
    setting = asyncio.create_task(state.agents.set(agent()))
    before = len(service.frames)
    await until(lambda: len(service.frames) > before)
    service.refuse_next.append(corrupt)
    with pytest.raises(OutcomeUnknownError):
        await setting


async def test_the_same_id_returns_the_first_result(state: AsyncStateClient) -> None:
    first = await state.agents.set(agent(), request_id="mine")
    assert await state.agents.set(agent(), request_id="mine") == first
    with pytest.raises(IdempotencyMismatchError):
        await state.agents.set(agent(agent_type="other"), request_id="mine")


async def test_a_refused_verdict_is_an_error_and_changes_nothing(
    service: LocalService, state: AsyncStateClient
) -> None:
    service.verdict = lambda _: Refused(
        "validation_failed", "no", {"verdict": to_builtins(REFUSING, builtin_types=(bytes,))}
    )
    with pytest.raises(ValidationFailedError) as raised:
        await state.agents.set(agent())
    assert raised.value.verdict == REFUSING
    assert not await state.agents.exists("a-1")


async def test_calls_of_one_moment_share_a_frame_but_reads_and_writes_do_not(
    service: LocalService, state: AsyncStateClient
) -> None:
    await state.agents.set(agent("a-0"))
    service.frames.clear()
    async with asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(state.agents.set(agent(f"b-{n}")))
            group.create_task(state.agents.exists(f"b-{n}"))
    assert len(service.frames) == 4
    for _, frame in service.frames:
        assert len({isinstance(request, Get) for request in frame.requests}) == 1


async def test_large_batches_are_split_into_frames() -> None:
    service = LocalService(shards=1, limits=Limits(frame_bytes=10_000, state_bytes=5_000))
    async with service.async_client() as state:
        states = [agent(f"a-{n}", properties={"text": "x" * 3_000}) for n in range(9)]
        results = await state.agents.set_many(states)
        assert all(isinstance(r, AgentState) for r in results.values())
        assert len(service.frames) == 3
        with pytest.raises(StateTooLargeError):
            await state.agents.set(agent("big", properties={"text": "x" * 6_000}))


async def test_a_cancelled_write_does_not_hold_the_floor(service: LocalService, state: AsyncStateClient) -> None:
    await state.agents.set(agent("a-0"))
    service.faults.append("hang")
    setting = asyncio.create_task(state.agents.set(agent()))
    await until(lambda: not service.faults)
    setting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await setting
    await state.agents.set(agent("a-2"))
    write = service.frames[-1][1].requests[0]
    assert isinstance(write, Write)
    assert service.frames[-1][1].floor == write.seq == 3


async def test_a_stopped_service_is_not_found(service: LocalService, state: AsyncStateClient) -> None:
    await state.agents.set(agent())
    service.running = False
    with pytest.raises(ServiceNotFoundError):
        await state.agents.get("a-1")
    with pytest.raises(ServiceNotFoundError):
        await service.async_client().agents.get("a-1")


async def test_a_directory_that_restarts_is_waited_for(service: LocalService) -> None:
    service.directory_faults.append(StoreUnavailableError("starting"))
    async with service.async_client() as state:
        assert (await state.agents.set(agent())).version == 1
    service.directory_faults.append(StoreCorruptError("damaged"))
    with pytest.raises(StoreCorruptError):
        await service.async_client().agents.get("a-1")


async def test_a_directory_that_stays_away_exceeds_the_deadline(service: LocalService) -> None:
    service.directory_faults.extend([StoreUnavailableError("starting")] * 1000)
    with pytest.raises(DeadlineExceededError):
        await service.async_client().agents.get("a-1", timeout_s=0.2)


async def test_a_category_of_ones_own_is_registered_on_first_use(
    service: LocalService, state: AsyncStateClient
) -> None:
    notes = state.category(Note)
    stored = await notes.set(Note(note_id="n-1", text="hello"))
    assert (stored.version, stored.text) == (1, "hello")
    assert await service.async_client().category(NOTES).get("n-1") == stored


async def test_another_definition_under_a_registered_name_is_refused(
    service: LocalService, state: AsyncStateClient
) -> None:
    await state.category(NOTES).exists("n-1")
    with pytest.raises(CategoryMismatchError):
        await service.async_client().category(OTHER_NOTES).exists("n-1")


async def test_a_closed_client_refuses_calls(state: AsyncStateClient) -> None:
    await state.close()
    await state.close()
    with pytest.raises(ClientClosedError):
        await state.agents.get("a-1")


async def test_closing_ends_what_is_under_way(service: LocalService, state: AsyncStateClient) -> None:
    await state.agents.exists("a-1")
    service.faults.extend(["hang", "hang"])
    setting, reading = (asyncio.create_task(each) for each in (state.agents.set(agent()), state.agents.get("a-1")))
    await until(lambda: not service.faults)
    await state.close()
    with pytest.raises(OutcomeUnknownError):
        await setting
    with pytest.raises(ClientClosedError):
        await reading


async def test_what_waits_behind_full_lanes_is_sent_when_there_is_room(
    service: LocalService, state: AsyncStateClient
) -> None:
    await state.agents.exists("a-1")
    silent: list[asyncio.Task[AgentState]] = []
    for _ in range(FRAMES_IN_FLIGHT):
        service.faults.append("hang")
        silent.append(asyncio.create_task(state.agents.get("a-1", timeout_s=0.3)))
        await until(lambda: not service.faults)
    service.frames.clear()
    waiting = asyncio.create_task(state.agents.exists("a-1"))
    for task in silent:
        with pytest.raises(DeadlineExceededError):
            await task
    assert not await waiting
    assert len(service.frames) == 1


async def test_what_is_not_a_state_of_the_category_is_refused(state: AsyncStateClient) -> None:
    with pytest.raises(InvalidStateError):
        await state.agents.set(ResearchState(research_id="r", query="q"))  # pyright: ignore[reportArgumentType]  # that is the point
    with pytest.raises(InvalidStateError):
        await state.agents.set(agent().model_copy(update={"active_task_ids": [1, 2]}))
    with pytest.raises(InvalidKeyError):
        await state.agents.get("no key")
    with pytest.raises(InvalidStateError):
        await state.agents.get("a", consistency="eventual")  # pyright: ignore[reportArgumentType]  # that is the point
    with pytest.raises(InvalidStateError):
        await state.agents.set_many([ResearchState(research_id="r", query="q")])  # pyright: ignore[reportArgumentType]  # that is the point


async def test_what_one_caller_gives_wrongly_is_not_answered_to_the_others(state: AsyncStateClient) -> None:
    """They share a frame, and one that cannot be read is refused as a whole."""
    stored = await state.agents.set(agent("a"))
    given = await asyncio.gather(
        state.agents.delete("a", expected_version="1"),  # pyright: ignore[reportArgumentType]  # that is the point
        state.agents.delete("a", expected_version=2**70),
        state.agents.set(agent("b"), timeout_s=float("inf")),
        state.agents.set(agent("c")),
        state.agents.list(status="\ud800"),
        state.agents.list(limit=5.0),  # pyright: ignore[reportArgumentType]  # that is the point
        state.agents.get("a"),
        return_exceptions=True,
    )
    assert [type(each) for each in given] == [
        *[InvalidStateError] * 3,
        AgentState,
        *[InvalidStateError] * 2,
        AgentState,
    ]
    assert given[-1] == stored


async def test_a_stored_state_shares_nothing_with_the_callers_lists(state: AsyncStateClient) -> None:
    tasks = ["t-1"]
    stored = await state.agents.set(agent().model_copy(update={"active_task_ids": tasks}))
    tasks.append("t-2")
    assert stored.active_task_ids == ("t-1",)


async def test_metrics_count_calls_and_errors(state: AsyncStateClient) -> None:
    await state.agents.set(agent())
    with pytest.raises(LightningStateError):
        await state.agents.set(agent())
    counted = state.metrics()
    counted.pop("cache")
    assert counted == {"calls": {"agents.set": 2}, "errors": {"version_conflict": 1}, "retries": 0}
