"""Reading the states of one category: from memory where that may answer, else from their owners."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar, cast

from lightning_state.actors.category import Category
from lightning_state.actors.client._async.calls import AsyncCalls
from lightning_state.actors.client.caching import Fresh, Held, held
from lightning_state.actors.client.calling import Call
from lightning_state.actors.client.decoding import Outcome, completed, state_of
from lightning_state.actors.client.flights import AsyncFlight
from lightning_state.actors.core.cache_entries import Ticket
from lightning_state.actors.core.checks import check_key
from lightning_state.actors.core.messages import Absent, Reply, Value
from lightning_state.actors.core.session import Operation
from lightning_state.actors.errors import InvalidStateError, LightningStateError, StateTooLargeError
from lightning_state.actors.models import State

S = TypeVar("S", bound=State)

Consistency = Literal["cached", "linearizable"]


class AsyncReads(Generic[S]):
    """What every operation on a category begins with, and how its keys are read through the client's cache."""

    def __init__(self, calls: AsyncCalls, category: Category[S]) -> None:
        self.category = category
        self._calls = calls
        self._name = category.name
        self._ensured = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.category.name} of {self._calls.transport.service}>"

    async def _found(
        self, operation: str, key: str, consistency: Consistency, at_least: str | None, timeout_s: float | None
    ) -> Held:
        """What is held of a key, asked of its owner where memory may not answer."""
        calls = self._calls
        fresh = None if at_least is None else await self._fresh(at_least, calls.deadline(timeout_s))
        if consistency == "cached":
            if calls.transport.has_pushes():
                await calls.transport.take_in()
            entry = calls.cache.hit((self._name, key), fresh)
            if entry is not None:
                calls.counters.called(f"{self._name}.{operation}")
                return entry.value
        self._check_consistency(consistency)
        call = await self._begin(operation, timeout_s)
        check_key(key, calls.limits)
        read = call.session.read(self._name, key, call.deadline_s)
        if consistency == "cached" and fresh is None:
            return await self._join_or_ask(call, read)
        return await self._ask(call, read, calls.cache.begin_read(call.session, read))

    async def _found_many(
        self, keys: Iterable[str], consistency: Consistency, at_least: str | None, timeout_s: float | None
    ) -> dict[str, Held]:
        """The same for many, in the order asked."""
        self._check_consistency(consistency)
        call = await self._begin("get_many", timeout_s)
        wanted = self._batch(keys)
        for key in wanted:
            check_key(key, self._calls.limits)
        fresh = None if at_least is None else await self._fresh(at_least, call.deadline_s)
        found: dict[str, Any] = dict.fromkeys(wanted)
        missing = list(wanted)
        if consistency == "cached":
            await self._take_in()
            missing = []
            for key in wanted:
                entry = self._calls.cache.hit((self._name, key), fresh)
                if entry is None:
                    missing.append(key)
                else:
                    found[key] = entry.value
        await self._ask_many(call, missing, found)
        return found

    async def _fresh(self, at_least: str, deadline_s: float) -> Fresh:
        """What a read with this token must reflect."""
        return await self._calls.fresh(at_least, deadline_s)

    async def _join_or_ask(self, call: Call, read: Operation) -> Held:
        """Single flight: of reads of one key that are under way at once, one asks the owner."""
        cache = self._calls.cache
        ticket, joined = cache.join_or_begin(call.session, read, AsyncFlight())
        if joined:
            answered = await ticket.flight.wait(call.deadline_s - time.monotonic())
            if cache.landed(ticket, joined=answered):
                return ticket.flight.value
            ticket = cache.begin_read(call.session, read)
        return await self._ask(call, read, ticket)

    async def _ask(self, call: Call, read: Operation, ticket: Ticket) -> Held:
        """Ask the owner."""
        cache = self._calls.cache
        try:
            reply = await self._one(call, read)
            value = self._kept(read.key, reply)
            cache.answered(ticket, reply, value)
            if ticket.flight is not None:
                ticket.flight.land(value)
        finally:
            cache.give_up([ticket])
        return value

    async def _ask_many(self, call: Call, keys: Sequence[str], found: dict[str, Held]) -> None:
        """Ask the owners of these keys, and put what they answer into `found`."""
        session, cache = call.session, self._calls.cache
        operations = [session.read(self._name, key, call.deadline_s) for key in keys]
        tickets = [cache.begin_read(session, operation) for operation in operations]
        try:
            outcomes = await self._calls.run(session, operations, call.name)
            for key, ticket, outcome in zip(keys, tickets, outcomes, strict=True):
                reply = self._reply(outcome)
                found[key] = value = self._kept(key, reply)
                cache.answered(ticket, reply, value)
        finally:
            cache.give_up(tickets)

    async def _take_in(self) -> None:
        if self._calls.transport.has_pushes():
            await self._calls.transport.take_in()

    def _kept(self, key: str, reply: Reply) -> Held:
        """What the cache keeps of an answer."""
        if isinstance(reply, Absent):
            return reply
        state = state_of(self.category, key, reply)
        return held(cast("Value", reply), state)

    def _opened(self, value: Held) -> S | None:
        """The state in what is held; None: there is none."""
        if isinstance(value, Value):
            return None if value.body is None else self.category.decode(value.body, value.version, value.updated_us)
        return None if isinstance(value, Absent) else cast("S", value)

    async def _begin(self, operation: str, timeout_s: float | None, request_id: str | None = None) -> Call:
        """Every public operation begins here: its deadline, its count, the session, its category registered."""
        deadline_s = self._calls.deadline(timeout_s)
        name = f"{self.category.name}.{operation}"
        self._calls.counters.called(name)
        session = await self._calls.open(deadline_s)
        if not self._ensured:
            session = await self._calls.ensure(self.category, deadline_s)
            self._ensured = True
        return Call(name, session, deadline_s, request_id)

    async def _one(self, call: Call, operation: Operation) -> Reply:
        outcomes = await self._calls.run(call.session, [operation], call.name)
        return self._reply(outcomes[0])

    def _reply(self, outcome: Outcome) -> Reply:
        if isinstance(outcome, LightningStateError):
            raise self._refused(outcome)
        return outcome

    def _refused(self, error: LightningStateError) -> LightningStateError:
        """The error as callers get it; what it tells of a key, this client knows from now on."""
        moment = error.details.pop("moment", None)
        if moment is not None:
            self._calls.cache.saw_row(*moment)
        return completed(self.category, error)

    def _batch(self, keys: Iterable[str]) -> tuple[str, ...]:
        distinct = tuple(dict.fromkeys(keys))
        most = self._calls.limits.batch_keys
        if len(distinct) > most:
            raise StateTooLargeError(f"a batch of {len(distinct)} keys; the limit is {most}", limit=most)
        return distinct

    def _check_consistency(self, consistency: str) -> None:
        if consistency not in ("cached", "linearizable"):
            raise InvalidStateError(f'consistency is "cached" or "linearizable", not {consistency!r}')
