"""`up`, `down` and `status`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec
from rich.console import Console

from lightning_state.actors.client.connecting import join_ray
from lightning_state.actors.errors import ShardUnavailableError
from lightning_state.actors.processes import has_ended
from lightning_state.actors.wire.ray_access import read_access, write_access
from lightning_state.cluster.cli.status_view import view, watch_service
from lightning_state.cluster.report import report
from lightning_state.cluster.service import start, stop_service

_STOPPED_WITHIN_S = 30.0
_POLL_S = 0.05


def up(
    *,
    data_dir: Path | None = None,
    service: str | None = None,
    shards: int | None = None,
    address: str | None = None,
    http_port: int | None = None,
    http_host: str | None = None,
) -> int:
    """Start a service and keep it running until Ctrl-C.

    Parameters
    ----------
    data_dir
        Where its files are; made if it is new. Default: .lightning-state here.
    service
        Its name, for several services on one Ray.
    shards
        Shard actors of a new service; an existing one keeps its number.
    address
        The Ray to run on; default: a local one, which ends with this command.
    http_port
        Serve HTTP on this port too; default: no HTTP.
    http_host
        The address HTTP listens on; default: 127.0.0.1, this machine only.
    """
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    _on_end_signals(stop)  # from the first moment on: half a Ray, interrupted, leaves processes behind
    began_s = time.monotonic()
    sys.stderr.write("starting …\n")
    with start(
        data_dir=data_dir, service=service, shards=shards, address=address, http_port=http_port, http_host=http_host
    ) as running:
        _on_end_signals(stop)  # Ray has put its own in place meanwhile
        _say_command(running.name)
        sys.stdout.write(
            f"lightning-state {running.name!r} is ready after {time.monotonic() - began_s:.1f} s: "
            f"{running.settings.shards} shards, data in {running.settings.data_dir}, Ray at {running.runtime.address}\n"
            "Ctrl-C stops it; `lightning-state status` shows it.\n"
        )
        if running.http is not None:
            sys.stdout.write(f"HTTP: {running.http.url_with_token}\n")
        sys.stdout.flush()
        stopping.wait()
        sys.stderr.write("stopping …\n")
    sys.stderr.write("stopped\n")
    return 0


def down(*, service: str = "default", address: str | None = None) -> int:
    """Stop a running service. Every acknowledged write stays in its data directory.

    Parameters
    ----------
    service
        Its name.
    address
        The Ray it runs on; default: where this user started it.
    """
    access = read_access(service)
    if access is not None and access.is_command and address in (None, access.address):
        os.kill(access.pid, signal.SIGTERM)
        _wait_until_ended(service, access.pid)
    else:
        join_ray(address, service=service)
        report(service)  # says so when there is no such service
        stop_service(service)
    sys.stdout.write(f"{service} is stopped\n")
    return 0


def status(*, service: str = "default", address: str | None = None, json: bool = False, watch: bool = False) -> int:
    """Show a running service: shards, epochs, keys, latencies, validators, memory, alerts.

    Parameters
    ----------
    service
        Its name.
    address
        The Ray it runs on; default: where this user started it.
    json
        Print JSON instead of tables; with --watch, one line each time.
    watch
        Show it again every second until Ctrl-C.
    """
    join_ray(address, service=service)
    if watch:
        return watch_service(service, json=json)
    found = report(service)
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        Console().print(view(found))
    return 0 if found.healthy else 1


def _on_end_signals(stop: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _say_command(service: str) -> None:
    access = read_access(service)
    if access is not None:
        write_access(msgspec.structs.replace(access, is_command=True))


def _wait_until_ended(service: str, pid: int) -> None:
    deadline_s = time.monotonic() + _STOPPED_WITHIN_S
    while not has_ended(pid):
        if time.monotonic() > deadline_s:
            raise ShardUnavailableError(f"process {pid}, which runs {service!r}, did not stop: end it yourself")
        time.sleep(_POLL_S)
