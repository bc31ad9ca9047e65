"""Transactions: legal histories pass, each anomaly is named, and by one rule alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_state.actors.testing.checkers import transactions as checker
from lightning_state.actors.testing.checkers.transactions import AnomalyKind, check_transactions, find_anomalies
from lightning_state.actors.testing.history import NEVER, Outcome
from lightning_state.actors.testing.transaction_history import Append, ListRead, Transaction

Operation = Append | ListRead


def add(key: str, element: str, version: int = 0) -> Append:
    return Append(key=key, element=element, version=version)


def see(key: str, elements: str, version: int = 0) -> ListRead:
    return ListRead(key=key, elements=tuple(elements), version=version)


def tx(name: str, invoked: int, returned: int, *operations: Operation) -> Transaction:
    return Transaction(
        id=name, client="c", invoked=invoked, returned=returned, outcome=Outcome.OK, operations=operations
    )


def aborted(transaction: Transaction) -> Transaction:
    return replace(transaction, outcome=Outcome.REFUSED)


def in_doubt(transaction: Transaction) -> Transaction:
    return replace(transaction, outcome=Outcome.UNKNOWN, returned=NEVER)


def end(*reads: ListRead) -> Transaction:
    return tx("end", 100, 101, *reads)


LEGAL: dict[str, list[Transaction]] = {
    "nothing": [],
    "one after the other": [
        tx("a", 1, 2, see("x", ""), add("x", "1", 1)),
        tx("b", 3, 4, see("x", "1", 1), add("x", "2", 2), see("x", "12")),
        end(see("x", "12", 2)),
    ],
    "a concurrent reader comes before the writer": [tx("a", 1, 9, add("x", "1")), tx("b", 2, 3, see("x", ""))],
    "several appends of one transaction are seen together": [
        tx("a", 1, 2, add("x", "1", 1), add("x", "2", 1), add("y", "1", 1)),
        end(see("x", "12", 1), see("y", "1", 1)),
    ],
    "in doubt, happened": [in_doubt(tx("a", 1, 2, add("x", "1"), add("y", "1"))), end(see("x", "1"), see("y", "1"))],
    "in doubt, did not happen": [
        in_doubt(tx("a", 1, 2, add("x", "1"), add("y", "1"))),
        end(see("x", ""), see("y", "")),
    ],
    "in doubt, happened late": [
        in_doubt(tx("a", 1, 2, add("x", "1"))),
        tx("b", 3, 4, see("x", "")),
        tx("c", 5, 6, see("x", "1")),
    ],
    "reads of aborted transactions promise nothing": [
        tx("a", 1, 2, add("x", "1"), add("y", "1")),
        aborted(tx("b", 3, 4, see("x", "1"), see("y", "nonsense"))),
        in_doubt(tx("c", 5, 6, see("x", ""))),
    ],
    "aborted appends are not seen": [aborted(tx("a", 1, 2, add("x", "1"))), end(see("x", ""))],
    "appends that nobody read": [
        tx("a", 1, 9, add("x", "1"), add("y", "1", 2)),
        tx("b", 1, 9, add("x", "2"), add("y", "2", 1)),
        tx("c", 1, 9, see("x", ""), add("x", "3")),
    ],
    "versions order what nobody read": [
        tx("a", 1, 2, see("x", "", 0), add("x", "1", 1)),
        tx("b", 3, 4, see("x", "1", 1), add("x", "2", 2)),
        tx("c", 5, 6, see("x", "12", 2), add("x", "3", 3)),
    ],
}


@dataclass(frozen=True)
class Case:
    """An illegal history, what is wrong with it, and the rule without which nobody would notice."""

    history: list[Transaction]
    kind: AnomalyKind
    rule: Callable[..., Any]


ILLEGAL: dict[str, Case] = {
    "dirty write": Case(
        [
            tx("a", 1, 9, add("x", "1"), add("y", "1")),
            tx("b", 1, 9, add("x", "2"), add("y", "2")),
            end(see("x", "12"), see("y", "21")),
        ],
        AnomalyKind.G0,
        checker._write_dependencies,
    ),
    "aborted read": Case(
        [aborted(tx("a", 1, 2, add("x", "1"))), tx("b", 3, 4, see("x", "1"))],
        AnomalyKind.G1A,
        checker._writers,
    ),
    "aborted read, and somebody appends after": Case(
        [aborted(tx("a", 1, 9, add("x", "1"))), tx("b", 1, 9, see("x", "1")), tx("c", 1, 9, add("x", "2"))],
        AnomalyKind.G1A,
        checker._writers,
    ),
    "intermediate read": Case(
        [tx("a", 1, 9, add("x", "1"), add("x", "2")), tx("b", 2, 3, see("x", "1"))],
        AnomalyKind.G1B,
        checker._intermediate,
    ),
    "intermediate read of what was in doubt": Case(
        [in_doubt(tx("a", 1, 9, add("x", "1"), add("x", "2"))), tx("b", 2, 3, see("x", "1"))],
        AnomalyKind.G1B,
        checker._intermediate,
    ),
    "circular information flow": Case(
        [tx("a", 1, 9, add("x", "1"), see("y", "1")), tx("b", 1, 9, add("y", "1"), see("x", "1"))],
        AnomalyKind.G1C,
        checker._read_dependencies,
    ),
    "read skew": Case(
        [tx("a", 1, 9, add("x", "1"), add("y", "1")), tx("b", 1, 9, see("x", "1"), see("y", ""))],
        AnomalyKind.G_SINGLE,
        checker._anti_dependencies,
    ),
    "half of a transaction in doubt": Case(
        [in_doubt(tx("a", 1, 9, add("x", "1"), add("y", "1"))), end(see("x", "1"), see("y", ""))],
        AnomalyKind.G_SINGLE,
        checker._anti_dependencies,
    ),
    "write skew": Case(
        [
            tx("a", 1, 9, see("x", ""), see("y", ""), add("x", "1")),
            tx("b", 1, 9, see("x", ""), see("y", ""), add("y", "1")),
            end(see("x", "1"), see("y", "1")),
        ],
        AnomalyKind.G2_ITEM,
        checker._anti_dependencies,
    ),
    "write skew of three, never read": Case(
        [
            tx("a", 1, 9, see("x", ""), add("y", "1")),
            tx("b", 1, 9, see("y", ""), add("z", "1")),
            tx("c", 1, 9, see("z", ""), add("x", "1")),
        ],
        AnomalyKind.G2_ITEM,
        checker._anti_dependencies,
    ),
    "lost update, both kept": Case(
        [
            tx("a", 1, 9, see("x", ""), add("x", "1")),
            tx("b", 1, 9, see("x", ""), add("x", "2")),
            end(see("x", "12")),
        ],
        AnomalyKind.LOST_UPDATE,
        checker._anti_dependencies,
    ),
    "lost update, neither read": Case(
        [tx("a", 1, 9, see("x", ""), add("x", "1")), tx("b", 1, 9, see("x", ""), add("x", "2"))],
        AnomalyKind.LOST_UPDATE,
        checker._anti_dependencies,
    ),
    "lost update, one overwritten": Case(
        [
            tx("a", 1, 9, add("x", "1", 1)),
            tx("b", 1, 9, add("x", "2", 2)),
            tx("r", 1, 9, see("x", "2", 2)),
        ],
        AnomalyKind.LOST_UPDATE,
        checker._versions,
    ),
    "lost append": Case(
        [tx("a", 1, 2, add("x", "1")), end(see("x", ""))],
        AnomalyKind.REAL_TIME,
        checker._real_time,
    ),
    "stale read": Case(
        [tx("a", 1, 2, add("x", "1")), tx("b", 3, 4, see("x", "")), end(see("x", "1"))],
        AnomalyKind.REAL_TIME,
        checker._real_time,
    ),
    "read of the future": Case(
        [tx("a", 1, 2, see("x", "1")), tx("b", 3, 4, add("x", "1"))],
        AnomalyKind.REAL_TIME,
        checker._real_time,
    ),
    "writes against the clock": Case(
        [tx("a", 1, 2, add("x", "1")), tx("b", 3, 4, add("x", "2")), end(see("x", "21"))],
        AnomalyKind.REAL_TIME,
        checker._real_time,
    ),
    "own append not seen": Case(
        [tx("a", 1, 2, add("x", "1"), see("x", "")), tx("b", 1, 4, see("x", "1"))],
        AnomalyKind.INTERNAL,
        checker._own_appends,
    ),
    "own append seen before": Case(
        [tx("a", 1, 2, see("x", "1"), add("x", "1"))], AnomalyKind.INTERNAL, checker._own_appends
    ),
    "invented": Case([tx("a", 1, 2, see("x", "1"))], AnomalyKind.INVENTED, checker._writers),
    "applied twice": Case([tx("a", 1, 2, add("x", "1")), end(see("x", "11"))], AnomalyKind.REPEATED, checker._repeated),
    "own order lost": Case(
        [tx("a", 1, 2, add("x", "1"), add("x", "2"), add("x", "3")), end(see("x", "213"))],
        AnomalyKind.REORDERED,
        checker._reordered,
    ),
    "the first of two appends lost": Case(
        [tx("a", 1, 2, add("x", "1"), add("x", "2")), tx("b", 1, 2, see("x", "2"))],
        AnomalyKind.REORDERED,
        checker._reordered,
    ),
    "forked": Case(
        [
            tx("a", 1, 9, add("x", "1")),
            tx("b", 1, 9, add("x", "2")),
            tx("c", 1, 9, see("x", "1")),
            tx("d", 1, 9, see("x", "2")),
        ],
        AnomalyKind.FORKED,
        checker._forked,
    ),
    "versions against the list": Case(
        [tx("a", 1, 9, add("x", "1", 2)), tx("b", 1, 9, add("x", "2", 1)), end(see("x", "12"))],
        AnomalyKind.VERSION,
        checker._versions,
    ),
    "a read under an older version": Case(
        [tx("a", 1, 9, add("x", "1", 2)), end(see("x", "1", 1))], AnomalyKind.VERSION, checker._versions
    ),
    "a read under a newer version": Case(
        [tx("a", 1, 9, add("x", "1", 1)), tx("b", 1, 9, see("x", "", 1)), end(see("x", "1", 1))],
        AnomalyKind.VERSION,
        checker._versions,
    ),
    "one element twice": Case(
        [tx("a", 1, 2, add("x", "1")), in_doubt(tx("b", 3, 4, add("x", "1")))],
        AnomalyKind.UNUSABLE,
        checker._unusable,
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_histories_pass(name: str) -> None:
    assert check_transactions(LEGAL[name]) == []


@pytest.mark.parametrize("name", ILLEGAL)
def test_each_anomaly_is_named(name: str) -> None:
    case = ILLEGAL[name]
    assert {anomaly.kind for anomaly in find_anomalies(case.history)} == {case.kind}
    assert all(violation.startswith(case.kind) for violation in check_transactions(case.history))


@pytest.mark.parametrize("name", ILLEGAL)
def test_without_its_rule_an_anomaly_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = ILLEGAL[name]
    for table in ("_RULES", "_DEPENDENCIES"):
        kept = tuple(rule for rule in getattr(checker, table) if rule is not case.rule)
        monkeypatch.setattr(checker, table, kept)
    assert check_transactions(case.history) == []


def test_a_cycle_is_told_step_by_step() -> None:
    (violation,) = check_transactions(ILLEGAL["read skew"].history)
    assert violation == "G-single, read skew: a -wr x-> b -rw y-> a" or violation.endswith("b -rw y-> a -wr x-> b")


def test_a_cycle_by_the_clock_says_what_it_would_be_without() -> None:
    (violation,) = check_transactions(ILLEGAL["stale read"].history)
    assert "-time->" in violation


def test_a_large_component_costs_no_more_than_its_cycle() -> None:
    """Fifteen hundred transactions in one circle of what each overwrote of the next."""
    count = 1_500
    history = [tx(f"t{n}", 1, 9, see(f"k{n}", ""), add(f"k{(n + 1) % count}", "1")) for n in range(count)]
    (anomaly,) = find_anomalies(history)
    assert anomaly.kind is AnomalyKind.G2_ITEM


def serial_history(random: Random, count: int, keys: int) -> list[Transaction]:
    """Transactions that overlap by up to eight, each taking effect at one moment between invocation and return."""
    lists: dict[str, list[str]] = {f"k{n}": [] for n in range(keys)}
    versions = dict.fromkeys(lists, 0)
    history: list[Transaction] = []
    for number in range(count):
        invoked = int((number - random.random() * 4) * 1000)
        returned = int((number + random.random() * 4) * 1000) + 1
        fate = random.choices(["ok", "aborted", "in doubt", "in doubt, happened"], [8, 1, 1, 1])[0]
        happens = fate in ("ok", "in doubt, happened")
        told = random.random() < 0.5
        operations: list[Operation] = []
        own: dict[str, list[str]] = {}
        for step in range(random.randint(1, 4)):
            key = random.choice(list(lists))
            if random.random() < 0.5:
                seen = tuple(lists[key] + own.get(key, []))
                if not happens:  # it may have read at another moment than the others
                    seen = seen[: random.randint(0, len(seen))]
                version = versions[key] if told and key not in own and happens else 0
                operations.append(ListRead(key=key, elements=seen, version=version))
            else:
                own.setdefault(key, []).append(f"{number}.{step}")
                version = versions[key] + 1 if told and fate == "ok" else 0
                operations.append(add(key, f"{number}.{step}", version))
        for key, elements in own.items() if happens else ():
            lists[key] += elements
            versions[key] += 1
        transaction = tx(f"t{number}", invoked, returned, *operations)
        change = {"ok": lambda t: t, "aborted": aborted}.get(fate, in_doubt)
        history.append(change(transaction))
    random.shuffle(history)
    return history


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 60), keys=st.integers(1, 5))
def test_serial_executions_pass(seed: int, count: int, keys: int) -> None:
    assert check_transactions(serial_history(Random(seed), count, keys)) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_serial_execution_with_one_read_made_older_does_not_pass(seed: int) -> None:
    """Only a read whose last element was acknowledged before it began: any other may be as old as it likes."""
    random = Random(seed)
    history = serial_history(random, 80, 3)
    places = [
        (number, step)
        for number, transaction in enumerate(history)
        for step, operation in enumerate(transaction.operations)
        if transaction.outcome is Outcome.OK and isinstance(operation, ListRead) and operation.elements
        if _acknowledged_before(history, operation, transaction.invoked)
    ]
    number, step = random.choice(places)
    operations = list(history[number].operations)
    read = operations[step]
    assert isinstance(read, ListRead)
    operations[step] = replace(read, elements=read.elements[:-1])
    history[number] = replace(history[number], operations=tuple(operations))
    assert check_transactions(history)


def _acknowledged_before(history: list[Transaction], read: ListRead, moment: int) -> bool:
    return any(
        isinstance(operation, Append) and (operation.key, operation.element) == (read.key, read.elements[-1])
        for transaction in history
        if transaction.outcome is Outcome.OK and transaction.returned < moment
        for operation in transaction.operations
    )
