"""The service is reached by name from wherever Ray code runs (design: any Ray job, task, actor or notebook)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
import ray
from tests.service_processes import descendants, end_all
from tests.waiting import until

from lightning_state import AgentState, AgentStatus, AsyncStateClient, ServiceNotFoundError, StateClient
from lightning_state.cluster.service import Service


@ray.remote(num_cpus=0, max_retries=0)
def set_from_a_task(service: str, key: str) -> AgentState:
    with StateClient.connect(service) as client:
        return client.agents.set(AgentState(agent_id=key, agent_type="task"))


@ray.remote(num_cpus=0, max_retries=0)
def get_through(client: StateClient, key: str) -> AgentState:
    with client:
        return client.agents.get(key)


@ray.remote(num_cpus=0)
class SyncUser:
    def __init__(self, service: str) -> None:
        self.client = StateClient.connect(service)

    def ready(self, key: str) -> AgentState:
        return self.client.agents.update_status(key, AgentStatus.READY)


@ray.remote(num_cpus=0)
class AsyncUser:
    async def ready(self, service: str, key: str) -> AgentState:
        async with AsyncStateClient.connect(service) as client:
            return await client.agents.update_status(key, AgentStatus.READY)


def test_from_a_task_and_with_a_client_pickled_into_one(service: Service, client: StateClient, key: str) -> None:
    stored = ray.get(set_from_a_task.remote(service.name, key))
    assert (stored.version, client.agents.get(key)) == (1, stored)
    assert ray.get(get_through.remote(client, key)) == stored
    assert client.agents.get(key) == stored  # the one that was pickled is still open


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync actor", "async actor"])
def test_from_an_actor(service: Service, client: StateClient, key: str, *, asynchronous: bool) -> None:
    client.agents.set(AgentState(agent_id=key, agent_type="t"))
    stored: Any
    if asynchronous:
        user: Any = AsyncUser.remote()
        stored = ray.get(user.ready.remote(service.name, key))
    else:
        user = SyncUser.remote(service.name)
        stored = ray.get(user.ready.remote(key))
    assert (stored.version, stored.status) == (2, AgentStatus.READY)
    assert client.agents.get(key) == stored
    ray.kill(user)


CONNECT = """
import sys, time
from lightning_state import AgentState, ServiceNotFoundError, StateClient
service, address, key = sys.argv[1:]
began_s = time.monotonic()
try:
    StateClient.connect(service, address="127.0.0.1:1")
except ServiceNotFoundError as error:
    assert time.monotonic() - began_s < 5, "slow to say that nothing is there"
    print(error.code)
with StateClient.connect(service, address=address or None) as client:
    print(client.agents.set(AgentState(agent_id=key, agent_type="process")).version)
    try:
        StateClient.connect("no-such-service")
    except ServiceNotFoundError as error:
        print(error.code)
"""


@pytest.mark.parametrize("named", [True, False], ids=["by address", "by what start() wrote down"])
def test_from_another_process(service: Service, client: StateClient, key: str, *, named: bool) -> None:
    address = service.runtime.address if named else ""
    child = subprocess.run(
        [sys.executable, "-c", CONNECT, service.name, address, key],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert child.stdout.split() == ["service_not_found", "1", "service_not_found"], child.stderr[-2000:]
    assert client.agents.get(key).agent_type == "process"


def test_another_cluster_is_not_mistaken_for_the_one_at_hand(service: Service) -> None:
    for address in ("127.0.0.1:1", "192.0.2.77:6379"):
        began_s = time.monotonic()
        with pytest.raises(ServiceNotFoundError, match="cannot join"):
            StateClient.connect(service.name, address=address)
        assert time.monotonic() - began_s < 5
    with StateClient.connect(service.name, address=service.runtime.address) as same:
        assert same.agents.list(limit=1).states is not None
    with pytest.raises(ServiceNotFoundError):
        StateClient.connect("no-such-service")


STARTER = """
import sys
from lightning_state import start
address, data_dir = sys.argv[1:]
start(address=address, data_dir=data_dir, service="submitted", shards=1)  # not stopped: it outlives this process
"""

JOB = """
from lightning_state import AgentState, StateClient
with StateClient.connect("submitted") as client:
    print("version", client.agents.set(AgentState(agent_id="from-a-job", agent_type="job")).version)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def own_cluster(environment: dict[str, str]) -> Generator[tuple[str, str]]:
    """A Ray with a dashboard in a process group of its own: its address and the dashboard's."""
    port, dashboard = free_port(), free_port()
    ray_command = str(Path(sys.executable).with_name("ray"))
    with tempfile.TemporaryDirectory(prefix="lsj", dir="/tmp", ignore_cleanup_errors=True) as directory:
        flags = f"--head --block --port={port} --dashboard-port={dashboard} --ray-client-server-port={free_port()}"
        more = (
            f"--dashboard-agent-listen-port={free_port()} --include-dashboard=true --num-cpus=4 --temp-dir={directory}"
        )
        child = subprocess.Popen(
            [ray_command, "start", *flags.split(), *more.split(), "--disable-usage-stats"],
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until("the dashboard answers", lambda: answers(f"http://127.0.0.1:{dashboard}/api/version"), within_s=120)
            yield f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        finally:
            end_all(descendants(child.pid))
            child.wait(10)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except (URLError, OSError):
        return False


@pytest.mark.timeout(300)
def test_from_a_submitted_job(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    environment.pop("RAY_ADDRESS", None)
    (tmp_path / "job.py").write_text(JOB)
    with own_cluster(environment) as (address, dashboard):
        starter = subprocess.run(
            [sys.executable, "-c", STARTER, address, str(tmp_path / "data")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert starter.returncode == 0, starter.stderr[-3000:]
        submit = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", dashboard]
        output = ""

        def submitted() -> bool:
            nonlocal output
            done = subprocess.run(
                [*submit, "--", sys.executable, str(tmp_path / "job.py")],
                env=environment,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            output = done.stdout + done.stderr
            return "No available agent" not in output

        until("an agent takes the job", submitted, within_s=60)
        assert "version 1" in output, output[-3000:]
