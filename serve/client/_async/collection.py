"""The states of one category over HTTP, with the interface of the actors' own client."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.client.pages import StatePage
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import (
    InvalidStateError,
    LightningStateError,
    StateNotFoundError,
    VersionConflictError,
)
from lightning_state.actors.models import State
from lightning_state.serve.client._async.calls import AsyncHttpCalls
from lightning_state.serve.client.answers import error_from_problem, pieces
from lightning_state.serve.client.sending import Sending, condition, state_path

S = TypeVar("S", bound=State)

Consistency = Literal["cached", "linearizable"]

_UPDATE_ATTEMPTS = 32
_JSON = {"Content-Type": "application/json"}
_UPDATE = {**_JSON, "Idempotency-Intent": "update"}
_PATCH = {"Content-Type": "application/merge-patch+json"}


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    cursor: str | None


class _Found(msgspec.Struct):
    items: dict[str, msgspec.Raw]


class _Result(msgspec.Struct):
    status: int
    state: msgspec.Raw = msgspec.Raw()
    problem: msgspec.Raw = msgspec.Raw()


class _Results(msgspec.Struct):
    results: dict[str, _Result]


class AsyncHttpCollection(Generic[S]):
    """The states of one category. Guarantees and errors are those of the actors' client; every call has a deadline."""

    def __init__(self, calls: AsyncHttpCalls, category: Category[S]) -> None:
        self.category = category
        self._calls = calls

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.category.name} of {self._calls!r}>"

    async def get(self, key: str, *, consistency: Consistency = "cached", timeout_s: float | None = None) -> S:
        """The state under a key. Raises StateNotFoundError."""
        sending = self._reading("GET", state_path(self.category.name, key), timeout_s)
        sending.params = {"consistency": consistency}
        answer = await self._calls.run(f"{self.category.name}.get", sending, self.category)
        return self.category.decode(answer.content)

    async def exists(self, key: str, *, consistency: Consistency = "cached", timeout_s: float | None = None) -> bool:
        """Whether a state is stored under a key."""
        try:
            await self.get(key, consistency=consistency, timeout_s=timeout_s)
        except StateNotFoundError:
            return False
        return True

    async def get_many(
        self, keys: Iterable[str], *, consistency: Consistency = "cached", timeout_s: float | None = None
    ) -> dict[str, S]:
        """Id → state, of those that exist, in the order asked; one round trip."""
        body = {"ids": list(dict.fromkeys(keys)), "consistency": consistency}
        sending = self._reading("POST", f"/v1/{self.category.name}:batchGet", timeout_s)
        sending.content, sending.headers = self._json(body), dict(_JSON)
        answer = await self._calls.run(f"{self.category.name}.get_many", sending, self.category)
        found: _Found = pieces(answer.content, _Found)
        return {key: self.category.decode(bytes(state)) for key, state in found.items.items()}

    async def set(
        self,
        state: S,
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> S:
        """Store a state and return it as stored. Raises VersionConflictError with the `current` state."""
        expected = state.version if expected_version is None else expected_version
        body = self.category.encode(state)
        return await self._change("set", "PUT", self._key(state), "", body, _JSON, expected, request_id, timeout_s)

    async def set_many(
        self,
        states: Iterable[S],
        *,
        expected_version: int | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, S | LightningStateError]:
        """Id → the stored state, or the error of that id: each is stored on its own; one round trip."""
        if expected_version not in (None, ANY):
            raise InvalidStateError("set_many over HTTP expects each state's own version, or ANY")
        batch = list(states)
        documents = b",".join(self._versioned(state) for state in batch)
        tail = b',"expectedVersion":"any"' if expected_version == ANY else b""
        sending = self._reading("POST", f"/v1/{self.category.name}:batchSet", timeout_s)
        sending.content, sending.headers = b'{"states":[%b]%b}' % (documents, tail), dict(_JSON)
        sending.request_id = self._calls.request_id(request_id)
        sending.about = (self.category.name, f"{len(batch)} states")
        answer = await self._calls.run(f"{self.category.name}.set_many", sending, self.category)
        results: _Results = pieces(answer.content, _Results)
        return {key: self._outcome(result) for key, result in results.results.items()}

    async def update(
        self, key: str, fn: Callable[[S], S], *, request_id: str | None = None, timeout_s: float | None = None
    ) -> S:
        """Replace a state by `fn(state)`, read again and re-applied when another writer was faster; bounded."""
        deadline_s = self._calls.deadline(timeout_s)
        current, applied = await self._recalled(key, request_id, timeout_s)
        if applied:
            return current
        for attempt in range(1, _UPDATE_ATTEMPTS + 1):
            left_s = max(0.0, deadline_s - time.monotonic())
            changed = fn(current)
            if self._key(changed) != key:
                raise InvalidStateError(f"{self.category.name} {key!r}: an update cannot change the key of a state")
            try:
                body, version = self.category.encode(changed), current.version
                return await self._change("set", "PUT", key, "", body, _UPDATE, version, request_id, left_s)
            except VersionConflictError as conflict:
                if attempt == _UPDATE_ATTEMPTS or time.monotonic() >= deadline_s:
                    raise
                overtaking: S | None = conflict.current
                if overtaking is None:
                    raise StateNotFoundError(
                        f"{self.category.name} {key!r} was deleted meanwhile", category=self.category.name, key=key
                    ) from conflict
                current = overtaking
            await asyncio.sleep(0.01 * min(attempt, 10) * random.random())  # noqa: S311  # jitter, no secret
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
        """Apply a JSON merge patch (field names as in JSON) inside the shard, atomically."""
        body = self._json(patch)
        return await self._change("patch", "PATCH", key, "", body, _PATCH, expected_version, request_id, timeout_s)

    async def delete(
        self, key: str, *, expected_version: int, request_id: str | None = None, timeout_s: float | None = None
    ) -> None:
        """Delete a state. Raises StateNotFoundError and VersionConflictError."""
        sending = self._writing("DELETE", key, "", expected_version, request_id, timeout_s)
        await self._calls.run(f"{self.category.name}.delete", sending, self.category)

    async def list(
        self,
        *,
        prefix: str = "",
        limit: int = 100,
        cursor: str | None = None,
        timeout_s: float | None = None,
        **index: str,
    ) -> StatePage[S]:
        """One page of states in key order; `list(status=…)` filters by an index, one at a time.

        At most `limit` (1 to 1,000), fewer when they are large: `page.cursor` continues, and is None at the end.
        """
        if unknown := [name for name in index if name not in self.category.indexes]:
            raise InvalidStateError(f"{self.category.name} has no index {unknown[0]!r}")
        filters = {self.category.alias(name): str(value) for name, value in index.items()}
        given = {"prefix": prefix or None, "limit": limit, "cursor": cursor, **filters}
        sending = self._reading("GET", f"/v1/{self.category.name}", timeout_s)
        sending.params = {name: value for name, value in given.items() if value is not None}
        answer = await self._calls.run(f"{self.category.name}.list", sending, self.category)
        page: _Page = pieces(answer.content, _Page)
        return StatePage(tuple(self.category.decode(bytes(item)) for item in page.items), page.cursor)

    async def _recalled(self, key: str, request_id: str | None, timeout_s: float | None) -> tuple[S, bool]:
        """What the update of this id stored, and True; else what is stored, and False."""
        if request_id is None:
            return await self.get(key, consistency="linearizable", timeout_s=timeout_s), False
        sending = self._reading("POST", state_path(self.category.name, key, "/~recall"), timeout_s)
        sending.content, sending.headers = self._json({"requestId": request_id}), dict(_JSON)
        answer = await self._calls.run(f"{self.category.name}.recall", sending, self.category)
        return self.category.decode(answer.content), answer.headers.get("idempotency-replayed") == "true"

    async def _change(  # noqa: PLR0917  # private, and each call names what it gives in this order
        self,
        operation: str,
        method: str,
        key: str,
        below: str,
        body: bytes,
        headers: Mapping[str, str],
        expected: int,
        request_id: str | None,
        timeout_s: float | None,
    ) -> S:
        sending = self._writing(method, key, below, expected, request_id, timeout_s)
        sending.content = body
        sending.headers.update(headers)
        answer = await self._calls.run(f"{self.category.name}.{operation}", sending, self.category)
        return self.category.decode(answer.content)

    def _reading(self, method: str, path: str, timeout_s: float | None) -> Sending:
        return Sending(method, path, self._calls.deadline(timeout_s))

    def _writing(  # noqa: PLR0917  # as above
        self, method: str, key: str, below: str, expected: int, request_id: str | None, timeout_s: float | None
    ) -> Sending:
        headers, params = condition(expected)
        return Sending(
            method,
            state_path(self.category.name, key, below),
            self._calls.deadline(timeout_s),
            params={} if below else params,  # without a condition, a sub-resource accepts any version
            headers=headers,
            request_id=self._calls.request_id(request_id),
            about=(self.category.name, key),
        )

    def _key(self, state: S) -> str:
        if not isinstance(state, self.category.model):
            raise InvalidStateError(
                f"{self.category.name} holds {self.category.model.__name__}, not {type(state).__name__}"
            )
        return self.category.key(state)

    def _versioned(self, state: S) -> bytes:
        self._key(state)
        return b'{"version":%d,' % state.version + self.category.encode(state)[1:]

    def _outcome(self, result: _Result) -> S | LightningStateError:
        if state := bytes(result.state):
            return self.category.decode(state)
        return error_from_problem(bytes(result.problem), self.category)

    @staticmethod
    def _json(value: Mapping[str, Any]) -> bytes:
        try:
            return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidStateError(f"this cannot be written as JSON: {error}") from error
