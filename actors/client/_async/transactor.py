"""Sends transactions and asks for their outcomes: what every kind of transaction ends in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from lightning_state.actors.category import Category
from lightning_state.actors.client._async.calls import AsyncCalls
from lightning_state.actors.client.decoding import completed, state_of, unexpected
from lightning_state.actors.client.transactions import Committed, TransactionOutcome
from lightning_state.actors.core.checks import check_key
from lightning_state.actors.core.messages import Absent, Decided, Resolution, Value
from lightning_state.actors.core.transactions.plan import Change, Compare, plan_of
from lightning_state.actors.errors import LightningStateError, TransactionAbortedError
from lightning_state.actors.models import State

S = TypeVar("S", bound=State)


class AsyncTransactor:
    """The transactions of one client."""

    def __init__(self, calls: AsyncCalls) -> None:
        self.calls = calls
        self._unproven: dict[tuple[str, str], None] = {}
        # Written by transactions since the last token; how far their slots are is not known.

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.calls!r}>"

    async def read(self, category: Category[S], key: str, deadline_s: float) -> S | None:
        """The state under a key, from its owner; None when there is none."""
        session = await self.calls.ensure(category, deadline_s)
        operation = session.read(category.name, key, deadline_s)
        outcome = (await self.calls.run(session, [operation], f"{category.name}.get"))[0]
        if isinstance(outcome, LightningStateError):
            raise completed(category, outcome)
        if isinstance(outcome, Value | Absent):
            self.calls.cache.noted(outcome)
        return None if isinstance(outcome, Absent) else state_of(category, key, outcome)

    async def check(self, reads: Sequence[Compare], deadline_s: float) -> None:
        """Raise TransactionAbortedError unless every key still has the version that was read."""
        session = await self.calls.open(deadline_s)
        operations = [session.read(each.category, each.key, deadline_s) for each in reads]
        for read, outcome in zip(reads, await self.calls.run(session, operations, "transaction"), strict=True):
            if isinstance(outcome, LightningStateError):
                raise outcome
            if not isinstance(outcome, Value | Absent):
                raise unexpected(outcome)
            version = outcome.version if isinstance(outcome, Value) else 0
            if version != read.version:
                raise TransactionAbortedError(
                    f"{read.category} {read.key!r} was read at version {read.version} and has version {version} now",
                    transaction="",
                    reason="conflict",
                    cause="version_conflict",
                    category=read.category,
                    key=read.key,
                    expected_version=read.version,
                    current_version=version,
                )

    async def commit(
        self,
        reads: Sequence[Compare],
        writes: Sequence[Change],
        otherwise: Sequence[Change] | None = None,
        *,
        request_id: str | None,
        deadline_s: float,
        named: Callable[[str], Any] | None = None,
    ) -> Committed:
        """Make these writes if the reads are unchanged; with `otherwise`, choose between the two by the reads.

        `named` hears the transaction's id before it is sent.
        """
        calls = self.calls
        calls.counters.called("transaction")
        session = await calls.open(deadline_s)
        for each in (*reads, *writes, *(otherwise or ())):
            check_key(each.key, calls.limits)
            if each.category not in session.map.categories:
                await calls.category_info(each.category, deadline_s)
        plan = plan_of(session.map, reads, writes, otherwise)
        now_ms = time.time_ns() // 1_000_000
        operation = session.transact(plan, deadline_s=deadline_s, now_ms=now_ms, request_id=request_id)
        if named is not None:
            named(operation.key)
        places = dict.fromkeys((each.category, each.key) for each in (*writes, *(otherwise or ())))
        tickets = [calls.cache.begin_change(session, *place) for place in places]
        self._unproven.update(places)
        try:
            outcome = (await calls.run(session, [operation], "transaction"))[0]
        finally:
            calls.cache.end_writes(tickets)
        if isinstance(outcome, LightningStateError):
            raise outcome
        if not isinstance(outcome, Decided):
            raise unexpected(outcome)
        written = plan.order[outcome.is_otherwise]
        versions = {(e.category, e.key): v for e, v in zip(written, outcome.versions, strict=True)}
        return Committed(operation.key, versions, outcome.time_us, outcome.is_otherwise)

    async def resolve(self, transaction: str, deadline_s: float) -> TransactionOutcome:
        """How a transaction was decided; one that was not never will be committed."""
        calls = self.calls
        calls.counters.called("resolve_transaction")
        session = await calls.open(deadline_s)
        operation = session.inquire(transaction, deadline_s)
        outcome = (await calls.run(session, [operation], "resolve_transaction"))[0]
        if isinstance(outcome, LightningStateError):
            raise outcome
        if not isinstance(outcome, Resolution):
            raise unexpected(outcome)
        return TransactionOutcome.COMMITTED if outcome.applied else TransactionOutcome.ABORTED

    async def prove(self, deadline_s: float) -> None:
        """Learn how far the slots are that transactions have written, for the next token."""
        calls = self.calls
        places = list(self._unproven)
        if not places:
            return
        session = await calls.open(deadline_s)
        operations = [session.read(category, key, deadline_s) for category, key in places]
        for place, outcome in zip(places, await calls.run(session, operations, "token"), strict=True):
            if isinstance(outcome, LightningStateError):
                raise outcome
            if isinstance(outcome, Value | Absent):
                calls.cache.noted(outcome)
            self._unproven.pop(place, None)
