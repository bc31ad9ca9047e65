"""Joins a running Ray or starts one."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import ray

from lightning_state.actors.errors import ServiceNotFoundError
from lightning_state.actors.wire.names import NAMESPACE
from lightning_state.actors.wire.ray_access import read_access

_LOCAL = "local"


@dataclass(frozen=True)
class RayRuntime:
    """The Ray this process is connected to."""

    address: str
    auth_mode: str
    started_here: bool
    """Whether this process started the cluster: then it ends with this process."""

    def leave(self) -> None:
        """Disconnect; a cluster started here ends."""
        if self.started_here and ray.is_initialized():
            ray.shutdown()


def join_ray(address: str | None, service: str) -> RayRuntime:
    """Use the Ray this process is connected to, else join `address`, else start a local cluster.

    "auto" joins this machine's running cluster, and fails without one; "local" always starts one. Raises
    ServiceNotFoundError when the cluster named cannot be joined.
    """
    if ray.is_initialized():
        return RayRuntime(ray.get_runtime_context().gcs_address, _auth_mode(), started_here=False)
    access = read_access(service)
    if address is None and access is not None:
        address = access.address
    if address is None or address == _LOCAL:
        return _start_ray()
    if access is not None and access.address == address:
        os.environ["RAY_AUTH_MODE"] = access.auth_mode
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ServiceNotFoundError(
            f"no Ray cluster answers at {address!r}: start one, or leave the address out to get a local one ({error})"
        ) from error
    return RayRuntime(ray.get_runtime_context().gcs_address, _auth_mode(), started_here=False)


def _start_ray() -> RayRuntime:
    # Ray's ports let whoever reaches them run code: a cluster started here asks for a token, kept in the user's home.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    ray.init(
        address=_LOCAL,
        namespace=NAMESPACE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    return RayRuntime(ray.get_runtime_context().gcs_address, _auth_mode(), started_here=True)


def _auth_mode() -> str:
    return os.environ.get("RAY_AUTH_MODE", "disabled")
