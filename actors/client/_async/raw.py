"""The states of one category as the bytes they are stored in, for who passes them on: an HTTP server, an export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from lightning_state.actors.client._async.collection import UPDATE, AsyncCollection, Consistency
from lightning_state.actors.client.calling import Call
from lightning_state.actors.client.decoding import completed
from lightning_state.actors.client.fencing import Fence
from lightning_state.actors.client.pages import merge_entries
from lightning_state.actors.client.stored import StoredPage, StoredState, entry_of, stored_of
from lightning_state.actors.core.checks import check_body, check_key
from lightning_state.actors.core.messages import Absent, Value
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.session import Operation
from lightning_state.actors.errors import InvalidStateError, LightningStateError


class AsyncRawCollection(AsyncCollection[Any]):
    """A collection whose operations exist on bytes too, with the same guarantees and errors."""

    async def get_raw(
        self, key: str, *, consistency: Consistency = "cached", timeout_s: float | None = None
    ) -> StoredState:
        """The state under a key. Raises StateNotFoundError."""
        self._check_consistency(consistency)
        call = await self._begin("get", timeout_s)
        check_key(key, self._calls.limits)
        reply = await self._one(call, call.session.read(self.category.name, key, call.deadline_s))
        return stored_of(self.category.name, key, reply)

    async def get_many_raw(
        self, keys: Iterable[str], *, consistency: Consistency = "cached", timeout_s: float | None = None
    ) -> dict[str, StoredState]:
        """Id → state, of those that exist, in the order asked; one round trip per shard."""
        self._check_consistency(consistency)
        call = await self._begin("get_many", timeout_s)
        wanted = self._batch(keys)
        for key in wanted:
            check_key(key, self._calls.limits)
        operations = [call.session.read(self.category.name, key, call.deadline_s) for key in wanted]
        outcomes = await self._calls.run(call.session, operations, call.name)
        replies = {key: self._reply(outcome) for key, outcome in zip(wanted, outcomes, strict=True)}
        return {
            key: stored_of(self.category.name, key, reply)
            for key, reply in replies.items()
            if not isinstance(reply, Absent)
        }

    async def set_raw(
        self,
        key: str,
        document: bytes,
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        intent: bytes = b"",
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """Store the state in a JSON document under its key.

        `expected_version` None: the `version` in the document, 0 without one. `intent`: see `Write`; `recall_raw` asks
        for it first. Raises InvalidStateError when the document does not fit or names another id.
        """
        call = await self._begin("set", timeout_s, request_id, lock)
        body, version = self.checked(key, document)
        expected = version if expected_version is None else expected_version
        reply = await self._one(call, self._write(call, key, Op.SET, body, expected, intent))
        return stored_of(self.category.name, key, reply, body)

    async def set_many_raw(
        self,
        documents: Mapping[str, bytes],
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, StoredState | LightningStateError]:
        """Id → the stored state, or the error of that id: each is stored on its own; one round trip per shard."""
        call = await self._begin("set_many", timeout_s, lock=lock)
        results: dict[str, StoredState | LightningStateError] = dict.fromkeys(
            self._batch(documents), LightningStateError()
        )
        sent: dict[str, tuple[Operation, bytes]] = {}
        for key, document in documents.items():
            try:
                body, version = self.checked(key, document)
                expected = version if expected_version is None else expected_version
                each = replace(call, request_id=None if request_id is None else f"{request_id}/{key}")
                sent[key] = self._write(each, key, Op.SET, body, expected), body
            except LightningStateError as error:
                results[key] = error
        outcomes = await self._calls.run(call.session, [operation for operation, _ in sent.values()], call.name)
        for (key, (_, body)), outcome in zip(sent.items(), outcomes, strict=True):
            if isinstance(outcome, LightningStateError):
                results[key] = completed(self.category, outcome)
            else:
                results[key] = stored_of(self.category.name, key, outcome, body)
        return results

    async def patch_raw(
        self,
        key: str,
        patch: Mapping[str, Any],
        *,
        expected_version: int,
        request_id: str | None = None,
        intent: bytes = b"",
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """Apply a JSON merge patch inside the shard, atomically."""
        call = await self._begin("patch", timeout_s, request_id, lock)
        return await self._change_raw(call, key, Op.PATCH, self._json(patch), expected_version, intent)

    async def update_status_raw(
        self,
        key: str,
        status: str,
        *,
        expected_version: int,
        request_id: str | None = None,
        intent: bytes = b"",
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """Change the status inside the shard, atomically."""
        call = await self._begin("update_status", timeout_s, request_id, lock)
        return await self._change_raw(call, key, Op.STATUS, status.encode(), expected_version, intent)

    async def update_progress_raw(
        self,
        key: str,
        changes: Mapping[str, Any],
        *,
        expected_version: int,
        request_id: str | None = None,
        intent: bytes = b"",
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> StoredState:
        """Record progress (fields by their JSON names) inside the shard, atomically."""
        call = await self._begin("update_progress", timeout_s, request_id, lock)
        return await self._change_raw(call, key, Op.PROGRESS, self._json(changes), expected_version, intent)

    async def delete_raw(
        self,
        key: str,
        *,
        expected_version: int,
        request_id: str | None = None,
        intent: bytes = b"",
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Delete a state."""
        await self._delete(await self._begin("delete", timeout_s, request_id, lock), key, expected_version, intent)

    async def recall_raw(
        self, key: str, op: Op, request_id: str, *, intent: bytes = UPDATE, timeout_s: float | None = None
    ) -> tuple[StoredState | None, bool]:
        """What the write of this id left stored, and True; when it was not applied, what is stored, and False.

        None: nothing, or it deleted. The same intent, by default that of `update`, goes with the write itself. Raises
        IdempotencyMismatchError when the id is another write's.
        """
        call = await self._begin("recall", timeout_s, request_id)
        value, applied = await self._recall(call, key, op, intent)
        if not isinstance(value, Value) or value.body is None:
            return None, applied
        return stored_of(self.category.name, key, value), applied

    async def list_raw(
        self,
        *,
        prefix: str = "",
        limit: int = 100,
        cursor: str | None = None,
        timeout_s: float | None = None,
        **index: str,
    ) -> StoredPage:
        """One page of states in key order."""
        parts = await self._parts(await self._begin("list", timeout_s), prefix, limit, cursor, index)
        entries, following = merge_entries(parts, limit)
        return StoredPage(tuple(entry_of(self.category, entry) for entry in entries), following)

    async def _change_raw(  # noqa: PLR0917  # private, and each call names what it gives in this order
        self, call: Call, key: str, op: Op, change: bytes, expected: int, intent: bytes
    ) -> StoredState:
        check_body(change, self._calls.limits)
        check_key(key, self._calls.limits)
        reply = await self._one(call, self._write(call, key, op, change, expected, intent))
        return stored_of(self.category.name, key, reply)

    def checked(self, key: str, document: bytes) -> tuple[bytes, int]:
        """The canonical body of a document, and the version it names. Raises InvalidStateError as `set_raw` does."""
        limits = self._calls.limits
        state = self.category.decode(check_body(document, limits))
        name = self.category.key(state)
        if check_key(name, limits) != key:
            raise InvalidStateError(
                f"the state's own id is {name!r}, not {ascii(key)[:80]}: store it under its id",
                path=self.category.alias(self.category.key_field),
            )
        return check_body(self.category.encode(state), limits), state.version
