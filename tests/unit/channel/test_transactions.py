"""C4 on real shards over real sockets: transactions are all or nothing, wherever their keys are."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import pytest
from tests.channel_service import ChannelService, eventually
from tests.transaction_traffic import TransactionTraffic

from lightning_state.actors.client import StateClient, Transaction
from lightning_state.actors.client.transactions import DeleteOp, PatchOp, SetOp, TransactionOutcome
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.transactions.plan import Compare
from lightning_state.actors.errors import (
    InvalidStateError,
    StateNotFoundError,
    TransactionAbortedError,
    TransactionTooLargeError,
)
from lightning_state.actors.models import AgentState

aborting = partial(pytest.raises, TransactionAbortedError)
outgrowing = partial(pytest.raises, TransactionTooLargeError)
dividing = partial(pytest.raises, ZeroDivisionError)


@pytest.fixture
def service() -> Generator[ChannelService]:
    with ChannelService(shards=3) as running:
        yield running


@pytest.fixture
def state(service: ChannelService) -> Generator[StateClient]:
    with service.client() as client:
        yield client


def agent(key: str, kind: str = "x") -> AgentState:
    return AgentState(agent_id=key, agent_type=kind)


def keys_of(service: ChannelService, shard: int, count: int = 1) -> list[str]:
    """Keys that belong to a shard."""
    current = service.directory.map()
    info = current.categories["agents"]
    return [key for n in range(200) if current.locate(info, key := f"k{n}")[1] == shard][:count]


def rows(service: ChannelService, shard: int) -> list[Op]:
    return [row.op for row in service.shards[shard].disk.journal]


def test_c4_writes_of_several_shards_are_made_together(service: ChannelService, state: StateClient) -> None:
    a, b, c = (keys_of(service, shard)[0] for shard in range(3))
    state.agents.set(agent(c, "old"))
    with state.transaction() as tx:
        read = tx.agents.get(c)
        with pytest.raises(StateNotFoundError):
            tx.agents.get(a)
        tx.agents.set(agent(a))
        tx.agents.set(agent(b))
        tx.agents.set(read.replace(agent_type="new"))
        assert tx.agents.get(c).agent_type == "new", "its own writes are seen inside"
        assert state.agents.get(c, consistency="linearizable").agent_type == "old", "and nowhere else before the end"
    assert tx.outcome is TransactionOutcome.COMMITTED
    assert tx.versions == {("agents", a): 1, ("agents", b): 1, ("agents", c): 2}
    assert {key: each.agent_type for key, each in state.agents.get_many([a, b, c]).items()} == {
        a: "x",
        b: "x",
        c: "new",
    }
    assert state.resolve_transaction(tx.id) is TransactionOutcome.COMMITTED


def test_keys_of_one_shard_are_one_commit_without_prepare_rows(service: ChannelService, state: StateClient) -> None:
    a, b = keys_of(service, 1, 2)
    with state.transaction() as tx:
        tx.agents.set(agent(a))
        tx.agents.set(agent(b))
    assert rows(service, 1) == [Op.DECIDE, Op.SET, Op.SET]
    assert rows(service, 0) == rows(service, 2) == []


def test_c4_nothing_is_written_when_a_read_key_has_changed(service: ChannelService, state: StateClient) -> None:
    a, b, c = (keys_of(service, shard)[0] for shard in range(3))
    for key in (a, c):
        state.agents.set(agent(key))
    for read in (a, c):
        with aborting() as caught, state.transaction() as tx:
            tx.agents.get(read)
            state.agents.patch(read, {"agentType": "other"}, expected_version=ANY)
            tx.agents.set(agent(b))
        assert caught.value.reason == "conflict"
        assert caught.value.key == read
        assert tx.outcome is TransactionOutcome.ABORTED
        assert state.resolve_transaction(tx.id) is TransactionOutcome.ABORTED
        assert not state.agents.exists(b, consistency="linearizable")


def test_c4_nothing_is_held_after_an_abort(service: ChannelService, state: StateClient) -> None:
    a, b, c = (keys_of(service, shard)[0] for shard in range(3))
    state.agents.set(agent(c))
    with aborting(), state.transaction() as tx:
        tx.agents.set(agent(a))
        tx.agents.set(agent(b))
        tx.agents.set(agent(c))  # exists
    for key in (a, b):
        assert state.agents.set(agent(key)).version == 1
    eventually(lambda: all(not service.on_loop(lambda n=n: held(service, n)) for n in range(3)))


def held(service: ChannelService, shard: int) -> int:
    performer = service.shards[shard].runtime._performer
    assert performer is not None
    return len(performer.shard.transactions._participant)


def test_a_block_that_raises_writes_nothing(state: StateClient) -> None:
    with dividing(), state.transaction() as tx:
        tx.agents.set(agent("a"))
        raise ZeroDivisionError
    assert tx.outcome is TransactionOutcome.ABORTED
    assert not state.agents.exists("a")
    with pytest.raises(InvalidStateError, match="over"):
        tx.agents.get("a")


def test_a_key_is_written_once(state: StateClient) -> None:
    with state.transaction() as tx:
        tx.agents.set(agent("a"))
        with pytest.raises(InvalidStateError) as caught:
            tx.agents.patch("a", {"agentType": "y"})
        assert caught.value.reason == "written_twice"


def test_a_transaction_has_a_most_of_keys(service: ChannelService, state: StateClient) -> None:
    del service
    with outgrowing() as caught, state.transaction() as tx:
        for n in range(129):
            tx.agents.set(agent(f"a{n}"))
    assert caught.value.limit == 128
    with state.transaction() as tx:
        for n in range(128):
            tx.agents.set(agent(f"a{n}"))
    assert len(tx.versions) == 128


def test_c4_a_read_only_transaction_is_a_snapshot(service: ChannelService, state: StateClient) -> None:
    a, b = keys_of(service, 0)[0], keys_of(service, 1)[0]
    for key in (a, b):
        state.agents.set(agent(key))
    with state.transaction() as tx:
        tx.agents.get(a)
        tx.agents.get(b)
    assert tx.outcome is TransactionOutcome.COMMITTED
    with aborting(), state.transaction() as tx:
        tx.agents.get(a)
        state.agents.patch(a, {"agentType": "other"}, expected_version=ANY)
        tx.agents.get(b)


def test_deletes_and_patches(service: ChannelService, state: StateClient) -> None:
    a, b = keys_of(service, 0)[0], keys_of(service, 1)[0]
    for key in (a, b):
        state.agents.set(agent(key))
    with state.transaction() as tx:
        tx.agents.delete(a)
        assert not tx.agents.exists(a)
        assert tx.agents.patch(b, {"agentType": "y"}).agent_type == "y"
    assert list(state.agents.get_many([a, b])) == [b]
    assert tx.versions == {("agents", a): 2, ("agents", b): 2}


def test_c5_the_same_request_id_is_one_transaction(service: ChannelService, state: StateClient) -> None:
    a, b = keys_of(service, 0)[0], keys_of(service, 1)[0]
    for _ in range(2):
        with state.transaction(request_id="order-1") as tx:
            tx.agents.set(agent(a), expected_version=0)
            tx.agents.set(agent(b), expected_version=0)
        assert set(tx.versions.values()) == {1}
    service.restart(0)
    service.restart(1)
    with state.transaction(request_id="order-1") as tx:
        tx.agents.set(agent(a), expected_version=0)
        tx.agents.set(agent(b), expected_version=0)
    assert set(tx.versions.values()) == {1}
    assert state.agents.get(a, consistency="linearizable").version == 1


def test_transact_runs_again_after_a_conflict(service: ChannelService, state: StateClient) -> None:
    a, b = keys_of(service, 0)[0], keys_of(service, 1)[0]
    state.agents.set(agent(a, "0"))
    runs: list[int] = []

    def add(tx: Transaction) -> str:
        current = tx.agents.get(a)
        if not runs:
            state.agents.patch(a, {"agentType": "7"}, expected_version=ANY)
        runs.append(1)
        tx.agents.set(current.replace(agent_type=str(int(current.agent_type) + 1)))
        tx.agents.set(agent(b))
        return current.agent_type

    assert state.transact(add) == "7"
    assert len(runs) == 2
    assert state.agents.get(a).agent_type == "8"


def test_c4_a_guarded_transaction_chooses_in_one_request(service: ChannelService, state: StateClient) -> None:
    a, b, c = (keys_of(service, shard)[0] for shard in range(3))
    state.agents.set(agent(a))
    for _ in range(2):
        done = state.guarded(
            [Compare("agents", b, "==", 0), Compare("agents", a, ">", 0)],
            [SetOp("agents", agent(b)), PatchOp("agents", a, {"agentType": "y"})],
            [DeleteOp("agents", a), SetOp("agents", agent(c))],
        )
    assert done.is_otherwise
    assert list(state.agents.get_many([a, b, c])) == [b, c]


def test_c4_lists_and_a_bank_stay_whole_while_shards_are_killed(service: ChannelService) -> None:
    lists = [f"list-{n}" for n in range(5)]
    accounts = [f"account-{n}" for n in range(5)]
    with TransactionTraffic(service.client, lists, accounts, timeout_s=5.0) as traffic:
        for number in (0, 1, 2, 0, 1):
            traffic.await_more(20)
            service.restart(number)
        traffic.await_more(20)
    traffic.check()
    eventually(lambda: all(not service.on_loop(lambda n=n: held(service, n)) for n in range(3)))
