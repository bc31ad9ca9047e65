"""The bank: legal histories pass, each way to make or lose money is named, and by one rule alone."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.testing.rules import Flaw, assert_named, assert_silent_without_its_rule

from lightning_state.actors.testing.checkers import bank as checker
from lightning_state.actors.testing.checkers.bank import check_bank
from lightning_state.actors.testing.history import NEVER, Outcome
from lightning_state.actors.testing.transaction_history import BankSnapshot, Transfer

INITIAL = {"a": 10, "b": 10, "c": 0}


def move(invoked: int, returned: int, source: str, target: str, amount: int) -> Transfer:
    return Transfer(
        id=f"{source}{target}{invoked}",
        source=source,
        target=target,
        amount=amount,
        invoked=invoked,
        returned=returned,
        outcome=Outcome.OK,
    )


def in_doubt(transfer: Transfer) -> Transfer:
    return replace(transfer, outcome=Outcome.UNKNOWN, returned=NEVER)


def aborted(transfer: Transfer) -> Transfer:
    return replace(transfer, outcome=Outcome.REFUSED)


def shot(invoked: int, returned: int, a: int, b: int, c: int) -> BankSnapshot:
    return BankSnapshot(client="r", invoked=invoked, returned=returned, balances={"a": a, "b": b, "c": c})


FIVE = move(3, 4, "a", "b", 5)

LEGAL: dict[str, tuple[list[Transfer], list[BankSnapshot]]] = {
    "nothing": ([], [shot(1, 2, 10, 10, 0)]),
    "before and after": ([FIVE], [shot(1, 2, 10, 10, 0), shot(5, 6, 5, 15, 0)]),
    "while it is under way, either": ([replace(FIVE, returned=9)], [shot(4, 5, 10, 10, 0), shot(4, 5, 5, 15, 0)]),
    "in doubt, happened": ([in_doubt(FIVE)], [shot(8, 9, 5, 15, 0)]),
    "in doubt, did not happen": ([in_doubt(FIVE)], [shot(8, 9, 10, 10, 0)]),
    "in doubt, happened late": ([in_doubt(FIVE)], [shot(8, 9, 10, 10, 0), shot(10, 11, 5, 15, 0)]),
    "aborted": ([aborted(FIVE)], [shot(5, 6, 10, 10, 0)]),
}


def flaw(transfers: list[Transfer], snapshot: BankSnapshot, says: str, rule: object) -> Flaw:
    return Flaw(lambda: check_bank(INITIAL, transfers, [snapshot]), says, rule)  # pyright: ignore[reportArgumentType]


ILLEGAL = {
    "money made": flaw([in_doubt(FIVE)], shot(8, 9, 10, 12, 0), "the total is 22 instead of 20", checker._total),
    "half of a transfer": flaw([replace(FIVE, returned=9)], shot(4, 5, 5, 10, 0), "the total is 15", checker._total),
    "half of a transfer in doubt": flaw([in_doubt(FIVE)], shot(8, 9, 10, 15, 0), "the total is 25", checker._total),
    "an account gone": flaw(
        [],
        BankSnapshot(client="r", invoked=1, returned=2, balances={"a": 10, "b": 10}),
        "accounts differ",
        checker._accounts,
    ),
    "below zero": flaw([move(3, 4, "a", "b", 15)], shot(5, 6, -5, 25, 0), "below 0", checker._overdraft),
    "acknowledged and lost": flaw([FIVE], shot(5, 6, 10, 10, 0), "transfers explain", checker._bounds),
    "applied twice": flaw([FIVE], shot(5, 6, 0, 20, 0), "transfers explain", checker._bounds),
    "in doubt and applied twice": flaw([in_doubt(FIVE)], shot(5, 6, 0, 20, 0), "transfers explain", checker._bounds),
    "aborted and applied": flaw([aborted(FIVE)], shot(5, 6, 5, 15, 0), "transfers explain", checker._bounds),
    "to somebody else": flaw([FIVE], shot(5, 6, 5, 10, 5), "transfers explain", checker._bounds),
    "seen before it began": flaw([FIVE], shot(1, 2, 5, 15, 0), "transfers explain", checker._bounds),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_histories_pass(name: str) -> None:
    assert check_bank(INITIAL, *LEGAL[name]) == []


@pytest.mark.parametrize("name", ILLEGAL)
def test_each_flaw_is_named(name: str) -> None:
    assert_named(ILLEGAL[name])


@pytest.mark.parametrize("name", ILLEGAL)
def test_without_its_rule_a_flaw_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_silent_without_its_rule(ILLEGAL[name], monkeypatch, checker)


def test_overdrafts_pass_where_they_are_allowed() -> None:
    history = [move(3, 4, "a", "b", 15)], [shot(5, 6, -5, 25, 0)]
    assert check_bank(INITIAL, *history, overdraft=True) == []


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 60))
def test_serial_executions_pass(seed: int, count: int) -> None:
    """Transfers and snapshots that overlap, each happening at one moment between its invocation and its return."""
    random = Random(seed)
    balances = dict.fromkeys("abc", 100)
    initial = dict(balances)
    transfers: list[Transfer] = []
    snapshots: list[BankSnapshot] = []
    for number in range(count):
        invoked = int((number - random.random() * 4) * 1000)
        returned = int((number + random.random() * 4) * 1000) + 1
        if random.random() < 0.4:
            snapshots.append(BankSnapshot(client="r", invoked=invoked, returned=returned, balances=dict(balances)))
            continue
        source, target = random.sample("abc", 2)
        transfer = move(invoked, returned, source, target, random.randint(1, 60))
        fate = random.choice([aborted, in_doubt, lambda t: t, lambda t: t])
        happens = balances[source] >= transfer.amount and fate is not aborted
        if not happens:
            fate = random.choice([aborted, in_doubt])
        else:
            balances[source] -= transfer.amount
            balances[target] += transfer.amount
        transfers.append(fate(transfer))
    assert check_bank(initial, transfers, snapshots) == []
