"""The HTTP application: every route, behind authentication and limits, every failure a problem document."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.errors import LightningStateError
from lightning_state.actors.limits import Limits
from lightning_state.serve import paths
from lightning_state.serve.auth import Authentication
from lightning_state.serve.categories import Categories
from lightning_state.serve.context import Context
from lightning_state.serve.errors import NoSuchRouteError
from lightning_state.serve.limits import BODY_WITHIN_S, BodyLimits
from lightning_state.serve.metrics import RequestMetrics
from lightning_state.serve.problems import problem_response
from lightning_state.serve.resource import OPERATION
from lightning_state.serve.routes.batches import Batches
from lightning_state.serve.routes.cache import Caches
from lightning_state.serve.routes.health import Health
from lightning_state.serve.routes.lists import Lists
from lightning_state.serve.routes.states import States
from lightning_state.serve.routes.verl import VerlCalls

_STATE_ENVELOPE_BYTES = 4096
"""Room for what a sent state has beyond the stored one: version, time, white space."""

_LARGE = re.compile(r"/v1/(?:[^/]+:batch(?:Get|Set)|verl/[^/]+)")
"""Paths whose bodies hold many states."""

_GIVEN_UP = 499


def build_app(
    client: AsyncStateClient,
    token_digest: bytes,
    limits: Limits,
    *,
    replica: str = "local",
    body_within_s: float = BODY_WITHIN_S,
) -> ASGIApp:
    """The application over a client, for those who bear the token with this digest.

    `limits` are the service's own. Belongs to the event loop that first runs it, like the client.
    """
    paths.register()
    metrics = RequestMetrics(replica)
    context = Context(client, Categories(client), limits, metrics, replica)
    app = FastAPI(title="lightning-state", openapi_url=None, redirect_slashes=False)
    nouns = (States, Lists, Batches, Caches, VerlCalls, Health)
    for noun in nouns:
        app.router.routes.extend(noun(context).routes())
    app.router.default = _no_such_route
    bounded = BodyLimits(app, _most_bytes(limits), within_s=body_within_s)
    return Answering(Authentication(bounded, token_digest), metrics)


class Answering:
    """Outermost: answers what was raised before or beside a route, and counts every request."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; a WebSocket is closed, for there are none here."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        status = _GIVEN_UP

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began_s = time.perf_counter()
        self._metrics.began()
        try:
            await self._answer(scope, receive, noting)
        finally:
            self._metrics.ended(scope.get(OPERATION, "none"), status, time.perf_counter() - began_s)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except LightningStateError as error:
            await problem_response(error)(scope, receive, send)


async def _no_such_route(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await problem_response(NoSuchRouteError())(scope, receive, send)


def _most_bytes(limits: Limits) -> Callable[[str], int]:
    def most(path: str) -> int:
        if _LARGE.fullmatch(path):
            return limits.frame_bytes
        return limits.state_bytes + _STATE_ENVELOPE_BYTES

    return most
