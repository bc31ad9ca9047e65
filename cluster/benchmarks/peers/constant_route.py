"""A FastAPI route that returns a constant, on the same Ray Serve and HAProxy, deployed with the service's own options.

Imports Serve: three seconds, when HTTP runs already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from fastapi import FastAPI
from ray import serve
from starlette.types import ASGIApp

from lightning_state.cluster.benchmarks.http_load import connections, request
from lightning_state.cluster.benchmarks.measuring import Operation, Round, in_flight, run
from lightning_state.serve.deployment import deployment_options

PREFIX = "/constant"

_APPLICATION = "constant-route"
_WARM_UP = 100


class ConstantReplica:
    """One replica."""

    def __serve_build_asgi_app__(self) -> ASGIApp:  # the name Serve calls
        """Its application."""
        app = FastAPI()
        app.add_api_route("/", _constant)
        return app


async def _constant() -> dict[str, str]:
    return {"hello": "world"}


def application() -> Any:
    """What `serve.run` runs."""
    deployment = serve.deployment(name="constant", **deployment_options())
    ingress = cast("Any", serve.ingress())
    return cast("Any", deployment(ingress(ConstantReplica))).bind()


def replicas(name: str) -> int:
    """How many replicas an application runs in now."""
    deployments = serve.status().applications[name].deployments.values()
    # Their keys are strings, whatever Serve's annotation says.
    return sum(cast("dict[str, int]", each.replica_states).get("RUNNING", 0) for each in deployments)


class ConstantRoutePeer:
    """The route, beside the service's. Use it as a context manager."""

    name = "constant route"

    def __init__(self, host: str, port: int, *, calls: int, in_flight: int, lanes: int) -> None:
        self._host = host
        self._port = port
        self._calls = calls
        self._in_flight = in_flight
        self._lanes = lanes
        self._request = request("GET", f"{PREFIX}/", f"{host}:{port}")

    def __enter__(self) -> Self:
        serve.run(application(), name=_APPLICATION, route_prefix=PREFIX)
        return self

    def __exit__(self, *_: object) -> None:
        serve.delete(_APPLICATION)

    def warm_up(self) -> None:
        """Ask it on as many connections as are used later."""
        run(self._ask(_WARM_UP, self._lanes))

    def operations(self) -> Mapping[str, Operation]:
        """Reading is all it can do."""
        return {
            "get": lambda: run(self._ask(self._calls, 1)),
            "32 connections get": lambda: run(self._ask(self._in_flight, self._lanes)),
        }

    def replicas(self) -> int:
        """How many it runs in now."""
        return replicas(_APPLICATION)

    async def _ask(self, calls: int, lanes: int) -> Round:
        async with connections(self._host, self._port, lanes) as opened:
            return await in_flight(lambda lane, _turn: opened[lane].ask(self._request), calls, lanes)
