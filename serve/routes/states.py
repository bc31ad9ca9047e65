"""One state: read, written under a condition, patched, deleted, and the two changes a shard works out itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightning_state.actors.client._async.raw import AsyncRawCollection
from lightning_state.actors.client.stored import StoredState, moment_of_error
from lightning_state.actors.errors import (
    LightningStateError,
    StateNotFoundError,
    UnknownCategoryError,
    VersionConflictError,
)
from lightning_state.serve.bodies import ProgressBody, ResolveBody, StatusBody
from lightning_state.serve.context import Context
from lightning_state.serve.etags import Condition, condition_of, etag, is_unchanged
from lightning_state.serve.freshness import AT_LEAST, at_least_of
from lightning_state.serve.json_values import document, dump
from lightning_state.serve.paths import CATEGORY, KEY
from lightning_state.serve.problems import problem_response
from lightning_state.serve.requests import (
    JSON,
    MERGE_PATCH,
    body_of,
    json_of,
    model_of,
    query_of,
    request_id_of,
    timeout_of,
)
from lightning_state.serve.resource import Handler, route

_ATTEMPTS = 32
"""How often a change that accepts several versions is tried when another writer is faster."""

Change = Callable[[int], Awaitable[StoredState]]
"""A change that expects a version."""


class States:
    """The handlers of `/v1/{category}/{id}` and what is below it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[BaseRoute]:
        """The busiest first: no two of all paths match the same text, so their order is one of speed alone."""
        one = f"/v1/{CATEGORY}/{KEY}"
        told = self._told
        return [
            route(
                one,
                "state",
                get=told(self.read),
                put=told(self.write),
                patch=told(self.patch),
                delete=told(self.delete),
            ),
            route(f"{one}/~status", "status", post=told(self.update_status)),
            route(f"{one}/~progress", "progress", post=told(self.update_progress)),
            route(f"{one}/~resolve", "resolve", post=self.resolve),
        ]

    async def read(self, request: Request) -> Response:
        """The stored bytes, or 304 when the caller has this version."""
        query = query_of(request, ("consistency", AT_LEAST))
        collection, key = await self._at(request)
        state = await collection.get_raw(
            key,
            consistency=query.get("consistency", "cached"),  # pyright: ignore[reportArgumentType]  # get_raw refuses what is neither
            at_least=at_least_of(query),
            timeout_s=timeout_of(request),
        )
        headers = self._headers(state)
        if is_unchanged(request.headers, state.version):
            return Response(None, 304, headers)
        return Response(document(state), 200, headers, JSON)

    async def write(self, request: Request) -> Response:
        """Store a state: 201 when it was to be new, else 200."""
        condition = self._condition(request, required=True)
        collection, key = await self._at(request)
        request_id, timeout_s = request_id_of(request), timeout_of(request)
        body = await body_of(request)

        async def change(expected: int) -> StoredState:
            return await collection.set_raw(
                key, body, expected_version=expected, request_id=request_id, timeout_s=timeout_s
            )

        state = await self._changed(collection, key, condition, change)
        created = condition.expected == 0
        headers = self._headers(state)
        if created:
            headers["location"] = request.url.path
        return Response(document(state), 201 if created else 200, headers, JSON)

    async def patch(self, request: Request) -> Response:
        """Apply a JSON merge patch (RFC 7396) inside the shard."""
        condition = self._condition(request, required=True)
        collection, key = await self._at(request)
        request_id, timeout_s = request_id_of(request), timeout_of(request)
        body = await body_of(request, (MERGE_PATCH, JSON))
        merge = json_of(body, self._context.limits.depth, dict[str, object])

        async def change(expected: int) -> StoredState:
            return await collection.patch_raw(
                key, merge, expected_version=expected, request_id=request_id, timeout_s=timeout_s
            )

        return self._shown(await self._changed(collection, key, condition, change))

    async def delete(self, request: Request) -> Response:
        """Delete a state: 204."""
        condition = self._condition(request, required=True)
        collection, key = await self._at(request)
        request_id, timeout_s = request_id_of(request), timeout_of(request)

        async def change(expected: int) -> StoredState:
            moment = await collection.delete_raw(
                key, expected_version=expected, request_id=request_id, timeout_s=timeout_s
            )
            return StoredState(key, b"{}", 0, 0, moment)

        deleted = await self._changed(collection, key, condition, change)
        return Response(None, 204, self._context.freshness([deleted.moment]))

    async def update_status(self, request: Request) -> Response:
        """Change a state's status, under a condition or without one."""
        condition = self._condition(request, required=False)
        collection, key = await self._at(request)
        if collection.category.status_field is None:
            raise UnknownCategoryError(f"states of category {collection.category.name!r} have no status")
        status = model_of(await body_of(request), self._context.limits.depth, StatusBody).status
        request_id, timeout_s = request_id_of(request), timeout_of(request)

        async def change(expected: int) -> StoredState:
            return await collection.update_status_raw(
                key, status, expected_version=expected, request_id=request_id, timeout_s=timeout_s
            )

        return self._shown(await self._changed(collection, key, condition, change))

    async def update_progress(self, request: Request) -> Response:
        """Record a research run's progress, under a condition or without one."""
        condition = self._condition(request, required=False)
        collection, key = await self._at(request)
        if collection.category.name != "research":
            raise UnknownCategoryError(f"states of category {collection.category.name!r} have no progress")
        progress = model_of(await body_of(request), self._context.limits.depth, ProgressBody)
        changes = progress.changes()
        request_id, timeout_s = request_id_of(request), timeout_of(request)

        async def change(expected: int) -> StoredState:
            return await collection.update_progress_raw(
                key, changes, expected_version=expected, request_id=request_id, timeout_s=timeout_s
            )

        return self._shown(await self._changed(collection, key, condition, change))

    async def resolve(self, request: Request) -> Response:
        """Whether a write was applied; if it was not, it never will be."""
        query_of(request, ())
        collection, key = await self._at(request)
        asked = model_of(await body_of(request), self._context.limits.depth, ResolveBody)
        found = await self._context.client.resolve(
            asked.request_id, collection.category.name, key, timeout_s=timeout_of(request)
        )
        headers = await self._now(collection, key) if found.applied else {}
        return Response(dump(msgspec.structs.asdict(found)), 200, headers, JSON)

    async def _at(self, request: Request) -> tuple[AsyncRawCollection, str]:
        path = request.path_params
        return await self._context.categories.find(path["category"]), path["key"]

    @staticmethod
    def _condition(request: Request, *, required: bool) -> Condition:
        return condition_of(request.headers, query_of(request, ("expectedVersion",)), required=required)

    def _shown(self, state: StoredState) -> Response:
        return Response(document(state), 200, self._headers(state), JSON)

    def _headers(self, state: StoredState) -> dict[str, str]:
        return {"etag": etag(state.version), **self._context.freshness([state.moment])}

    async def _now(self, collection: AsyncRawCollection, key: str) -> dict[str, str]:
        """What is true of a key now, as a header: a change that was learnt of must not be unlearnt elsewhere."""
        try:
            moment = (await collection.get_raw(key, consistency="linearizable")).moment
        except StateNotFoundError as error:
            moment = moment_of_error(error)
        return self._context.freshness([moment])

    def _told(self, handler: Handler) -> Handler:
        """A refusal shows something of its key too, and says what it reflects."""

        async def tell(request: Request) -> Response:
            try:
                return await handler(request)
            except LightningStateError as error:
                moment = moment_of_error(error)
                return problem_response(error, self._context.freshness([moment]) if moment else None)

        return tell

    async def _changed(
        self, collection: AsyncRawCollection, key: str, condition: Condition, change: Change
    ) -> StoredState:
        """The result of a change under a condition; one that accepts several versions reads first."""
        if condition.expected is not None:
            return await change(condition.expected)
        for attempt in range(1, _ATTEMPTS + 1):
            version = await self._acceptable(collection, key, condition)
            try:
                return await change(version)
            except VersionConflictError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError

    @staticmethod
    async def _acceptable(collection: AsyncRawCollection, key: str, condition: Condition) -> int:
        try:
            stored = await collection.get_raw(key, consistency="linearizable")
            version, moment = stored.version, stored.moment
        except StateNotFoundError as error:
            version, moment = 0, moment_of_error(error)
        if version and (condition.exists or version in condition.versions):
            return version
        raise VersionConflictError(
            f"{collection.category.name} {key!r} has version {version}, which If-Match does not name",
            category=collection.category.name,
            key=key,
            current_version=version,
            moment=moment,
        )
