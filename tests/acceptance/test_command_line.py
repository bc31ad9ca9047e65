"""The command line as a person uses it: one service, started by `up`, used by the others, stopped without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.processes import descendants, is_alive

COMMAND = [sys.executable, "-m", "lightning_state.cluster.cli"]
GONE_WITHIN_S = 60.0


class Terminal:
    """A directory and an environment of its own to run commands in."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "XDG_STATE_HOME": str(directory / "state"), "COLUMNS": "120"}
        self.environment.pop("RAY_AUTH_MODE", None)  # as a person has it: Ray's default for a local cluster

    def run(self, *arguments: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def up(self) -> Generator[subprocess.Popen[str]]:
        """`up`, once it has said that it is ready."""
        with (
            (self.directory / "up.err").open("w") as errors,
            subprocess.Popen(
                [*COMMAND, "up"],
                cwd=self.directory,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                assert "is ready" in process.stdout.readline(), (self.directory / "up.err").read_text()
                yield process
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Terminal:
    return Terminal(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def running(terminal: Terminal) -> Iterator[subprocess.Popen[str]]:
    with terminal.up() as process:
        yield process


pytestmark = pytest.mark.timeout(240)


@pytest.mark.usefixtures("running")
def test_a_state_goes_in_and_comes_out(terminal: Terminal) -> None:
    stored = terminal.run("set", "agents", "a-1", '{"agentType": "researcher"}')
    assert (stored.returncode, json.loads(stored.stdout)["version"]) == (0, 1)
    read = json.loads(terminal.run("get", "agents", "a-1").stdout)
    assert (read["agentType"], read["status"], read["version"]) == ("researcher", "Initializing", 1)
    listed = json.loads(terminal.run("list", "agents", "--where", "status=Initializing", "--json").stdout)
    assert [state["agentId"] for state in listed["states"]] == ["a-1"]
    assert "a-1" in terminal.run("list", "agents").stdout
    changed = terminal.run("set", "agents", "a-1", "-", typed=json.dumps({**read, "status": "Ready"}))
    assert json.loads(changed.stdout)["version"] == 2


@pytest.mark.usefixtures("running")
def test_status_shows_shards_validators_and_categories(terminal: Terminal) -> None:
    shown = terminal.run("status", "--json")
    found = json.loads(shown.stdout)
    assert shown.returncode == 0, shown.stderr
    assert [shard["state"] for shard in found["shards"]] == ["serving", "serving"]
    assert found["categories"] == ["agents", "research", "verifications"]
    assert len(found["validators"]) == 1
    assert "serving" in terminal.run("status").stdout


@pytest.mark.usefixtures("running")
def test_watching_the_status_goes_on_until_ctrl_c_even_where_the_shell_ignores_it(terminal: Terminal) -> None:
    with subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *COMMAND, "status", "--watch", "--json"],
        cwd=terminal.directory,
        env=terminal.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        shown = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    assert all(shard["figures"]["memory"]["total_bytes"] > 0 for report in shown for shard in report["shards"])


@pytest.mark.usefixtures("running")
def test_verify_says_what_a_write_would_meet_and_writes_nothing(terminal: Terminal) -> None:
    refused = terminal.run("verify", "agents", "new", '{"agentType": "x", "status": "Completed"}')
    assert refused.returncode == 1
    assert "would be refused" in refused.stdout
    accepted = terminal.run("verify", "agents", "new", '{"agentType": "x"}', "--json")
    assert (accepted.returncode, json.loads(accepted.stdout)["confidence"]) == (0, 1.0)
    assert terminal.run("get", "agents", "new").returncode == 1


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("arguments", "code", "exit_status"),
    [
        (["get", "agents", "nobody"], "not_found", 1),
        (["get", "nothing", "x"], "unknown_category", 1),
        (["get", "agents", "a b"], "invalid_key", 1),
        (["set", "agents", "x", "{"], "invalid_state", 1),
        (["set", "agents", "x", "@no-such-file"], "invalid_state", 1),
        (["set", "agents", "x", '{"agentId": "y", "agentType": "t"}'], "invalid_state", 1),
        (["set", "agents", "x", '{"agentType": "t", "extra": 1}'], "invalid_state", 1),
        (["set", "agents", "x", '{"agentType": "t", "version": 3}'], "version_conflict", 1),
        (["list", "agents", "--where", "nope=1"], "invalid_state", 1),
        (["up"], "data_directory", 1),
        (["get", "agents"], "", 2),
        (["no-such-command"], "", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_bad_input_says_what_is_wrong(terminal: Terminal, arguments: list[str], code: str, exit_status: int) -> None:
    said = terminal.run(*arguments)
    assert said.returncode == exit_status, said.stderr
    assert "Traceback" not in said.stderr
    if code:
        assert f"[{code}]" in said.stderr


def test_down_stops_it_and_nothing_is_left_running_and_nothing_is_lost(
    terminal: Terminal, running: subprocess.Popen[str]
) -> None:
    family = descendants(running.pid)
    assert family
    stopped = terminal.run("down")
    assert (stopped.returncode, stopped.stdout) == (0, "default is stopped\n"), stopped.stderr
    assert running.wait(timeout=30) == 0
    _wait_until_gone(family)
    assert "service_not_found" in terminal.run("status").stderr


def test_ctrl_c_stops_up_cleanly_and_its_data_is_there_the_next_time(terminal: Terminal) -> None:
    with terminal.up() as process:
        kept = terminal.run("get", "agents", "a-1")
        assert json.loads(kept.stdout)["version"] == 2
        family = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        _wait_until_gone(family)
    assert "Traceback" not in (terminal.directory / "up.err").read_text()


def _wait_until_gone(family: set[int]) -> None:
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while left := {pid for pid in family if is_alive(pid)}:
        names = [Path(f"/proc/{pid}/cmdline").read_bytes()[:80] for pid in left if is_alive(pid)]
        assert time.monotonic() < deadline_s, names
        time.sleep(0.05)
