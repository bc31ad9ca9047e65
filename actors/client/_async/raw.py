"""The states of one category as the bytes they are stored in, for who passes them on: an HTTP server, an export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lightning_state.actors.client._async.collection import AsyncCollection
from lightning_state.actors.client._async.reads import Consistency
from lightning_state.actors.client.caching import Fresh, Held
from lightning_state.actors.client.calling import Call
from lightning_state.actors.client.decoding import completed, unexpected
from lightning_state.actors.client.pages import merge_entries
from lightning_state.actors.client.stored import StoredPage, StoredState, StoredStates, entry_of, moment_of, stored_of
from lightning_state.actors.core.checks import check_body, check_key
from lightning_state.actors.core.freshness import Moment, slots_of_token
from lightning_state.actors.core.messages import Absent, Heads, Reply, Value
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.session import Operation
from lightning_state.actors.errors import InvalidStateError, LightningStateError


class AsyncRawCollection(AsyncCollection[Any]):
    """A collection whose operations exist on bytes too, with the same guarantees and errors.

    It keeps the owners' replies in the client's cache rather than states, so that bytes are handed out as they came. A
    key that another collection of this client keeps as a state is asked for once more, and kept as bytes from then on.

    What an answer reflects is told with it, errors included (`moment`); tokens given to `at_least` are somebody else's
    and do not become this client's own.
    """

    async def get_raw(
        self,
        key: str,
        *,
        consistency: Consistency = "cached",
        at_least: str | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """The state under a key. Raises StateNotFoundError."""
        value = await self._found("get", key, consistency, at_least, timeout_s)
        if not isinstance(value, Value | Absent):  # kept as a state by another collection
            value = await self._found("get", key, "linearizable", at_least, timeout_s)
        return stored_of(self._name, key, self._raw(value))

    async def get_many_raw(
        self,
        keys: Iterable[str],
        *,
        consistency: Consistency = "cached",
        at_least: str | None = None,
        timeout_s: float | None = None,
    ) -> StoredStates:
        """Those that exist, in the order asked; one round trip per shard for what is not cached."""
        found = await self._found_many(keys, consistency, at_least, timeout_s)
        if others := [key for key, value in found.items() if not isinstance(value, Value | Absent)]:
            found.update(await self._found_many(others, "linearizable", at_least, timeout_s))
        replies = {key: self._raw(value) for key, value in found.items()}
        states = {
            key: stored_of(self._name, key, reply) for key, reply in replies.items() if not isinstance(reply, Absent)
        }
        return StoredStates(states, tuple(moment_of(reply) for reply in replies.values()))

    async def set_raw(
        self,
        key: str,
        document: bytes,
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """Store the state in a JSON document under its key.

        `expected_version` None: the `version` in the document, 0 without one. Raises InvalidStateError when the
        document does not fit or names another id.
        """
        call = await self._begin("set", timeout_s, request_id)
        body, version = self._checked(key, document)
        expected = version if expected_version is None else expected_version
        return stored_of(self._name, key, self._raw(await self._written(call, key, Op.SET, body, expected)))

    async def set_many_raw(
        self,
        documents: Mapping[str, bytes],
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, StoredState | LightningStateError]:
        """Id → the stored state, or the error of that id: each is stored on its own; one round trip per shard."""
        call = await self._begin("set_many", timeout_s)
        results: dict[str, StoredState | LightningStateError] = dict.fromkeys(
            self._batch(documents), LightningStateError()
        )
        sent: dict[str, Operation] = {}
        bodies: dict[str, bytes] = {}
        for key, document in documents.items():
            try:
                bodies[key], version = self._checked(key, document)
                expected = version if expected_version is None else expected_version
                each = replace(call, request_id=None if request_id is None else f"{request_id}/{key}")
                sent[key] = self._write(each, key, Op.SET, bodies[key], expected)
            except LightningStateError as error:
                results[key] = error
        cache = self._calls.cache
        tickets = [cache.begin_write(call.session, operation) for operation in sent.values()]
        try:
            outcomes = await self._calls.run(call.session, list(sent.values()), call.name)
            for (key, operation), ticket, outcome in zip(sent.items(), tickets, outcomes, strict=True):
                if isinstance(outcome, LightningStateError):
                    results[key] = self._refused(outcome)
                else:
                    reply = self._made(key, Op.SET, bodies[key], outcome)
                    results[key] = stored_of(self._name, key, self._raw(reply))
                    cache.wrote(ticket, operation, outcome, reply)
        finally:
            cache.end_writes(tickets)
        return results

    async def patch_raw(
        self,
        key: str,
        patch: Mapping[str, Any],
        *,
        expected_version: int,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """Apply a JSON merge patch inside the shard, atomically."""
        call = await self._begin("patch", timeout_s, request_id)
        return await self._change_raw(call, key, Op.PATCH, self._json(patch), expected_version)

    async def delete_raw(
        self, key: str, *, expected_version: int, request_id: str | None = None, timeout_s: float | None = None
    ) -> Moment:
        """Delete a state; when that was."""
        call = await self._begin("delete", timeout_s, request_id)
        return moment_of(self._raw(await self._written(call, key, Op.DELETE, b"", expected_version)))

    async def update_status_raw(
        self,
        key: str,
        status: str,
        *,
        expected_version: int,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """Change the status inside the shard, atomically."""
        call = await self._begin("update_status", timeout_s, request_id)
        return await self._change_raw(call, key, Op.STATUS, status.encode(), expected_version)

    async def update_progress_raw(
        self,
        key: str,
        changes: Mapping[str, Any],
        *,
        expected_version: int,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """Record progress (fields by their JSON names) inside the shard, atomically."""
        call = await self._begin("update_progress", timeout_s, request_id)
        return await self._change_raw(call, key, Op.PROGRESS, self._json(changes), expected_version)

    async def list_raw(
        self,
        *,
        prefix: str = "",
        limit: int = 100,
        cursor: str | None = None,
        at_least: str | None = None,
        timeout_s: float | None = None,
        **index: str,
    ) -> StoredPage:
        """One page of states in key order. It is the owners' own, so it reflects any token of this service."""
        call = await self._begin("list", timeout_s)
        if at_least is not None:
            await self._fresh(at_least, call.deadline_s)
        parts = await self._parts(call, prefix, limit, cursor, index)
        entries, following = merge_entries(parts, limit)
        moments = tuple(Moment(slot, *head) for part in parts for slot, head in part.heads.items())
        return StoredPage(tuple(entry_of(self.category, entry) for entry in entries), following, moments)

    async def forget_raw(self, key: str, *, timeout_s: float | None = None) -> tuple[Moment, ...]:
        """Have every cache of the service drop a key; what whoever reads it next will see at least.

        The owner has sent the order to each cache that holds the key before this returns: in this machine none answers
        from it any more. One that cannot be reached keeps nothing longer than its channel's 3 s.
        """
        call = await self._begin("forget", timeout_s)
        check_key(key, self._calls.limits)
        return await self._forget(call, key, [call.session.forgetting(self._name, key, 0, call.deadline_s)])

    async def forget_all_raw(self, *, timeout_s: float | None = None) -> tuple[Moment, ...]:
        """The same for every key and list of the category. Caches drop what else the same shards served them, too."""
        call = await self._begin("forget", timeout_s)
        shards = sorted(set(call.session.map.categories[self._name].owners))
        forgetting = [call.session.forgetting(self._name, None, shard, call.deadline_s) for shard in shards]
        return await self._forget(call, None, forgetting)

    async def _forget(self, call: Call, key: str | None, operations: list[Operation]) -> tuple[Moment, ...]:
        replies = [self._reply(outcome) for outcome in await self._calls.run(call.session, operations, call.name)]
        # This client's own cache as well: it may have been told by the actor handle, which pushes nothing.
        if key is None:
            self._calls.cache.invalidate_category(self._name)
        else:
            self._calls.cache.invalidate((self._name, key))
        if not all(isinstance(reply, Heads) for reply in replies):
            raise unexpected(replies[0])
        slots = [item for reply in replies if isinstance(reply, Heads) for item in reply.slots.items()]
        return tuple(Moment(slot, epoch, revision) for slot, (epoch, revision) in slots)

    async def _change_raw(self, call: Call, key: str, op: Op, change: bytes, expected: int) -> StoredState:
        check_body(change, self._calls.limits)
        return stored_of(self._name, key, self._raw(await self._written(call, key, op, change, expected)))

    async def _fresh(self, at_least: str, deadline_s: float) -> Fresh:
        """See `AsyncReads`. What strangers' tokens hold is not noted: anybody may invent slots by the thousand."""
        session = await self._calls.open(deadline_s)
        return slots_of_token(at_least, session.map.service_id)

    def _kept(self, key: str, reply: Reply) -> Held:
        """The bytes as they came; whoever asks for a state makes its own."""
        del key
        return self._raw(reply)

    @staticmethod
    def _raw(value: Any) -> Value | Absent:
        if not isinstance(value, Value | Absent):
            raise unexpected(value)
        return value

    def _refused(self, error: LightningStateError) -> LightningStateError:
        moment = error.details.pop("moment", None)
        found = completed(self.category, error)
        if moment is not None:
            found.details["moment"] = Moment(*moment)
        return found

    def _checked(self, key: str, document: bytes) -> tuple[bytes, int]:
        """The canonical body of a document, and the version it names."""
        limits = self._calls.limits
        state = self.category.decode(check_body(document, limits))
        name = self.category.key(state)
        if check_key(name, limits) != key:
            raise InvalidStateError(
                f"the state's own id is {name!r}, not {ascii(key)[:80]}: store it under its id",
                path=self.category.alias(self.category.key_field),
            )
        return check_body(self.category.encode(state), limits), state.version
