"""How long starting takes, from the command until what it starts can be used: each in a process of its own.

`lightning-state up`, ready for states and for HTTP, beside the least that a user of Ray and of Ray Serve starts.

    python -m lightning_state.cluster.benchmarks.starting ray
    python -m lightning_state.cluster.benchmarks.starting constant-route PORT
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lightning_state.cluster.benchmarks.errors import BenchmarkError
from lightning_state.cluster.benchmarks.measuring import Record
from lightning_state.serve.environment import free_port, prepare_serve

_READY = "ready"
_READY_WITHIN_S = 180.0
_ENDS_WITHIN_S = 60.0
_ITSELF = "lightning_state.cluster.benchmarks.starting"
_OF_A_RAY = ("RAY_ADDRESS", "RAY_AUTH_MODE")
"""What this process's own Ray has left in the environment: a child must start as one that a person starts."""


def start_in_turns(directory: Path, rounds: int, record: Record) -> None:
    """Start and end each, so many rounds. Raises BenchmarkError for one that does not become ready."""
    for turn in range(rounds):
        for name, command in _commands(directory, turn):
            record.value(f"{name}/up", ready_after_s(command, directory), "s")


def _commands(directory: Path, turn: int) -> list[tuple[str, Sequence[str]]]:
    up = ("lightning_state.cluster.cli", "up", "--service", f"benchmark-{os.getpid()}-up", "--data-dir")
    return [
        ("bare ray", (_ITSELF, "ray")),
        ("service", (*up, str(directory / f"up-{turn}"))),
        ("constant route", (_ITSELF, "constant-route", str(free_port()))),
        ("http", (*up, str(directory / f"up-http-{turn}"), "--http-port", str(free_port()))),
    ]


def ready_after_s(command: Sequence[str], directory: Path) -> float:
    """Seconds from starting `python -m command` until it says a line with "ready"; it is ended then.

    Raises BenchmarkError when it ends without, or takes longer than three minutes.
    """
    log = directory / "starting.log"
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_RAY}
    began_s = time.monotonic()
    with (
        log.open("w") as errors,
        subprocess.Popen(  # noqa: S603  # this package's own modules
            [sys.executable, "-m", *command],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        impatient = threading.Timer(_READY_WITHIN_S, process.kill)
        impatient.start()
        try:
            assert process.stdout is not None  # noqa: S101  # it is a pipe
            ready = any(_READY in line for line in process.stdout)
            taken_s = time.monotonic() - began_s
        finally:
            impatient.cancel()
            _end(process)
    if not ready:
        last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise BenchmarkError(f"`{' '.join(command)}` did not become ready: {last}")
    return taken_s


def _end(process: subprocess.Popen[str]) -> None:
    """As Ctrl-C does; a Ray that is left behind would be measured with the next one."""
    process.terminate()
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()


def main(arguments: Sequence[str]) -> int:
    """A child: start a Ray, or a constant route as well, say so, and wait for the end."""
    if arguments[0] == "constant-route":
        prepare_serve()
    import ray  # noqa: PLC0415  # after the environment it reads

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    if arguments[0] == "constant-route":
        _serve_constant_route(int(arguments[1]))
    sys.stdout.write(f"{_READY}\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt, SystemExit):  # SIGTERM: Ray's handler raises SystemExit
        threading.Event().wait()
    ray.shutdown()
    return 0


def _serve_constant_route(port: int) -> None:
    import httpx  # noqa: PLC0415  # this child alone needs them
    from ray import serve  # noqa: PLC0415

    from lightning_state.cluster.benchmarks.peers.constant_route import PREFIX, application  # noqa: PLC0415

    for name in ("ray.serve", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.ERROR)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    serve.run(application(), name="constant-route", route_prefix=PREFIX)
    deadline_s = time.monotonic() + _READY_WITHIN_S
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline_s:
            with suppress(httpx.HTTPError):
                if client.get(f"http://127.0.0.1:{port}{PREFIX}/").is_success:
                    return
            time.sleep(0.05)
    raise BenchmarkError("the constant route does not answer")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
