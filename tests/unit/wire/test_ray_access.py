"""How to join a running service: only while the very process that started it is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from lightning_state.actors.processes import start_time_ticks
from lightning_state.actors.wire.ray_access import (
    RayAccess,
    access_file,
    forget_access,
    read_access,
    write_access,
)


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def access(pid: int, started_ticks: int | None) -> RayAccess:
    return RayAccess("default", "127.0.0.1:1", "token", pid, started_ticks or 0, "/data")


def test_what_this_process_started_is_found_until_it_is_forgotten() -> None:
    mine = access(os.getpid(), start_time_ticks(os.getpid()))
    write_access(mine)
    assert read_access("default") == mine
    forget_access("default")
    assert read_access("default") is None


def test_another_process_under_a_reused_pid_is_not_the_service() -> None:
    mine = access(os.getpid(), start_time_ticks(os.getpid()))
    write_access(msgspec.structs.replace(mine, started_ticks=mine.started_ticks - 1))
    assert read_access("default") is None


def test_a_process_that_ended_but_was_not_collected_runs_no_service() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        write_access(access(child.pid, start_time_ticks(child.pid)))
        assert read_access("default") is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert read_access("default") is None


@pytest.mark.parametrize("data", [b"", b"noise", b'{"service":"\xff"}', b'{"service": "default", "pid": 1}'])
def test_a_damaged_file_is_no_service(data: bytes) -> None:
    access_file("default").parent.mkdir(parents=True)
    access_file("default").write_bytes(data)
    assert read_access("default") is None
