"""Caches by hand: have every one of the service forget a state, or a category."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightning_state.serve.bodies import InvalidateBody, InvalidateCategoryBody
from lightning_state.serve.context import Context
from lightning_state.serve.requests import M, body_of, model_of, query_of, timeout_of
from lightning_state.serve.resource import route


class Caches:
    """The handlers below `/v1/cache`.

    It is the owners that tell the caches, as they do of changes: those of every replica and of every client in Python
    that holds the state, whichever replica is asked. The answer's token makes a read through any of them reflect the
    owners at the moment of the order, however far the order has come.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[BaseRoute]:
        """Both."""
        return [
            route("/v1/cache:invalidate", "cache_invalidate", post=self.invalidate),
            route("/v1/cache:invalidateCategory", "cache_invalidate_category", post=self.invalidate_category),
        ]

    async def invalidate(self, request: Request) -> Response:
        """Forget one state, which need not exist: 204."""
        asked = await self._read(request, InvalidateBody)
        collection = await self._context.categories.find(asked.category)
        moments = await collection.forget_raw(asked.id, timeout_s=timeout_of(request))
        return Response(None, 204, self._context.freshness(moments))

    async def invalidate_category(self, request: Request) -> Response:
        """Forget every state and list of a category: 204."""
        asked = await self._read(request, InvalidateCategoryBody)
        collection = await self._context.categories.find(asked.category)
        moments = await collection.forget_all_raw(timeout_s=timeout_of(request))
        return Response(None, 204, self._context.freshness(moments))

    async def _read(self, request: Request, model: type[M]) -> M:
        query_of(request, ())
        return model_of(await body_of(request), self._context.limits.depth, model)
