"""Whether the server lives, whether the service behind it answers, what it counted, and where everything is."""

from __future__ import annotations

import asyncio
import os

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightning_state.actors.errors import LightningStateError
from lightning_state.serve.context import Context
from lightning_state.serve.json_values import dump
from lightning_state.serve.metrics import CONTENT_TYPE
from lightning_state.serve.openapi.document import openapi_document
from lightning_state.serve.requests import JSON, query_of
from lightning_state.serve.resource import route

_READY_WITHIN_S = 2.0


class Health:
    """The handlers of `/`, `/healthz`, `/readyz`, `/metrics`, `/v1/metrics` and `/openapi.json`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        return [
            route("/", "index", get=self.index),
            route("/healthz", "healthz", get=self.live),
            route("/readyz", "readyz", get=self.ready),
            route("/metrics", "prometheus", get=self.prometheus),
            route("/v1/metrics", "metrics", get=self.metrics),
            route("/openapi.json", "openapi", get=self.openapi),
        ]

    async def index(self, request: Request) -> Response:
        """The name of the service and its categories."""
        query_of(request, ())
        categories = await self._context.client.categories()
        body = {
            "service": self._context.client.service,
            "categories": categories,
            "links": {
                "openapi": "/openapi.json",
                "health": "/healthz",
                "ready": "/readyz",
                "metrics": "/v1/metrics",
                **{name: f"/v1/{name}" for name in categories},
            },
        }
        return Response(dump(body), 200, None, JSON)

    async def live(self, request: Request) -> Response:
        """This server answers."""
        query_of(request, ())
        return Response(b'{"status":"live"}', 200, None, JSON)

    async def ready(self, request: Request) -> Response:
        """Every shard answers; else 503 with the reason's code."""
        query_of(request, ())
        agents = await self._context.categories.find("agents")
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                await agents.list_raw(limit=1, timeout_s=_READY_WITHIN_S)
        except (LightningStateError, TimeoutError) as error:
            code = getattr(error, "code", "deadline_exceeded")
            return Response(dump({"status": "not ready", "code": code}), 503, {"retry-after": "1"}, JSON)
        return Response(b'{"status":"ready"}', 200, None, JSON)

    async def metrics(self, request: Request) -> Response:
        """What this replica counted: requests by operation and status, and its client's own figures."""
        query_of(request, ())
        body = {
            "replica": self._context.replica,
            "pid": os.getpid(),
            "requests": self._context.metrics.read(),
            "client": self._context.client.metrics(),
        }
        return Response(dump(body), 200, None, JSON)

    async def prometheus(self, request: Request) -> Response:
        """The same for Prometheus."""
        query_of(request, ())
        return Response(self._context.metrics.text(), 200, {"content-type": CONTENT_TYPE})

    async def openapi(self, request: Request) -> Response:
        """The document that describes all of this, with every category registered by now."""
        query_of(request, ())
        collections = await self._context.categories.all()
        document = openapi_document([each.category for each in collections], self._context.limits)
        return Response(dump(document), 200, None, JSON)
