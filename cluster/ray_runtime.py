"""Joins a running Ray or starts one."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import ray

from lightning_state.actors.client.connecting import join_ray
from lightning_state.actors.errors import ServiceNotFoundError
from lightning_state.actors.wire.names import NAMESPACE
from lightning_state.actors.wire.ray_access import read_access
from lightning_state.serve.environment import prepare_serve

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayRuntime:
    """The Ray this process is connected to."""

    address: str
    auth_mode: str
    started_here: bool
    """Whether this process started the cluster: then it ends with this process."""

    def leave(self) -> None:
        """End a cluster that was started here; one that was joined stays connected."""
        if self.started_here and ray.is_initialized():
            ray.shutdown()


def join_or_start_ray(address: str | None, service: str, *, with_http: bool = False) -> RayRuntime:
    """Use the Ray this process is connected to, else join `address`, else start a local cluster, ready for HTTP or not.

    "auto" joins this machine's running cluster, and fails without one. Raises ServiceNotFoundError when the cluster
    named cannot be joined.
    """
    if not ray.is_initialized() and address is None and read_access(service) is None:
        if with_http:
            prepare_serve()  # every process of the new cluster reads it; one that runs keeps its own
        return _start_ray()
    join_ray(address, service=service)
    return RayRuntime(ray.get_runtime_context().gcs_address, _auth_mode(), started_here=False)


def _start_ray() -> RayRuntime:
    """A local cluster. Ray gives a node 30 s to start, which a busy machine may exceed: it gets a second try."""
    for is_last in (False, True):
        try:
            _init_ray()
        except Exception as error:  # Ray raises bare Exceptions for a node that does not start
            ray.shutdown()
            if is_last:
                reason = str(error).strip().split("\n", 1)[0]
                raise ServiceNotFoundError(
                    f"Ray did not start on this machine ({reason}): it may be too busy, try again"
                ) from error
            logger.warning("Ray did not start, trying once more: %s", error)
        else:
            break
    return RayRuntime(ray.get_runtime_context().gcs_address, _auth_mode(), started_here=True)


def _init_ray() -> None:
    # Ray's ports let whoever reaches them run code. Unless RAY_AUTH_MODE says otherwise, Ray makes a local cluster ask
    # for a token, which it keeps in the user's home.
    ray.init(
        address="local",
        namespace=NAMESPACE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _auth_mode() -> str:
    return os.environ.get("RAY_AUTH_MODE", "disabled")
