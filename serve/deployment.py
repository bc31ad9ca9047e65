"""The Serve deployment: replicas that each are a client of the shards, one to five of them by their load."""

from __future__ import annotations

from typing import Any, cast

from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.limits import Limits
from lightning_state.serve.app import build_app

MOST_REPLICAS = 5
_ONGOING_EACH = 16.0
"""Requests under way in a replica that are too many in the long run: another one is started."""

_MOST_ONGOING = 1_000
"""Beyond that many in one replica, requests wait in its queue."""

_MOST_QUEUED = 4_000
"""Beyond that many waiting, Serve answers 503 with Retry-After itself."""


class HttpReplica:
    """One replica. Holds no state: it may die at any time, and HAProxy sends what comes next to another."""

    def __init__(self, service: str, token_digest: bytes, limits: dict[str, Any]) -> None:
        self._client = AsyncStateClient.connect(service)
        self._digest = token_digest
        self._limits = Limits.model_validate(limits)

    def __repr__(self) -> str:
        return f"<HttpReplica of {self._client!r}>"

    def __serve_build_asgi_app__(self) -> ASGIApp:  # the name Serve calls
        """The application of this replica."""
        replica = serve.get_replica_context().replica_id.unique_id
        return build_app(self._client, self._digest, self._limits, replica=replica)


def application(service: str, token_digest: bytes, limits: Limits, *, most_replicas: int = MOST_REPLICAS) -> Any:
    """What `serve.run` runs."""
    deployment = serve.deployment(name="http", **deployment_options(most_replicas))
    ingress = cast("Any", serve.ingress())
    return cast("Any", deployment(ingress(HttpReplica))).bind(service, token_digest, limits.model_dump())


def deployment_options(most_replicas: int = MOST_REPLICAS) -> dict[str, Any]:
    """How replicas are scaled, queued for and checked; what the benchmark compares with is deployed with the same."""
    autoscaling = AutoscalingConfig(
        min_replicas=1,
        max_replicas=most_replicas,
        target_ongoing_requests=_ONGOING_EACH,
        look_back_period_s=10.5,  # the least that Serve takes without a warning
        upscale_delay_s=3.0,
        downscale_delay_s=60.0,
    )
    return {
        "autoscaling_config": autoscaling,
        "max_ongoing_requests": _MOST_ONGOING,
        "max_queued_requests": _MOST_QUEUED,
        # A replica mostly waits for shards, and a machine of two processors must have room for five.
        "ray_actor_options": {"num_cpus": 0.01},
        "graceful_shutdown_timeout_s": 5.0,
        "health_check_period_s": 2.0,
        "health_check_timeout_s": 10.0,
        "logging_config": LoggingConfig(enable_access_log=False),
    }
