"""Many states of one category in one request: each is read or stored on its own."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightning_state.actors.category import Category
from lightning_state.actors.client.stored import StoredState, moment_of_error
from lightning_state.actors.core.freshness import Moment
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import InvalidStateError, LightningStateError, StateTooLargeError
from lightning_state.serve.bodies import BatchGetBody
from lightning_state.serve.context import Context
from lightning_state.serve.freshness import AT_LEAST, at_least_of
from lightning_state.serve.json_values import document, dump
from lightning_state.serve.paths import CATEGORY
from lightning_state.serve.problems import problem
from lightning_state.serve.requests import JSON, body_of, json_of, model_of, query_of, request_id_of, timeout_of
from lightning_state.serve.resource import route

_ENVELOPE_DEPTH = 2
"""Levels that a batch adds around its states."""

_CONFLICT = 409
"""In a batch no header failed: what is 412 for a single state is a conflict here."""


class _BatchSet(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """States as they are in the text: each is parsed once, by its model."""

    states: list[msgspec.Raw]
    expected_version: Literal["any"] | None = None


class Batches:
    """The handlers of `/v1/{category}:batchGet` and `:batchSet`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[BaseRoute]:
        """Both."""
        return [
            route(f"/v1/{CATEGORY}:batchGet", "batch_get", post=self.read),
            route(f"/v1/{CATEGORY}:batchSet", "batch_set", post=self.write),
        ]

    async def read(self, request: Request) -> Response:
        """Id → state, of those that exist."""
        query = query_of(request, (AT_LEAST,))
        collection = await self._context.categories.find(request.path_params["category"])
        asked = model_of(await body_of(request), self._context.limits.depth, BatchGetBody)
        found = await collection.get_many_raw(
            asked.ids, consistency=asked.consistency, at_least=at_least_of(query), timeout_s=timeout_of(request)
        )
        items = b",".join(b"%b:%b" % (dump(key), document(state)) for key, state in found.states.items())
        return Response(b'{"items":{%b}}' % items, 200, self._context.freshness(found.moments), JSON)

    async def write(self, request: Request) -> Response:
        """Id → the stored state, or the problem of that id. The answer is 200 whatever became of each."""
        query_of(request, ())
        collection = await self._context.categories.find(request.path_params["category"])
        depth = self._context.limits.depth + _ENVELOPE_DEPTH
        batch: _BatchSet = json_of(await body_of(request), depth, _BatchSet)
        results = await collection.set_many_raw(
            self._by_id(collection.category, batch.states),
            expected_version=ANY if batch.expected_version else None,
            request_id=request_id_of(request),
            timeout_s=timeout_of(request),
        )
        shown = b",".join(b"%b:%b" % (dump(key), _result(result)) for key, result in results.items())
        moments = [moment_of_result(result) for result in results.values()]
        return Response(b'{"results":{%b}}' % shown, 200, self._context.freshness(moments), JSON)

    def _by_id(self, category: Category[Any], states: list[msgspec.Raw]) -> dict[str, bytes]:
        most = self._context.limits.batch_keys
        if len(states) > most:
            raise StateTooLargeError(f"a batch of {len(states)} keys; the limit is {most}", limit=most)
        name = category.alias(category.key_field)
        batch: dict[str, bytes] = {}
        for place, state in enumerate(states):
            key = json_of(bytes(state), self._context.limits.depth, dict[str, Any]).get(name)
            if not isinstance(key, str):
                raise InvalidStateError(f"states.{place} has no {name}", path=f"states.{place}.{name}")
            if key in batch:
                raise InvalidStateError(f"{ascii(key)[:80]} is in the batch twice: which one is meant to be stored?")
            batch[key] = bytes(state)
        return batch


def moment_of_result(result: StoredState | LightningStateError) -> Moment | None:
    """What one id's result reflects."""
    return result.moment if isinstance(result, StoredState) else moment_of_error(result)


def _result(result: StoredState | LightningStateError) -> bytes:
    if isinstance(result, StoredState):
        return b'{"status":200,"state":%b}' % document(result)
    members = problem(result)
    if members["status"] == 412:  # noqa: PLR2004  # precondition failed
        members["status"] = _CONFLICT
    return dump({"status": members["status"], "problem": members})
