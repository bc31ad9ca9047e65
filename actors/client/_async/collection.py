"""The states of one category, as a user's process sees them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NoReturn, TypeVar

from msgspec.structs import replace

from lightning_state.actors.category import Category
from lightning_state.actors.client._async.calls import AsyncCalls
from lightning_state.actors.client._async.history import AsyncHistory
from lightning_state.actors.client.calling import Call
from lightning_state.actors.client.decoding import Outcome, body_of, completed, page_of, state_of, stored, unexpected
from lightning_state.actors.client.fencing import Fence, token_of
from lightning_state.actors.client.flights import AsyncFlight
from lightning_state.actors.client.pages import StatePage, key_after, merge
from lightning_state.actors.core.cache_entries import Ticket
from lightning_state.actors.core.checks import LIST_LIMIT, check_body, check_key, check_limit, check_prefix
from lightning_state.actors.core.messages import Absent, List, Page, Recalled, Reply, Value
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.session import Operation, Session
from lightning_state.actors.core.slots import slot_of
from lightning_state.actors.errors import (
    InvalidStateError,
    LightningStateError,
    StateNotFoundError,
    VersionConflictError,
)
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import State

S = TypeVar("S", bound=State)

Consistency = Literal["cached", "linearizable"]

UPDATE_ATTEMPTS = 32
"""How often `update` re-applies its function before it gives up with the last conflict."""

UPDATE = b"update"
"""The intent of `update`: what its function makes of a newer state is still the same request."""

_UPDATE_BACKOFF_S = 0.002
_UPDATE_BACKOFF_MOST_S = 0.25


class AsyncCollection(AsyncHistory[S]):
    """The states of one category. Every call has a deadline: `timeout_s`, by default the service's own (30 s).

    Any call may raise DeadlineExceededError (nothing was changed), ShardUnavailableError, ServiceNotFoundError or
    InvalidKeyError; every write also OutcomeUnknownError (it may or may not have happened: it names its request_id),
    OverloadedError, ValidationFailedError and ValidationUnavailableError. A write takes a `request_id`: the same id
    again returns the first result and changes nothing; another write under it is an IdempotencyMismatchError. With a
    `lock` it is admitted only while that is held, without one only while nobody holds one: LockedError, LockLostError,
    StaleFencingTokenError.
    """

    def __init__(self, calls: AsyncCalls, category: Category[S]) -> None:
        self.category = category
        self._calls = calls
        self._name = category.name
        self._ensured = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.category.name} of {self._calls.transport.service}>"

    @property
    def _limits(self) -> Limits:
        return self._calls.limits

    async def get(
        self,
        key: str,
        *,
        consistency: Consistency = "cached",
        at_least: str | None = None,
        at_version: int | None = None,
        at_time: datetime | None = None,
        timeout_s: float | None = None,
    ) -> S:
        """The state under a key. Raises StateNotFoundError.

        "linearizable" asks the key's owner. "cached" may answer from this process, at most 3 s old in the worst case
        and never older than what this client read or wrote before; with `at_least`, the token of another client, also
        never older than what that one had. `at_version` and `at_time` ask for the past: see the methods of that name.
        """
        if at_version is not None:
            return await self.at_version(key, at_version, timeout_s=timeout_s)
        if at_time is not None:
            return await self.at_time(key, at_time, timeout_s=timeout_s)
        state = await self._found("get", key, consistency, at_least, timeout_s)
        return self._missing(key) if state is None else state

    async def exists(
        self,
        key: str,
        *,
        consistency: Consistency = "cached",
        at_least: str | None = None,
        timeout_s: float | None = None,
    ) -> bool:
        """Whether a state is stored under a key."""
        return await self._found("exists", key, consistency, at_least, timeout_s) is not None

    async def get_many(
        self,
        keys: Iterable[str],
        *,
        consistency: Consistency = "cached",
        at_least: str | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, S]:
        """Id → state, of those that exist, in the order asked; one round trip per shard for what is not cached."""
        self._check_consistency(consistency)
        call = await self._begin("get_many", timeout_s)
        wanted = self._batch(keys)
        for key in wanted:
            check_key(key, self._calls.limits)
        fresh = await self._calls.fresh(at_least, call.deadline_s)
        found: dict[str, S | None] = dict.fromkeys(wanted)
        missing = list(wanted)
        if consistency == "cached":
            await self._take_in()
            missing = []
            for key in wanted:
                entry = self._calls.cache.hit((self._name, key), fresh)
                if entry is None:
                    missing.append(key)
                else:
                    found[key] = self._opened(entry.value)
        await self._ask_many(call, missing, found)
        return {key: state for key, state in found.items() if state is not None}

    async def warm(self, keys: Iterable[str], *, timeout_s: float | None = None) -> int:
        """Read keys so that later reads are answered from memory; how many of them are held now. See `client.cache`."""
        call = await self._begin("warm", timeout_s)
        wanted = tuple(dict.fromkeys(keys))
        for key in wanted:
            check_key(key, self._calls.limits)
        cache, most = self._calls.cache, self._calls.limits.batch_keys
        for begin in range(0, len(wanted), most):
            batch = wanted[begin : begin + most]
            for _ in range(2):  # what was asked while a first connection was being made could not be kept
                missing = [key for key in batch if not cache.holds((self._name, key))]
                if missing:
                    await self._ask_many(call, missing, {})
        return sum(cache.holds((self._name, key)) for key in wanted)

    async def set(
        self,
        state: S,
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> S:
        """Store a state and return it as stored, with its version and time.

        It must still have the version `state` was read at (0: must not exist yet); `expected_version` overrides
        that, and `ANY` means that the last writer wins. Raises VersionConflictError with the `current` state.
        """
        call = await self._begin("set", timeout_s, request_id, lock)
        return await self._set(call, state, state.version if expected_version is None else expected_version)

    async def _set(self, call: Call, state: S, expected: int, intent: bytes = b"") -> S:
        key, body, checked = self._encoded(state)
        operation = self._write(call, key, Op.SET, body, expected, intent)
        ticket = self._calls.cache.begin_write(call.session, operation)
        try:
            reply = await self._one(call, operation)
            result = stored(self.category, checked, body, reply)
            self._calls.cache.wrote(ticket, operation, reply, body, result)
        finally:
            self._calls.cache.end_writes([ticket])
        return result

    async def set_many(
        self,
        states: Iterable[S],
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, S | LightningStateError]:
        """Id → the stored state, or the error of that id: each is stored on its own; one round trip per shard.

        With a `request_id`, each key's own is `<request_id>/<key>`. Raises InvalidStateError for the whole batch only
        when it is too long or holds one id twice.
        """
        call = await self._begin("set_many", timeout_s, lock=lock)
        batch = self._distinct(states)
        results: dict[str, S | LightningStateError] = dict.fromkeys(batch, LightningStateError())
        sent: dict[str, tuple[Operation, bytes, S]] = {}
        for name, state in batch.items():
            try:
                key, body, checked = self._encoded(state)
                expected = state.version if expected_version is None else expected_version
                own = replace(call, request_id=None if request_id is None else f"{request_id}/{key}")
                sent[name] = self._write(own, key, Op.SET, body, expected), body, checked
            except LightningStateError as error:
                results[name] = error
        cache = self._calls.cache
        tickets = [cache.begin_write(call.session, operation) for operation, _, _ in sent.values()]
        try:
            outcomes = await self._calls.run(call.session, [operation for operation, _, _ in sent.values()], call.name)
            for (name, (operation, body, checked)), ticket, outcome in zip(
                sent.items(), tickets, outcomes, strict=True
            ):
                if isinstance(outcome, LightningStateError):
                    results[name] = completed(self.category, outcome)
                else:
                    results[name] = result = stored(self.category, checked, body, outcome)
                    cache.wrote(ticket, operation, outcome, body, result)
        finally:
            cache.end_writes(tickets)
        return results

    async def update(
        self,
        key: str,
        fn: Callable[[S], S],
        *,
        request_id: str | None = None,
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> S:
        """Replace a state by `fn(state)`, read again and re-applied when another writer was faster.

        `fn` gets the newest state and may run up to UPDATE_ATTEMPTS times. With a `request_id` of an update that was
        applied it does not run: the first result is returned. Raises StateNotFoundError, InvalidStateError when `fn`
        changes the key, and the last VersionConflictError when it never won.
        """
        call = await self._begin("update", timeout_s, request_id, lock)
        current, applied = await self._recalled(call, key)
        if applied:
            return current
        for attempt in range(1, UPDATE_ATTEMPTS + 1):
            changed = fn(current)
            self._check_model(changed)
            if self.category.key(changed) != key:
                raise InvalidStateError(f"{self._name} {key!r}: an update cannot change the key of a state")
            try:
                return await self._set(call, changed, current.version, UPDATE)
            except VersionConflictError as conflict:
                if attempt == UPDATE_ATTEMPTS or time.monotonic() >= call.deadline_s:
                    raise
                current = self._overtaking(key, conflict)
            longest_s = min(_UPDATE_BACKOFF_S * 2**attempt, _UPDATE_BACKOFF_MOST_S, call.deadline_s - time.monotonic())
            await asyncio.sleep(max(0.0, longest_s) * random.random())  # noqa: S311  # jitter, no secret
        raise AssertionError

    async def patch(
        self,
        key: str,
        patch: Mapping[str, Any],
        *,
        expected_version: int,
        request_id: str | None = None,
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> S:
        """Apply a JSON merge patch (RFC 7386, field names as in JSON) inside the shard, atomically.

        `expected_version=ANY` applies it to whatever is stored. Raises StateNotFoundError and VersionConflictError.
        """
        call = await self._begin("patch", timeout_s, request_id, lock)
        return await self._change(call, key, Op.PATCH, self._json(patch), expected_version)

    async def delete(
        self,
        key: str,
        *,
        expected_version: int,
        request_id: str | None = None,
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Delete a state. Its versions are never used again, not even when it is created anew.

        Raises StateNotFoundError and VersionConflictError.
        """
        call = await self._begin("delete", timeout_s, request_id, lock)
        await self._delete(call, key, expected_version)

    async def _delete(self, call: Call, key: str, expected: int, intent: bytes = b"") -> None:
        check_key(key, self._calls.limits)
        operation = self._write(call, key, Op.DELETE, b"", expected, intent)
        ticket = self._calls.cache.begin_write(call.session, operation)
        try:
            reply = await self._one(call, operation)
            if not isinstance(reply, Value):
                raise unexpected(reply)
            self._calls.cache.wrote(ticket, operation, reply, None, None)
        finally:
            self._calls.cache.end_writes([ticket])

    async def list(
        self,
        *,
        prefix: str = "",
        limit: int = 100,
        cursor: str | None = None,
        timeout_s: float | None = None,
        **index: str,
    ) -> StatePage[S]:
        """One page of states in key order: those with a key prefix and the value of one of the category's indexes.

        At most `limit` states (1 to 1,000), fewer when they are large; `page.cursor` continues after them and is
        None at the end. States present throughout all pages
        appear exactly once. `list(status=AgentStatus.READY)` filters by an index, one at a time.
        """
        return await self._page(await self._begin("list", timeout_s), prefix, limit, cursor, index)

    async def _page(
        self, call: Call, prefix: str, limit: int, cursor: str | None, index: Mapping[str, str]
    ) -> StatePage[S]:
        return merge(self.category, await self._parts(call, prefix, limit, cursor, index), limit)

    async def _parts(
        self, call: Call, prefix: str, limit: int, cursor: str | None, index: Mapping[str, str]
    ) -> list[Page]:
        """Every shard's part of a page."""
        name, value = self._index(index)
        check_limit(limit)
        check_prefix(prefix, self._calls.limits)
        session = call.session
        info = session.map.categories[self.category.name]
        request = List(info.id, prefix, key_after(cursor), limit, name, value)
        shards = sorted(set(info.owners))
        operations = [session.listing(self.category.name, shard, request, call.deadline_s) for shard in shards]
        replies = [self._reply(outcome) for outcome in await self._calls.run(session, operations, call.name)]
        parts = [page_of(reply) for reply in replies]
        for shard, part in zip(shards, parts, strict=True):
            self._saw(session, shard, part)
        return parts

    async def _every(
        self, operation: str, index: str, value: str, consistency: Consistency, timeout_s: float | None
    ) -> tuple[S, ...]:
        """All states with the value of an index, in key order; each shard's part from memory if it is there."""
        self._check_consistency(consistency)
        call = await self._begin(operation, timeout_s)
        name, value = self._index({index: value})
        parts: dict[int, tuple[S, ...]] = {}
        info = call.session.map.categories[self._name]
        shards = sorted(set(info.owners))
        if consistency == "cached":
            await self._take_in()
            for shard in shards:
                entry = self._calls.cache.hit((self._name, name, value, shard))
                if entry is not None:
                    parts[shard] = entry.value
        missing = [shard for shard in shards if shard not in parts]
        if missing and not await self._ask_parts(call, missing, name, value, parts):
            return await self._every_page(call, name, value)
        return tuple(sorted((state for part in parts.values() for state in part), key=self.category.key))

    async def _every_page(self, call: Call, index: str, value: str) -> tuple[S, ...]:
        found: tuple[S, ...] = ()
        cursor: str | None = None
        while True:
            page = await self._page(call, "", LIST_LIMIT, cursor, {index: value})
            found += page.states
            cursor = page.cursor
            if cursor is None:
                return found

    async def _ask_parts(
        self, call: Call, shards: Sequence[int], index: str, value: str, parts: dict[int, tuple[S, ...]]
    ) -> bool:
        """Ask these shards for their parts of a list; False when one is longer than a page."""
        session, cache = call.session, self._calls.cache
        info = session.map.categories[self._name]
        request = List(info.id, "", "", LIST_LIMIT, index, value)
        operations = [session.listing(self._name, shard, request, call.deadline_s) for shard in shards]
        slot = slot_of(info.id, "", len(info.owners))
        tickets = [cache.begin_list((self._name, index, value, shard), slot) for shard in shards]
        try:
            outcomes = await self._calls.run(session, operations, call.name)
            for shard, ticket, outcome in zip(shards, tickets, outcomes, strict=True):
                page = page_of(self._reply(outcome))
                if page.more:
                    return False
                self._saw(session, shard, page)
                parts[shard] = merge(self.category, [page], LIST_LIMIT).states
                cache.listed(ticket, page.entries, parts[shard])
        finally:
            cache.give_up(tickets)
        return True

    def _saw(self, session: Session, shard: int, page: Page) -> None:
        info = session.map.categories[self._name]
        epoch = session.epoch(shard)
        for row in page.entries:
            self._calls.cache.saw_row(slot_of(info.id, row.key, len(info.owners)), epoch, row.revision)

    async def _recalled(self, call: Call, key: str) -> tuple[S, bool]:
        """What the update of the call's request id stored, and True; else what is stored, and False."""
        if call.request_id is not None:
            value, applied = await self._recall(call, key, Op.SET, UPDATE)
            return state_of(self.category, key, value), applied
        check_key(key, self._calls.limits)
        read = call.session.read(self._name, key, call.deadline_s)
        current = self._opened(await self._ask(call, read, self._calls.cache.begin_read(call.session, read)))
        return (self._missing(key) if current is None else current), False

    async def _recall(self, call: Call, key: str, op: Op, intent: bytes) -> tuple[Reply, bool]:
        """The result of the write of the call's request id, and True; else the last committed state, and False."""
        check_key(key, self._calls.limits)
        asked = call.session.recall(self._name, key, op, intent, call.request_id or "", call.deadline_s)
        reply = await self._one(call, asked)
        value = reply.value if isinstance(reply, Recalled) else reply
        self._calls.cache.passed((self._name, key), value)
        return value, value is not reply

    async def _found(
        self, operation: str, key: str, consistency: Consistency, at_least: str | None, timeout_s: float | None
    ) -> S | None:
        """The state under a key; None when there is none."""
        calls = self._calls
        fresh = None if at_least is None else await calls.fresh(at_least, calls.deadline(timeout_s))
        if consistency == "cached":
            if calls.transport.has_pushes():
                await calls.transport.take_in()
            entry = calls.cache.hit((self._name, key), fresh)
            if entry is not None:
                calls.counters.called(f"{self._name}.{operation}")
                return self._opened(entry.value)
        self._check_consistency(consistency)
        call = await self._begin(operation, timeout_s)
        check_key(key, calls.limits)
        read = call.session.read(self._name, key, call.deadline_s)
        if consistency == "cached" and fresh is None:
            return await self._join_or_ask(call, read)
        return self._opened(await self._ask(call, read, calls.cache.begin_read(call.session, read)))

    async def _join_or_ask(self, call: Call, read: Operation) -> S | None:
        """Single flight: of reads of one key that are under way at once, one asks the owner."""
        cache = self._calls.cache
        ticket, joined = cache.join_or_begin(call.session, read, AsyncFlight())
        if joined:
            answered = await ticket.flight.wait(call.deadline_s - time.monotonic())
            if cache.landed(ticket, joined=answered):
                return self._opened(ticket.flight.value)
            ticket = cache.begin_read(call.session, read)
        return self._opened(await self._ask(call, read, ticket))

    async def _ask(self, call: Call, read: Operation, ticket: Ticket) -> Any:
        """Ask the owner: see `caching.held` for what comes back."""
        cache = self._calls.cache
        try:
            reply = await self._one(call, read)
            value = cache.answered(ticket, reply, self._decoded(read.key, reply))
            if ticket.flight is not None:
                ticket.flight.land(value)
        finally:
            cache.give_up([ticket])
        return value

    async def _ask_many(self, call: Call, keys: Sequence[str], found: dict[str, S | None]) -> None:
        """Ask the owners of these keys, and put what they answer into `found`."""
        session, cache = call.session, self._calls.cache
        operations = [session.read(self._name, key, call.deadline_s) for key in keys]
        tickets = [cache.begin_read(session, operation) for operation in operations]
        try:
            outcomes = await self._calls.run(session, operations, call.name)
            for key, ticket, outcome in zip(keys, tickets, outcomes, strict=True):
                reply = self._reply(outcome)
                found[key] = state = self._decoded(key, reply)
                cache.answered(ticket, reply, state)
        finally:
            cache.give_up(tickets)

    async def _take_in(self) -> None:
        if self._calls.transport.has_pushes():
            await self._calls.transport.take_in()

    def _missing(self, key: str) -> NoReturn:
        raise StateNotFoundError(f"{self._name} {key!r} does not exist", category=self._name, key=key)

    def _decoded(self, key: str, reply: Reply) -> S | None:
        return None if isinstance(reply, Absent) else state_of(self.category, key, reply)

    def _opened(self, value: Any) -> S | None:
        """What was held of a state: the state itself, or what a state that can be changed is decoded from each time."""
        return self._decoded("", value) if isinstance(value, Value) else value

    async def _change(self, call: Call, key: str, op: Op, change: bytes, expected: int) -> S:
        """A change that the shard works out from what is stored."""
        check_body(change, self._calls.limits)
        check_key(key, self._calls.limits)
        operation = self._write(call, key, op, change, expected)
        ticket = self._calls.cache.begin_write(call.session, operation)
        try:
            reply = await self._one(call, operation)
            result = state_of(self.category, key, reply)
            self._calls.cache.wrote(ticket, operation, reply, body_of(reply), result)
        finally:
            self._calls.cache.end_writes([ticket])
        return result

    async def _begin(
        self,
        operation: str,
        timeout_s: float | None,
        request_id: str | None = None,
        lock: Fence | None = None,
    ) -> Call:
        """Every public operation begins here: its deadline, its count, the session, its category registered."""
        deadline_s = self._calls.deadline(timeout_s)
        name = f"{self._name}.{operation}"
        self._calls.counters.called(name)
        session = await self._calls.open(deadline_s)
        if not self._ensured:
            session = await self._calls.ensure(self.category, deadline_s)
            self._ensured = True
        return Call(name, session, deadline_s, request_id, lock)

    async def _one(self, call: Call, operation: Operation) -> Reply:
        outcomes = await self._calls.run(call.session, [operation], call.name)
        return self._reply(outcomes[0])

    def _reply(self, outcome: Outcome) -> Reply:
        if isinstance(outcome, LightningStateError):
            raise completed(self.category, outcome)
        return outcome

    def _write(  # noqa: PLR0917  # private, and each call names what it gives in this order
        self, call: Call, key: str, op: Op, body: bytes, expected: int, intent: bytes = b""
    ) -> Operation:
        """A write whose key and body were checked before."""
        return call.session.write(
            self._name,
            key,
            op,
            body,
            expected,
            deadline_s=call.deadline_s,
            now_ms=time.time_ns() // 1_000_000,
            request_id=call.request_id,
            token=token_of(call.lock, self._name, key),
            intent=intent,
        )
