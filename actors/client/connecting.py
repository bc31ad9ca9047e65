"""Joining Ray and finding a service on it."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any, cast

import ray
from ray import _raylet
from ray.exceptions import RayError

from lightning_state.actors.errors import ServiceNotFoundError, ShardUnavailableError, UnauthenticatedError
from lightning_state.actors.wire.actor_calls import ActorCalls
from lightning_state.actors.wire.names import NAMESPACE, directory_name
from lightning_state.actors.wire.ray_access import read_access

logger = logging.getLogger(__name__)

_REACHABLE_S = 3.0
_SLOW = "Timed out while waiting for GCS"
"""In the reason Ray gives when its control store takes connections and answers none in time: it may be busy."""


def join(service: str, address: str | None, token: str | None) -> ActorCalls:
    """Calls to the actors of a service that runs. Raises ServiceNotFoundError when it, or Ray, is not to be found."""
    if token is not None:
        raise UnauthenticatedError(f"service {service!r} authenticates nobody by token: connect without one")
    join_ray(address, service=service)
    calls = ActorCalls()
    try:
        calls.find(directory_name(service))
    except ShardUnavailableError as error:
        raise ServiceNotFoundError(
            f"no service {service!r} runs on this Ray cluster: start one with `lightning-state up`"
        ) from error
    return calls


def join_ray(address: str | None = None, *, service: str = "default") -> None:
    """Join a Ray cluster unless this process is in one already.

    That at `address`; by default the one on which this user started the service, else the one of this machine. The
    auth mode must equal the cluster's own, else Ray fails only after 20 s: whoever started the service wrote it down.
    A control store that is reached and answers too late is asked once more. Raises ServiceNotFoundError.
    """
    if ray.is_initialized():
        _check_same(address)
        return
    access = read_access(service)
    if access is not None and address in (None, access.address):
        address = access.address
        _use_auth_mode(access.auth_mode)
    where = address or os.environ.get("RAY_ADDRESS") or "auto"
    _check_reachable(where)
    for is_last in (False, True):
        try:
            ray.init(address=where, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
            ray.shutdown()  # what a try that failed half-way has left
            reason = str(error).strip().split("\n", 1)[0]
            if _SLOW in reason and not is_last:
                logger.warning("Ray at %s did not answer, trying once more: %s", where, reason)
                continue
            raise ServiceNotFoundError(
                f"cannot join Ray at {where!r} ({reason}): "
                "start a service with `lightning-state up`, or pass its address"
            ) from error
        else:
            return


def _check_same(address: str | None) -> None:
    """A process is in one Ray cluster at a time: another address must not be taken for this one in silence."""
    joined = ray.get_runtime_context().gcs_address
    port = (address or "").rpartition(":")[2]
    if port.isdigit() and "://" not in str(address) and port != joined.rpartition(":")[2]:
        raise ServiceNotFoundError(
            f"this process is connected to Ray at {joined} and cannot join {address} as well: connect from another one"
        )


def _use_auth_mode(mode: str) -> None:
    """Ray reads RAY_AUTH_MODE when it is imported; this is how its own init() changes it afterwards."""
    if os.environ.get("RAY_AUTH_MODE") != mode:
        os.environ["RAY_AUTH_MODE"] = mode
        cast("Any", _raylet).Config.initialize("")  # private, and the only way


def _check_reachable(where: str) -> None:
    """Ray itself waits long for a host that does not answer."""
    host, _, port = where.rpartition(":")
    if "://" in where or not port.isdigit() or not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHABLE_S).close()
    except OSError as error:
        raise ServiceNotFoundError(
            f"nothing answers at {where}: is that the address that `lightning-state status` shows?"
        ) from error
