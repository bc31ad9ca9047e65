"""Transactions without pause, and a record of what they did and saw, for the checkers: lists that grow, and a bank."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.waiting import until

from lightning_state import AgentState, LightningStateError, StateClient, StateNotFoundError, TransactionOutcome
from lightning_state.actors.client import Transaction as Tx
from lightning_state.actors.testing import (
    NEVER,
    Append,
    BankSnapshot,
    ListRead,
    Outcome,
    Transaction,
    Transfer,
    check_bank,
    check_transactions,
)

START = 100
_OUTCOMES = {TransactionOutcome.COMMITTED: Outcome.OK, TransactionOutcome.ABORTED: Outcome.REFUSED}


@dataclass
class TransactionTraffic:
    """Clients of one service. `keys`: of the lists; `accounts`: of the bank. Use it as a context manager."""

    connect: Callable[[], StateClient]
    keys: Sequence[str]
    accounts: Sequence[str]
    threads: int = 4
    timeout_s: float = 10.0
    seed: int = 1
    history: list[Transaction] = field(default_factory=list[Transaction])
    transfers: list[Transfer] = field(default_factory=list[Transfer])
    snapshots: list[BankSnapshot] = field(default_factory=list[BankSnapshot])
    broken: list[BaseException] = field(default_factory=list[BaseException])

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._clock = itertools.count(1)
        self._threads = [threading.Thread(target=self._run, args=(f"t{n}",)) for n in range(self.threads)]

    def __enter__(self) -> Self:
        with self.connect() as state, state.transaction() as tx:
            for account in self.accounts:
                tx.agents.set(_account(account, START))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"
        assert not self.broken, f"a client met an error outside the service's own: {self.broken[:3]}"

    @property
    def committed(self) -> int:
        """Transactions that wrote and were told so."""
        done = (*tuple(self.history), *tuple(self.transfers))
        return sum(each.outcome is Outcome.OK for each in done)

    def await_more(self, count: int, within_s: float = 60.0) -> None:
        """Wait until so many further transactions were committed."""
        wanted = self.committed + count
        until(f"{count} more transactions", lambda: self.committed >= wanted or self.broken, within_s)

    def check(self) -> None:
        """Read everything once more, and judge: no anomaly, no money made or lost, nothing half done."""
        with self.connect() as state:
            for key in self.keys:
                self._append(state, "end", [key], [])
            self._snapshot(state, "end")
        assert self.snapshots[-1].client == "end"
        assert check_transactions(self.history) == []
        assert check_bank(dict.fromkeys(self.accounts, START), self.transfers, self.snapshots) == []

    def describe(self) -> str:
        """What was done, in one line."""
        done = (*self.history, *self.transfers)
        counts = {outcome: sum(each.outcome is outcome for each in done) for outcome in Outcome}
        return (
            f"{counts[Outcome.OK]} committed, {counts[Outcome.REFUSED]} aborted, {counts[Outcome.UNKNOWN]} in doubt, "
            f"{len(self.snapshots)} snapshots"
        )

    # -- one client ---

    def _run(self, name: str) -> None:
        chance = random.Random(f"{self.seed}/{name}")
        try:
            with self.connect() as state:
                while not self._stop.is_set():
                    roll = chance.random()
                    if roll < 0.5:
                        reads, writes = (chance.sample(self.keys, chance.randint(0, 2)) for _ in range(2))
                        self._append(state, name, reads, writes)
                    elif roll < 0.8:
                        source, target = chance.sample(self.accounts, 2)
                        self._transfer(state, name, source, target, chance.randint(1, 30))
                    else:
                        self._snapshot(state, name)
        except Exception as error:  # noqa: BLE001  # whatever it was, the test has to hear of it
            self.broken.append(error)

    def _append(self, state: StateClient, name: str, reads: Sequence[str], writes: Sequence[str]) -> None:
        invoked = next(self._clock)
        element = f"{name}.{invoked}"
        done: list[Append | ListRead] = []

        def act(tx: Tx) -> None:
            for key in dict.fromkeys([*reads, *writes]):
                current = _read(tx, key)
                items = current.active_task_ids if current is not None else ()
                done.append(ListRead(key=key, elements=items, version=current.version if current else 0))
                if key in writes:
                    base = current or AgentState(agent_id=key, agent_type="list")
                    tx.agents.set(base.replace(active_task_ids=(*items, element)))
                    done.append(Append(key=key, element=element))

        outcome, versions = self._commit(state, act)
        operations = [
            Append(key=each.key, element=each.element, version=versions.get(("agents", each.key), 0))
            if isinstance(each, Append)
            else each
            for each in done
        ]
        self.history.append(
            Transaction(
                id=element,
                client=name,
                invoked=invoked,
                returned=NEVER if outcome is Outcome.UNKNOWN else next(self._clock),
                outcome=outcome,
                operations=tuple(operations),
            )
        )

    def _transfer(self, state: StateClient, name: str, source: str, target: str, amount: int) -> None:
        invoked = next(self._clock)

        def act(tx: Tx) -> None:
            payer, receiver = tx.agents.get(source), tx.agents.get(target)
            if _balance(payer) < amount:
                raise _TooPoorError
            tx.agents.set(_account(source, _balance(payer) - amount, payer.version))
            tx.agents.set(_account(target, _balance(receiver) + amount, receiver.version))

        outcome, _ = self._commit(state, act)
        returned = NEVER if outcome is Outcome.UNKNOWN else next(self._clock)
        self.transfers.append(
            Transfer(
                id=f"{name}.{invoked}",
                source=source,
                target=target,
                amount=amount,
                invoked=invoked,
                returned=returned,
                outcome=outcome,
            )
        )

    def _snapshot(self, state: StateClient, name: str) -> None:
        invoked = next(self._clock)
        balances: dict[str, int] = {}

        def act(tx: Tx) -> None:
            balances.update((account, _balance(tx.agents.get(account))) for account in self.accounts)

        for _ in range(50 if name == "end" else 1):
            outcome, _ = self._commit(state, act)
            if outcome is Outcome.OK:
                self.snapshots.append(
                    BankSnapshot(client=name, invoked=invoked, returned=next(self._clock), balances=balances)
                )
                return

    def _commit(self, state: StateClient, act: Callable[[Tx], None]) -> tuple[Outcome, Mapping[tuple[str, str], int]]:
        tx = state.transaction(timeout_s=self.timeout_s)
        try:
            with tx:
                act(tx)
        except _TooPoorError:
            return Outcome.REFUSED, {}
        except LightningStateError:
            if tx.outcome is TransactionOutcome.IN_DOUBT:
                return self._resolve(state, tx), {}
            return Outcome.REFUSED, {}
        return Outcome.OK, tx.versions

    def _resolve(self, state: StateClient, tx: Tx) -> Outcome:
        """Half of what is in doubt is asked for, the rest stays so."""
        if next(self._clock) % 2:
            return Outcome.UNKNOWN
        try:
            return _OUTCOMES[state.resolve_transaction(tx.id)]
        except LightningStateError:
            return Outcome.UNKNOWN


class _TooPoorError(Exception):
    """There is not enough money to transfer."""


def _read(tx: Tx, key: str) -> AgentState | None:
    try:
        return tx.agents.get(key)
    except StateNotFoundError:
        return None


def _account(account: str, balance: int, version: int = 0) -> AgentState:
    state = AgentState(agent_id=account, agent_type="account", properties={"balance": balance})
    return state.replace(version=version)


def _balance(account: AgentState) -> int:
    balance = account.properties["balance"]
    assert isinstance(balance, int)
    return balance
