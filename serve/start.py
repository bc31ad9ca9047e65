"""Starts and stops HTTP for a running service. Ray Serve is imported here, when it is needed: that takes seconds."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import ray
from ray.exceptions import RayError

from lightning_state.actors.limits import Limits
from lightning_state.serve.errors import HttpUnavailableError, PortInUseError
from lightning_state.serve.tokens import digest_of, read_or_make_token

_READY_WITHIN_S = 60.0
_STOPPED_WITHIN_S = 30.0
_POLL_S = 0.05
_KEEP_ALIVE_S = 75

_EVERYWHERE = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104  # compared with, not bound to


@dataclass(frozen=True)
class HttpEndpoint:
    """Where a service answers HTTP, and the token it asks for."""

    service: str
    host: str
    port: int
    token: str = field(repr=False)

    def __repr__(self) -> str:
        return f"<HttpEndpoint {self.service} {self.url}>"

    @property
    def url(self) -> str:
        """The base address."""
        host = "127.0.0.1" if self.host in _EVERYWHERE else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def url_with_token(self) -> str:
        """For a browser, as notebooks print it. Whoever has this may do anything to the service's states."""
        return f"{self.url}/?token={self.token}"


def start_http(
    service: str, data_dir: Path, port: int, host: str = "127.0.0.1", limits: Limits | None = None
) -> HttpEndpoint:
    """Serve a running service over HTTP and wait until requests are answered.

    The token is in the data directory, made at the first start. Raises PortInUseError, HttpUnavailableError when this
    Ray's Serve has another port or another application at /, or when it does not become ready; DataDirectoryError.
    """
    from ray import serve  # noqa: PLC0415  # three seconds that only those who want HTTP pay

    token = read_or_make_token(data_dir)
    _check_serve(host, port)
    from lightning_state.serve.deployment import application  # noqa: PLC0415  # it imports Serve

    try:
        _quiet()
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": host, "port": port, "keep_alive_timeout_s": _KEEP_ALIVE_S},
        )
        serve.run(
            application(service, digest_of(token), limits or Limits()),
            name=application_name(service),
            route_prefix="/",
        )
    except (RayError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise HttpUnavailableError(f"Ray Serve did not start HTTP on {host}:{port}: {reason}") from error
    endpoint = HttpEndpoint(service, host, port, token)
    _wait_until_ready(endpoint)
    return endpoint


def stop_http(service: str) -> None:
    """End a service's HTTP, and Serve itself when nothing else uses it."""
    from ray import serve  # noqa: PLC0415  # as above

    _quiet()
    applications = set(serve.status().applications)
    if applications <= {application_name(service)}:
        _end_controller()
        serve.shutdown()  # ends what is left, and forgets the controller
    else:
        serve.delete(application_name(service))


def application_name(service: str) -> str:
    """The service's Serve application."""
    return f"lightning-state-{service}"


def _end_controller() -> None:
    """Have Serve's controller end everything and itself, and wait for that.

    `serve.shutdown` waits within a call to the controller, which fails when the controller ends: Ray then prints an
    error to stdout of every connected process.
    """
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE  # noqa: PLC0415  # as above

    deadline_s = time.monotonic() + _STOPPED_WITHIN_S
    with contextlib.suppress(RayError, ValueError):  # it has ended: there is no such actor
        controller = cast("Any", ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE))
        ray.get(controller.graceful_shutdown.remote(wait=False), timeout=_STOPPED_WITHIN_S)
        while time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
            ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)


def _check_serve(host: str, port: int) -> None:
    """One Serve a Ray has one HTTP port: ours is new, or runs already where it is wanted."""
    from ray.serve.context import _get_global_client  # noqa: PLC0415  # Serve says it nowhere in public

    running = cast("Any", _get_global_client)(raise_if_no_controller_running=False)
    if running is None:
        check_port_free(host, port)
        return
    its_port = running.http_config.port
    if its_port != port:
        raise HttpUnavailableError(
            f"Ray Serve runs already on this Ray, on port {its_port}: use that one, or end it with `serve shutdown`"
        )


def check_port_free(host: str, port: int) -> None:
    """Raises PortInUseError when somebody listens on it, or this user may not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(
                f"port {port} of {host} cannot be used for HTTP ({error.strerror}): stop what listens there, "
                "or choose another with --http-port (http_port=)",
                host=host,
                port=port,
            ) from error


def _wait_until_ready(endpoint: HttpEndpoint) -> None:
    deadline_s = time.monotonic() + _READY_WITHIN_S
    reason = "no answer"
    with httpx.Client(base_url=endpoint.url, timeout=5.0, trust_env=False) as http:
        while time.monotonic() < deadline_s:
            with contextlib.suppress(httpx.HTTPError):
                answer = http.get("/readyz")
                if answer.is_success:
                    return
                reason = f"status {answer.status_code}"
            time.sleep(_POLL_S)
    raise HttpUnavailableError(f"{endpoint.url} is not ready after {_READY_WITHIN_S:.0f} s: {reason}")


def _quiet() -> None:
    """Serve tells every step to whoever starts it."""
    for name in ("ray.serve", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.ERROR)
