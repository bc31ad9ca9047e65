"""Writers against each other (C1, C2, traps 1, 9, 11): exactly the acknowledged changes happened, in one order."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
from tests.journal_witness import check_order, journal_rows
from tests.service_processes import end, shard_of, shard_pid

from lightning_state import (
    ANY,
    AgentState,
    AgentStatus,
    AsyncStateClient,
    DeadlineExceededError,
    LightningStateError,
    OutcomeUnknownError,
    OverloadedError,
    ResearchState,
    StateClient,
    StateNotFoundError,
    ValidationFailedError,
    VerificationState,
    VersionConflictError,
    start,
)
from lightning_state.cluster.service import Service

T = TypeVar("T")


def agent(key: str, **fields: object) -> AgentState:
    return AgentState.model_validate({"agent_id": key, "agent_type": "worker", **fields})


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """Run `work(0..count-1)` in threads that start at one moment."""
    gate = threading.Barrier(count)

    def run(number: int) -> T:
        gate.wait(10)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def count_of(state: AgentState) -> int:
    return int(str(state.properties.get("count", 0)))


def test_no_increment_is_lost(service: Service, key: str) -> None:
    threads, each = 6, 8
    with service.client() as first:
        first.agents.set(agent(key))

        def increment(_: int) -> int:
            done = 0
            with service.client() as client:
                for _ in range(each):
                    client.agents.update(key, lambda s: s.replace(properties={"count": count_of(s) + 1}))
                    done += 1
            return done

        succeeded = sum(together(threads, increment))
        final = first.agents.get(key, consistency="linearizable")
    assert succeeded == threads * each
    assert count_of(final) == succeeded
    assert final.version == succeeded + 1


def test_of_many_creators_exactly_one_wins(service: Service, key: str) -> None:
    def create(number: int) -> AgentState | LightningStateError:
        with service.client() as client:
            try:
                return client.agents.set(agent(key, properties={"by": number}))
            except LightningStateError as error:
                return error

    outcomes = together(8, create)
    won = [outcome for outcome in outcomes if isinstance(outcome, AgentState)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, VersionConflictError)]
    assert len(won) == 1
    assert len(lost) == 7
    assert all(conflict.current == won[0] for conflict in lost)
    with service.client() as client:
        assert client.agents.get(key) == won[0]


def test_one_writer_of_a_stale_version_loses_and_is_shown_the_newer_state(client: StateClient, key: str) -> None:
    first = client.agents.set(agent(key))
    second = client.agents.set(first.replace(agent_type="second"))
    with pytest.raises(VersionConflictError) as caught:
        client.agents.set(first.replace(agent_type="third"))
    assert (caught.value.expected_version, caught.value.current_version) == (1, 2)
    assert caught.value.current == second
    assert client.agents.get(key) == second


async def test_writes_of_one_key_are_applied_in_the_order_their_versions_say(service: Service, key: str) -> None:
    async with service.async_client() as client:
        await client.agents.set(agent(key))
        stored = await asyncio.gather(
            *(client.agents.set(agent(key, properties={"n": n}), expected_version=ANY) for n in range(60))
        )
        final = await client.agents.get(key, consistency="linearizable")
    assert sorted(state.version for state in stored) == list(range(2, 62))
    assert final == max(stored, key=lambda state: state.version)


def test_a_sequence_of_one_client_keeps_its_order(client: StateClient, key: str) -> None:
    versions = [client.agents.set(agent(key), expected_version=ANY).version for _ in range(10)]
    assert versions == list(range(1, 11))


def test_a_missing_or_refused_id_does_not_fail_the_others(client: StateClient, key: str) -> None:
    one, two, bad = f"{key}-1", f"{key}-2", f"{key}-3"
    client.agents.set(agent(one))
    outcomes = client.agents.set_many(
        [agent(one), agent(two), agent(bad, status=AgentStatus.COMPLETED), agent(f"{key}..")]
    )
    assert isinstance(outcomes[one], VersionConflictError)
    assert isinstance(outcomes[two], AgentState)
    assert isinstance(outcomes[bad], LightningStateError)
    assert outcomes[bad].code == "invalid_transition"  # pyright: ignore[reportAttributeAccessIssue]  # asserted above
    assert outcomes[f"{key}.."].code == "invalid_key"  # pyright: ignore[reportAttributeAccessIssue]  # an error as well
    assert client.agents.get_many([two, f"{key}-none", one]) == {
        two: outcomes[two],
        one: client.agents.get(one),
    }


def test_lists_show_every_acknowledged_write_at_once(client: StateClient, key: str) -> None:
    expected: list[str] = []
    for number in range(15):
        expected.append(client.agents.set(agent(f"{key}-{number:02}")).agent_id)
        assert [s.agent_id for s in client.agents.list(prefix=key).states] == expected
    ready = client.agents.update_status(f"{key}-03", AgentStatus.READY)
    assert client.agents.list(prefix=key, status=AgentStatus.READY).states == (ready,)
    client.agents.delete(f"{key}-00", expected_version=1)
    assert [s.agent_id for s in client.agents.list(prefix=key).states] == expected[1:]


def test_verifications_of_a_source_are_never_stale(service: Service, key: str) -> None:
    with service.client() as writer, service.client() as reader:
        for number in range(12):
            made = writer.verifications.set(
                VerificationState(verification_id=f"{key}-{number:02}", source_id=key, content="c")
            )
            found = reader.verifications.for_source(key)
            assert found[-1] == made
            assert len(found) == number + 1
        moved = writer.verifications.update(f"{key}-03", lambda s: s.replace(source_id=f"{key}-other"))
        assert reader.verifications.for_source(f"{key}-other") == (moved,)
        assert f"{key}-03" not in {s.verification_id for s in reader.verifications.for_source(key)}


async def test_a_deadline_too_short_leaves_everything_consistent(service: Service, key: str) -> None:
    async with service.async_client() as client:
        await client.agents.set(agent(key))
        unknown: list[str] = []
        for _ in range(20):
            try:
                await client.agents.set(agent(key), expected_version=ANY, timeout_s=0.001)
            except OutcomeUnknownError as error:
                unknown.append(error.request_id)
            except DeadlineExceededError:
                continue
        await check_unknown(client, key, unknown)


async def test_cancelled_writes_happened_or_did_not_and_the_client_goes_on(service: Service, key: str) -> None:
    async with service.async_client() as client:
        await client.agents.set(agent(key))
        names = [f"{key}-{uuid.uuid4().hex[:6]}" for _ in range(20)]
        tasks = [
            asyncio.create_task(client.agents.set(agent(key), expected_version=ANY, request_id=name)) for name in names
        ]
        await asyncio.sleep(0)  # the writes begin; which of them are sent is what varies
        for number, task in enumerate(tasks):
            if number % 2:
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        applied = [outcome.version for outcome in outcomes if isinstance(outcome, AgentState)]
        assert len(applied) == 10
        resolved = [await client.resolve(name, "agents", key) for name in names[1::2]]
        applied += [resolution.version for resolution in resolved if resolution.applied]
        final = await client.agents.get(key, consistency="linearizable")
        assert sorted(applied) == list(range(2, final.version + 1))


async def check_unknown(client: AsyncStateClient, key: str, unknown: list[str]) -> None:
    """Each unknown write is resolved, and what was applied accounts for every version of the key."""
    resolved = [await client.resolve(name, "agents", key) for name in unknown]
    applied = {resolution.version for resolution in resolved if resolution.applied}
    final = await client.agents.get(key, consistency="linearizable")
    assert applied <= set(range(2, final.version + 1))
    again = [await client.resolve(name, "agents", key) for name in unknown]
    assert again == resolved
    after = await client.agents.set(agent(key), expected_version=ANY)
    assert after.version == final.version + 1


@pytest.fixture(scope="module")
def strict(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:  # noqa: ARG001  # Ray runs
    """A service with short queues, which checks references."""
    data_dir: Path = tmp_path_factory.mktemp("strict") / "data"
    name = f"s-{uuid.uuid4().hex[:10]}"
    with start(
        data_dir=data_dir, service=name, shards=2, limits={"key_queue": 2}, verl={"check_references": True}
    ) as running:
        yield running
    check_order(journal_rows(data_dir))


def test_a_verification_needs_its_source(strict: Service, key: str) -> None:
    verification = VerificationState(verification_id=key, source_id=f"{key}-r", content="c")
    with strict.client() as client:
        with pytest.raises(ValidationFailedError) as caught:
            client.verifications.set(verification)
        assert [issue.path for issue in caught.value.verdict.issues] == ["sourceId"]
        with pytest.raises(StateNotFoundError):
            client.verifications.get(key)
        client.research.set(ResearchState(research_id=f"{key}-r", query="q"))
        assert client.verifications.set(verification).version == 1


def test_a_reference_is_checked_again_after_its_owner_was_killed(strict: Service, key: str) -> None:
    owner = shard_of(strict.name, "research")
    with strict.client() as client:
        source = next(name for name in (f"{key}-{n}" for n in range(100)) if owner(name) == 1)
        client.research.set(ResearchState(research_id=source, query="q"))
        verifier = shard_of(strict.name, "verifications")
        names = [name for name in (f"{key}-v{n}" for n in range(40)) if verifier(name) == 0][:8]
        end(shard_pid(strict.name, 1))
        for name in names:
            made = client.verifications.set(VerificationState(verification_id=name, source_id=source, content="c"))
            assert made.version == 1


async def test_a_full_queue_refuses_with_a_delay_and_loses_nothing(strict: Service, key: str) -> None:
    clients = [strict.async_client() for _ in range(4)]
    try:
        await clients[0].agents.set(agent(key))
        outcomes = await asyncio.gather(
            *(
                client.agents.set(agent(key), expected_version=ANY, timeout_s=0.5)
                for client in clients
                for _ in range(60)
            ),
            return_exceptions=True,
        )
        stored = [outcome for outcome in outcomes if isinstance(outcome, AgentState)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
        unknown = [outcome for outcome in outcomes if isinstance(outcome, OutcomeUnknownError)]
        assert stored
        assert refused
        assert all(error.retryable and error.retry_after_s > 0 for error in refused)
        resolved = [await clients[0].resolve(error.request_id, "agents", key) for error in unknown]
        versions = [state.version for state in stored] + [r.version for r in resolved if r.applied]
        final = await clients[0].agents.get(key, consistency="linearizable")
        assert sorted(versions) == list(range(2, final.version + 1))
    finally:
        for client in clients:
            await client.close()
