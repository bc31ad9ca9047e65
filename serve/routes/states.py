"""One state: read, written under a condition, patched, deleted, and the two changes a shard works out itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightning_state.actors.client._async.raw import AsyncRawCollection
from lightning_state.actors.client.stored import StoredState
from lightning_state.actors.core.rows import Op
from lightning_state.actors.errors import (
    StateNotFoundError,
    UnknownCategoryError,
    VersionConflictError,
)
from lightning_state.serve.bodies import ProgressBody, RecallBody, ResolveBody, StatusBody
from lightning_state.serve.context import Context
from lightning_state.serve.etags import Condition, condition_of, etag, is_unchanged
from lightning_state.serve.json_values import document, dump
from lightning_state.serve.paths import CATEGORY, KEY
from lightning_state.serve.requests import (
    JSON,
    MERGE_PATCH,
    body_of,
    intent_of,
    json_of,
    model_of,
    query_of,
    request_id_of,
    timeout_of,
)
from lightning_state.serve.resource import route

_ATTEMPTS = 32
"""How often a change that accepts several versions is tried when another writer is faster."""

Change = Callable[[int, bytes], Awaitable[StoredState]]
"""A change that expects a version, with the intent its repetitions share."""


class _Changing(NamedTuple):
    """A change of one state under a condition."""

    collection: AsyncRawCollection
    key: str
    op: Op
    condition: Condition
    request_id: str | None
    timeout_s: float | None
    content: bytes
    """Its body."""
    intent: bytes
    """What its repetitions share in place of body and version; empty: those."""

    def own_intent(self) -> bytes:
        """That of a change whose version is found by reading: all that it says itself."""
        said = (self.condition.exists, *sorted(self.condition.versions))
        return blake2b(repr(said).encode() + self.content, digest_size=16).digest()

    def acceptable(self, stored: StoredState | None) -> int:
        """The version that is stored. Raises VersionConflictError when the condition does not name it."""
        version = stored.version if stored is not None else 0
        if version and (self.condition.exists or version in self.condition.versions):
            return version
        name = self.collection.category.name
        raise VersionConflictError(
            f"{name} {self.key!r} has version {version}, which If-Match does not name",
            category=name,
            key=self.key,
            current_version=version,
        )


class States:
    """The handlers of `/v1/{category}/{id}` and what is below it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[BaseRoute]:
        """The busiest first: no two of all paths match the same text, so their order is one of speed alone."""
        one = f"/v1/{CATEGORY}/{KEY}"
        return [
            route(one, "state", get=self.read, put=self.write, patch=self.patch, delete=self.delete),
            route(f"{one}/~status", "status", post=self.update_status),
            route(f"{one}/~progress", "progress", post=self.update_progress),
            route(f"{one}/~resolve", "resolve", post=self.resolve),
            route(f"{one}/~recall", "recall", post=self.recall),
        ]

    async def read(self, request: Request) -> Response:
        """The stored bytes, or 304 when the caller has this version."""
        query = query_of(request, ("consistency",))
        collection, key = await self._at(request)
        state = await collection.get_raw(
            key,
            consistency=query.get("consistency", "cached"),  # pyright: ignore[reportArgumentType]  # get_raw refuses what is neither
            timeout_s=timeout_of(request),
        )
        headers = {"etag": etag(state.version)}
        if is_unchanged(request.headers, state.version):
            return Response(None, 304, headers)
        return Response(document(state), 200, headers, JSON)

    async def write(self, request: Request) -> Response:
        """Store a state: 201 when it was to be new, else 200."""
        asked = await self._asked(request, Op.SET, required=True)
        if asked.condition.expected is None:  # a condition says nothing about what cannot be stored (RFC 9110, 13.2.1)
            asked.collection.checked(asked.key, asked.content)

        async def change(expected: int, intent: bytes) -> StoredState:
            return await asked.collection.set_raw(
                asked.key,
                asked.content,
                expected_version=expected,
                request_id=asked.request_id,
                intent=intent,
                timeout_s=asked.timeout_s,
            )

        state = await _changed(asked, change)
        created = asked.condition.expected == 0
        headers = {"etag": etag(state.version)}
        if created:
            headers["location"] = request.url.path
        return Response(document(state), 201 if created else 200, headers, JSON)

    async def patch(self, request: Request) -> Response:
        """Apply a JSON merge patch (RFC 7396) inside the shard."""
        asked = await self._asked(request, Op.PATCH, required=True, media_types=(MERGE_PATCH, JSON))
        merge = json_of(asked.content, self._context.limits.depth, dict[str, object])

        async def change(expected: int, intent: bytes) -> StoredState:
            return await asked.collection.patch_raw(
                asked.key,
                merge,
                expected_version=expected,
                request_id=asked.request_id,
                intent=intent,
                timeout_s=asked.timeout_s,
            )

        return _shown(await _changed(asked, change))

    async def delete(self, request: Request) -> Response:
        """Delete a state: 204."""
        asked = await self._asked(request, Op.DELETE, required=True, media_types=())

        async def change(expected: int, intent: bytes) -> StoredState:
            await asked.collection.delete_raw(
                asked.key,
                expected_version=expected,
                request_id=asked.request_id,
                intent=intent,
                timeout_s=asked.timeout_s,
            )
            return StoredState(asked.key, b"{}", 0, 0)

        await _changed(asked, change)
        return Response(None, 204)

    async def update_status(self, request: Request) -> Response:
        """Change a state's status, under a condition or without one."""
        asked = await self._asked(request, Op.STATUS, required=False)
        if asked.collection.category.status_field is None:
            raise UnknownCategoryError(f"states of category {asked.collection.category.name!r} have no status")
        status = model_of(asked.content, self._context.limits.depth, StatusBody).status

        async def change(expected: int, intent: bytes) -> StoredState:
            return await asked.collection.update_status_raw(
                asked.key,
                status,
                expected_version=expected,
                request_id=asked.request_id,
                intent=intent,
                timeout_s=asked.timeout_s,
            )

        return _shown(await _changed(asked, change))

    async def update_progress(self, request: Request) -> Response:
        """Record a research run's progress, under a condition or without one."""
        asked = await self._asked(request, Op.PROGRESS, required=False)
        if asked.collection.category.name != "research":
            raise UnknownCategoryError(f"states of category {asked.collection.category.name!r} have no progress")
        changes = model_of(asked.content, self._context.limits.depth, ProgressBody).changes()

        async def change(expected: int, intent: bytes) -> StoredState:
            return await asked.collection.update_progress_raw(
                asked.key,
                changes,
                expected_version=expected,
                request_id=asked.request_id,
                intent=intent,
                timeout_s=asked.timeout_s,
            )

        return _shown(await _changed(asked, change))

    async def resolve(self, request: Request) -> Response:
        """Whether a write was applied; if it was not, it never will be."""
        query_of(request, ())
        collection, key = await self._at(request)
        asked = model_of(await body_of(request), self._context.limits.depth, ResolveBody)
        found = await self._context.client.resolve(
            asked.request_id, collection.category.name, key, timeout_s=timeout_of(request)
        )
        return Response(dump(msgspec.structs.asdict(found)), 200, None, JSON)

    async def recall(self, request: Request) -> Response:
        """The state an update of this id stored; else, with `idempotency-replayed: false`, the one that is stored."""
        query_of(request, ())
        collection, key = await self._at(request)
        asked = model_of(await body_of(request), self._context.limits.depth, RecallBody)
        state, applied = await collection.recall_raw(
            key, Op.SET, asked.request_id, intent=asked.intent.encode(), timeout_s=timeout_of(request)
        )
        if state is None:
            name = collection.category.name
            raise StateNotFoundError(f"{name} {key!r} does not exist", category=name, key=key)
        headers = {"etag": etag(state.version), "idempotency-replayed": "true" if applied else "false"}
        return Response(document(state), 200, headers, JSON)

    async def _at(self, request: Request) -> tuple[AsyncRawCollection, str]:
        path = request.path_params
        return await self._context.categories.find(path["category"]), path["key"]

    async def _asked(
        self, request: Request, op: Op, *, required: bool, media_types: Collection[str] = (JSON,)
    ) -> _Changing:
        """What a change's request says. `required`: it has a condition; no media types: it has no body."""
        condition = condition_of(request.headers, query_of(request, ("expectedVersion",)), required=required)
        collection, key = await self._at(request)
        request_id, intent, timeout_s = request_id_of(request), intent_of(request), timeout_of(request)
        content = await body_of(request, media_types) if media_types else b""
        return _Changing(collection, key, op, condition, request_id, timeout_s, content, intent)


def _shown(state: StoredState) -> Response:
    return Response(document(state), 200, {"etag": etag(state.version)}, JSON)


async def _changed(asked: _Changing, change: Change) -> StoredState:
    """The result of a change under a condition; one that accepts several versions reads first."""
    if asked.condition.expected is not None:
        return await change(asked.condition.expected, asked.intent)
    intent = asked.intent or asked.own_intent()
    for attempt in range(1, _ATTEMPTS + 1):
        state, applied = await _before(asked, intent)
        if applied:
            return state or StoredState(asked.key, b"{}", 0, 0)
        try:
            return await change(asked.acceptable(state), intent)
        except VersionConflictError:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError


async def _before(asked: _Changing, intent: bytes) -> tuple[StoredState | None, bool]:
    """What this very request stored when it was sent before, and True; else what is stored, and False."""
    if asked.request_id is not None:
        return await asked.collection.recall_raw(
            asked.key, asked.op, asked.request_id, intent=intent, timeout_s=asked.timeout_s
        )
    try:
        return await asked.collection.get_raw(asked.key, consistency="linearizable", timeout_s=asked.timeout_s), False
    except StateNotFoundError:
        return None, False
