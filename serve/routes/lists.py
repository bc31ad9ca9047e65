"""The states of a category, page by page, filtered by prefix or one index."""

from __future__ import annotations

from enum import Enum
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightning_state.actors.category import Category
from lightning_state.actors.errors import InvalidStateError
from lightning_state.serve.context import Context
from lightning_state.serve.errors import HttpError
from lightning_state.serve.freshness import AT_LEAST, at_least_of
from lightning_state.serve.json_values import document, dump
from lightning_state.serve.paths import CATEGORY
from lightning_state.serve.requests import JSON, query_of, timeout_of
from lightning_state.serve.resource import route

_PAGE = ("prefix", "limit", "cursor", AT_LEAST)


class Lists:
    """The handler of `/v1/{category}`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[BaseRoute]:
        """One route."""
        return [route(f"/v1/{CATEGORY}", "list", get=self.read)]

    async def read(self, request: Request) -> Response:
        """One page in key order; `cursor` continues it, null: it was the last."""
        collection = await self._context.categories.find(request.path_params["category"])
        category = collection.category
        names = {category.alias(index): index for index in category.indexes}
        query = query_of(request, (*_PAGE, *names))
        index = {attribute: query[name] for name, attribute in names.items() if name in query}
        for attribute, value in index.items():
            _check_value(category, attribute, value)
        page = await collection.list_raw(
            prefix=query.get("prefix", ""),
            limit=_limit(query.get("limit", "100")),
            cursor=query.get("cursor"),
            at_least=at_least_of(query),
            timeout_s=timeout_of(request),
            **index,
        )
        items = b",".join(document(state) for state in page.states)
        headers = self._context.freshness(page.moments)
        return Response(b'{"items":[%b],"cursor":%b}' % (items, dump(page.cursor)), 200, headers, JSON)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):  # noqa: PLR2004  # more than any limit has
        raise HttpError("limit is a whole number")
    return int(text)


def _check_value(category: Category[Any], attribute: str, value: str) -> None:
    """A value that no state can have is a mistake, not an empty list."""
    kind = category.model.model_fields[attribute].annotation
    if isinstance(kind, type) and issubclass(kind, Enum) and value not in [member.value for member in kind]:
        allowed = ", ".join(str(member.value) for member in kind)
        raise InvalidStateError(f"{category.alias(attribute)} is one of {allowed}, not {ascii(value)[:80]}")
