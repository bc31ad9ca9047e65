"""A user's own category has everything the built-in ones have, and outlives a change of its schema (R1)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from tests.order_versions import BROKEN, FIRST, SECOND
from tests.own_category import TICKETS, TicketState, TicketStatus
from tests.service_processes import end, shard_of, shard_pid

from lightning_state import (
    ANY,
    InvalidTransitionError,
    LightningStateError,
    StateClient,
    StateNotFoundError,
    ValidationFailedError,
    VersionConflictError,
)
from lightning_state.cluster.service import Service


def test_everything_works_for_a_category_registered_while_the_service_runs(client: StateClient, key: str) -> None:
    tickets = client.category(TICKETS)
    first = tickets.set(TicketState(ticket_id=f"{key}-1", queue="billing", title="no invoice"))
    second = tickets.set(TicketState(ticket_id=f"{key}-2", queue="technical"))
    assert (first.version, first.last_updated is not None) == (1, True)
    assert tickets.get(f"{key}-1") == first
    assert tickets.exists(f"{key}-1")
    assert tickets.list(prefix=key, queue="technical").states == (second,)
    waiting = tickets.patch(f"{key}-1", {"status": "Waiting", "edits": 2}, expected_version=1)
    assert waiting.status is TicketStatus.WAITING
    assert tickets.list(prefix=key, status=TicketStatus.WAITING).states == (waiting,)
    assert tickets.update(f"{key}-1", lambda s: s.replace(edits=3)).version == 3
    assert list(tickets.get_many([f"{key}-2", f"{key}-9"])) == [f"{key}-2"]
    assert set(tickets.set_many([TicketState(ticket_id=f"{key}-{n}", queue="billing") for n in (3, 4)])) == {
        f"{key}-3",
        f"{key}-4",
    }
    tickets.delete(f"{key}-2", expected_version=1)
    with pytest.raises(StateNotFoundError):
        tickets.get(f"{key}-2")
    with pytest.raises(VersionConflictError) as caught:
        tickets.set(first)
    assert isinstance(caught.value.current, TicketState)


def test_its_table_rules_validators_and_counters_are_enforced(client: StateClient, key: str) -> None:
    tickets = client.category(TICKETS)
    state = tickets.set(TicketState(ticket_id=key, queue="billing", edits=5))
    refused: list[tuple[TicketState, str]] = [
        (state.replace(title="HELP ME"), "shouting"),
        (state.replace(queue="gardening"), "queue"),
        (state.replace(edits=4), "counter_decreased"),
    ]
    for change, code in refused:
        with pytest.raises(ValidationFailedError) as caught:
            tickets.set(change)
        assert [issue.code for issue in caught.value.verdict.issues] == [code]
    closed = tickets.set(state.replace(status=TicketStatus.CLOSED))
    with pytest.raises(InvalidTransitionError):
        tickets.set(closed.replace(status=TicketStatus.OPEN), expected_version=ANY)
    assert tickets.get(key) == closed


def test_a_task_and_a_restarted_shard_know_it_too(service: Service, client: StateClient, key: str) -> None:
    owner = shard_of(service.name, "tickets")
    name = next(each for each in (f"{key}-{n}" for n in range(100)) if owner(each) == 1)

    @ray.remote(num_cpus=0, max_retries=0)
    def write() -> int:
        with StateClient.connect(service.name) as connected:
            return connected.category(TICKETS).set(TicketState(ticket_id=name, queue="billing")).version

    assert ray.get(write.remote()) == 1
    end(shard_pid(service.name, 1))
    assert client.category(TicketState).update(name, lambda s: s.replace(edits=1)).version == 2


STEP = """
import sys, ray
import orders
from lightning_state import start, LightningStateError
address, data_dir, name, step = sys.argv[1:]
try:
    with start(address=address, data_dir=data_dir, service=name, shards=2, categories=[orders.ORDERS]) as service:
        with service.client() as client:
            collection = client.category(orders.ORDERS)
            if step == "first":
                for n in range(10):
                    collection.set(orders.Order(order_id=f"o-{n}", amount=n))
            else:
                old = [collection.get(f"o-{n}") for n in range(10)]
                assert [s.amount_cents for s in old] == [100 * n for n in range(10)], old
                assert [s.version for s in old] == [1] * 10
                changed = collection.patch("o-3", {"amountCents": 5}, expected_version=1)
                assert (changed.version, changed.amount_cents, changed.currency) == (2, 5, "EUR")
                assert collection.update("o-4", lambda s: s.replace(currency="CHF")).version == 2
                assert [s.order_id for s in collection.list().states] == [f"o-{n}" for n in range(10)]
                assert [s.order_id for s in collection.list(currency="CHF").states] == ["o-4"]
    print("done")
except LightningStateError as error:
    print(error.code, error)
"""


@pytest.mark.usefixtures("ray_cluster")
def test_older_states_are_upcast_after_a_restart_with_a_newer_schema(tmp_path: Path, service_name: str) -> None:
    address = ray.get_runtime_context().gcs_address

    def run(step: str, module: str) -> str:
        directory = tmp_path / step
        directory.mkdir()
        (directory / "orders.py").write_text(module)
        (directory / "step.py").write_text(STEP)
        child = subprocess.run(
            [sys.executable, "step.py", address, str(tmp_path / "data"), service_name, step],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert child.returncode == 0, child.stderr[-3000:]
        return child.stdout

    assert run("first", FIRST) == "done\n"
    assert run("broken", BROKEN).startswith("category_mismatch")
    assert run("second", SECOND) == "done\n"


def test_a_category_error_names_what_to_do(client: StateClient) -> None:
    with pytest.raises(LightningStateError, match="index"):
        client.category(TICKETS).list(title="x")
