"""The states of one category, as a user's process sees them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from lightning_state.actors.client._async.reads import AsyncReads, Consistency
from lightning_state.actors.client.caching import Held, held
from lightning_state.actors.client.calling import Call
from lightning_state.actors.client.decoding import page_of, stored, unexpected, whole
from lightning_state.actors.client.pages import StatePage, key_after, merge
from lightning_state.actors.core.checks import LIST_LIMIT, check_body, check_key, check_limit, check_prefix
from lightning_state.actors.core.messages import Absent, List, Page, Reply, Value
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.session import Operation
from lightning_state.actors.core.slots import slot_of
from lightning_state.actors.errors import (
    InvalidStateError,
    LightningStateError,
    StateNotFoundError,
    VersionConflictError,
)
from lightning_state.actors.models import State

S = TypeVar("S", bound=State)

UPDATE_ATTEMPTS = 32
"""How often `update` re-applies its function before it gives up with the last conflict."""

_UPDATE_BACKOFF_S = 0.002
_UPDATE_BACKOFF_MOST_S = 0.25


class AsyncCollection(AsyncReads[S]):
    """The states of one category. Every call has a deadline: `timeout_s`, by default the service's own (30 s).

    Any call may raise DeadlineExceededError (nothing was changed), ShardUnavailableError, ServiceNotFoundError or
    InvalidKeyError; every write also OutcomeUnknownError (it may or may not have happened: it names its request_id),
    OverloadedError, ValidationFailedError and ValidationUnavailableError. A write takes a `request_id`: the same id
    again returns the first result and changes nothing; another write under it is an IdempotencyMismatchError.
    """

    async def get(
        self,
        key: str,
        *,
        consistency: Consistency = "cached",
        at_least: str | None = None,
        timeout_s: float | None = None,
    ) -> S:
        """The state under a key. Raises StateNotFoundError.

        "linearizable" asks the key's owner. "cached" may answer from this process, at most 3 s old in the worst case
        and never older than what this client read or wrote before; with `at_least`, the token of another client, also
        never older than what that one had.
        """
        state = self._opened(await self._found("get", key, consistency, at_least, timeout_s))
        if state is None:
            raise StateNotFoundError(f"{self._name} {key!r} does not exist", category=self._name, key=key)
        return state

    async def exists(
        self,
        key: str,
        *,
        consistency: Consistency = "cached",
        at_least: str | None = None,
        timeout_s: float | None = None,
    ) -> bool:
        """Whether a state is stored under a key."""
        return self._opened(await self._found("exists", key, consistency, at_least, timeout_s)) is not None

    async def get_many(
        self,
        keys: Iterable[str],
        *,
        consistency: Consistency = "cached",
        at_least: str | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, S]:
        """Id → state, of those that exist, in the order asked; one round trip per shard for what is not cached."""
        found = await self._found_many(keys, consistency, at_least, timeout_s)
        return {key: state for key, value in found.items() if (state := self._opened(value)) is not None}

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
        timeout_s: float | None = None,
    ) -> S:
        """Store a state and return it as stored, with its version and time.

        It must still have the version `state` was read at (0: must not exist yet); `expected_version` overrides
        that, and `ANY` means that the last writer wins. Raises VersionConflictError with the `current` state.
        """
        call = await self._begin("set", timeout_s, request_id)
        key, body, checked = self._encoded(state)
        expected = state.version if expected_version is None else expected_version
        operation = self._write(call, key, Op.SET, body, expected)
        ticket = self._calls.cache.begin_write(call.session, operation)
        try:
            reply = whole(await self._one(call, operation), body)
            result = stored(self.category, checked, body, reply)
            self._calls.cache.wrote(ticket, operation, reply, held(reply, result))
        finally:
            self._calls.cache.end_writes([ticket])
        return result

    async def set_many(
        self,
        states: Iterable[S],
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, S | LightningStateError]:
        """Id → the stored state, or the error of that id: each is stored on its own; one round trip per shard.

        With a `request_id`, each key's own is `<request_id>/<key>`. Raises InvalidStateError for the whole batch only
        when it is too long or holds one id twice.
        """
        call = await self._begin("set_many", timeout_s)
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
                    results[name] = self._refused(outcome)
                else:
                    reply = whole(outcome, body)
                    results[name] = result = stored(self.category, checked, body, reply)
                    cache.wrote(ticket, operation, reply, held(reply, result))
        finally:
            cache.end_writes(tickets)
        return results

    async def update(
        self, key: str, fn: Callable[[S], S], *, request_id: str | None = None, timeout_s: float | None = None
    ) -> S:
        """Replace a state by `fn(state)`, read again and re-applied when another writer was faster.

        `fn` gets the newest state and may run up to UPDATE_ATTEMPTS times. Raises StateNotFoundError, and the last
        VersionConflictError when it never won.
        """
        deadline_s = self._calls.deadline(timeout_s)
        current = await self.get(key, consistency="linearizable", timeout_s=timeout_s)
        for attempt in range(1, UPDATE_ATTEMPTS + 1):
            changed = fn(current)
            remaining_s = max(0.0, deadline_s - time.monotonic())
            try:
                return await self.set(
                    changed, expected_version=current.version, request_id=request_id, timeout_s=remaining_s
                )
            except VersionConflictError as conflict:
                if attempt == UPDATE_ATTEMPTS or time.monotonic() >= deadline_s:
                    raise
                current = self._overtaking(key, conflict)
            longest_s = min(_UPDATE_BACKOFF_S * 2**attempt, _UPDATE_BACKOFF_MOST_S, deadline_s - time.monotonic())
            await asyncio.sleep(max(0.0, longest_s) * random.random())  # noqa: S311  # jitter, no secret
        raise AssertionError

    async def patch(
        self,
        key: str,
        patch: Mapping[str, Any],
        *,
        expected_version: int,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> S:
        """Apply a JSON merge patch (RFC 7386, field names as in JSON) inside the shard, atomically.

        `expected_version=ANY` applies it to whatever is stored. Raises StateNotFoundError and VersionConflictError.
        """
        call = await self._begin("patch", timeout_s, request_id)
        return await self._change(call, key, Op.PATCH, self._json(patch), expected_version)

    async def delete(
        self, key: str, *, expected_version: int, request_id: str | None = None, timeout_s: float | None = None
    ) -> None:
        """Delete a state. Its versions are never used again, not even when it is created anew.

        Raises StateNotFoundError and VersionConflictError.
        """
        call = await self._begin("delete", timeout_s, request_id)
        await self._written(call, key, Op.DELETE, b"", expected_version)

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

        At most `limit` states (1 to 1,000); `page.cursor` continues after them. States present throughout all pages
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
        for part in parts:
            self._saw(part)
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
                self._saw(page)
                parts[shard] = merge(self.category, [page], LIST_LIMIT).states
                cache.listed(ticket, page.entries, parts[shard])
        finally:
            cache.give_up(tickets)
        return True

    def _saw(self, page: Page) -> None:
        for slot, (epoch, revision) in page.heads.items():
            self._calls.cache.saw_row(slot, epoch, revision)

    async def _change(self, call: Call, key: str, op: Op, change: bytes, expected: int) -> S:
        """A change that the shard works out from what is stored."""
        check_body(change, self._calls.limits)
        return cast("S", self._opened(await self._written(call, key, op, change, expected)))

    async def _written(self, call: Call, key: str, op: Op, change: bytes, expected: int) -> Held:
        """What is held of a key since this write, of which the shard tells the result."""
        operation = self._write(call, key, op, change, expected)
        ticket = self._calls.cache.begin_write(call.session, operation)
        try:
            reply = await self._one(call, operation)
            value = self._made(key, op, change, reply)
            self._calls.cache.wrote(ticket, operation, reply, value)
        finally:
            self._calls.cache.end_writes([ticket])
        return value

    def _made(self, key: str, op: Op, change: bytes, reply: Reply) -> Held:
        """What a write left of a key. `change` was sent: a shard does not repeat it."""
        if op is not Op.DELETE:
            return self._kept(key, whole(reply, change) if op is Op.SET else reply)
        if not isinstance(reply, Value):
            raise unexpected(reply)
        return Absent(reply.slot, reply.epoch, reply.revision, reply.version)

    def _write(self, call: Call, key: str, op: Op, body: bytes, expected: int) -> Operation:
        return call.session.write(
            self.category.name,
            check_key(key, self._calls.limits),
            op,
            body,
            expected,
            deadline_s=call.deadline_s,
            now_ms=time.time_ns() // 1_000_000,
            request_id=call.request_id,
        )

    def _encoded(self, state: S) -> tuple[str, bytes, S]:
        """Key, body and the state as it will be read back: a `model_copy` of a user's may hold anything."""
        self._check_model(state)
        body = check_body(self.category.encode(state), self._calls.limits)
        checked = self.category.decode(body)
        return check_key(self.category.key(checked), self._calls.limits), body, checked

    def _check_model(self, state: S) -> None:
        if not isinstance(state, self.category.model):
            raise InvalidStateError(
                f"{self.category.name} holds {self.category.model.__name__}, not {type(state).__name__}"
            )

    def _json(self, change: Mapping[str, Any]) -> bytes:
        try:
            return json.dumps(change, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidStateError(f"the change cannot be written as JSON: {error}") from error

    def _distinct(self, states: Iterable[S]) -> dict[str, S]:
        batch: dict[str, S] = {}
        for state in states:
            self._check_model(state)
            name = self.category.key(state)
            if name in batch:
                raise InvalidStateError(f"{name!r} is in the batch twice: which one is meant to be stored?")
            batch[name] = state
        self._batch(batch)
        return batch

    def _index(self, index: Mapping[str, str]) -> tuple[str, str]:
        allowed = ", ".join(self.category.indexes) or "none"
        for name in index:
            if name not in self.category.indexes:
                raise InvalidStateError(f"{self.category.name} has no index {name!r}; it has {allowed}")
        if len(index) > 1:
            raise InvalidStateError(f"list filters by one index at a time, not by {' and '.join(index)}")
        return next(((name, str(value)) for name, value in index.items()), ("", ""))

    def _overtaking(self, key: str, conflict: VersionConflictError) -> S:
        current: S | None = conflict.current
        if current is None:
            raise StateNotFoundError(
                f"{self.category.name} {key!r} was deleted meanwhile", category=self.category.name, key=key
            ) from conflict
        return current
