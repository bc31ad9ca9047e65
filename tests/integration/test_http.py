"""HTTP on a real Serve with HAProxy: one deployment for the module; replicas die, clients misbehave, others go on."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import socket
import time
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray

from lightning_state import AgentState, start
from lightning_state.cluster.service import Service
from lightning_state.serve.client import AsyncHttpStateClient, HttpStateClient
from lightning_state.serve.environment import free_port
from lightning_state.serve.errors import HttpUnavailableError
from lightning_state.serve.start import HttpEndpoint, start_http

pytestmark = pytest.mark.timeout(240)

ANY = {"expectedVersion": "any"}


@pytest.fixture(scope="module")
def served(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Service]:  # noqa: ARG001  # Ray runs
    data_dir: Path = tmp_path_factory.mktemp("http") / "data"
    with start(data_dir=data_dir, service=f"h-{uuid.uuid4().hex[:8]}", http_port=free_port()) as running:
        yield running


@pytest.fixture
def endpoint(served: Service) -> HttpEndpoint:
    assert served.http is not None
    return served.http


@pytest.fixture
def http(endpoint: HttpEndpoint) -> Generator[httpx.Client]:
    headers = {"authorization": f"Bearer {endpoint.token}"}
    with httpx.Client(base_url=endpoint.url, headers=headers, timeout=20.0) as client:
        yield client


def put(http: httpx.Client, key: str) -> httpx.Response:
    return http.put(f"/v1/agents/{key}", json={"agentId": key, "agentType": "x"}, params=ANY)


def test_a_write_over_http_is_what_actors_read(http: httpx.Client, served: Service) -> None:
    created = put(http, "h/1")
    assert created.status_code == 200
    with served.client() as state:
        assert state.agents.get("h/1").version == created.json()["version"]
        state.agents.set(AgentState(agent_id="h/2", agent_type="y"))
    assert http.get("/v1/agents/h%2F2").json()["agentType"] == "y"
    assert http.get("/v1/agents/h/2", headers={"if-none-match": '"1"'}).status_code == 304


def test_haproxy_is_in_front_and_nothing_listens_beyond_this_machine(endpoint: HttpEndpoint) -> None:
    folder = os.environ["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"]
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    assert any(folder.encode() in command and b"haproxy" in command for command in commands)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ray.util.get_node_ip_address(), endpoint.port), 2.0).close()


def test_verl_judges_over_http(endpoint: HttpEndpoint) -> None:
    with HttpStateClient.connect(endpoint.url, endpoint.token) as state:
        report = state.verl.check_consistency(["The sky is blue.", "The sky is not blue."])
        assert not report.is_consistent
        assert state.verl.verify("agents", "v-1", AgentState(agent_id="v-1", agent_type="x")).is_accepted


def test_a_second_port_on_the_same_serve_is_refused_with_the_one_there_is(served: Service) -> None:
    with pytest.raises(HttpUnavailableError, match=str(served.settings.http_port)):
        start_http("other", served.settings.data_dir, free_port())


def test_hostile_connections_leave_the_others_alone(http: httpx.Client, endpoint: HttpEndpoint) -> None:
    put(http, "calm")
    token = f"Authorization: Bearer {endpoint.token}\r\n".encode()
    head = b"PUT /v1/agents/evil?expectedVersion=any HTTP/1.1\r\nHost: x\r\n" + token
    json_type = b"Content-Type: application/json\r\n"
    openings = [
        *[b""] * 2_000,  # idle
        *[b"GET /v1/agents/calm HTTP/1.1\r\nX-Slow"] * 200,  # headers that never end
        *[head + json_type + b"Content-Length: 1000\r\n\r\n{"] * 50,  # a body that never comes
        *[head + json_type + b"Content-Length: 5\r\n\r\n" + b"{}" * 500] * 20,  # longer than it says
        *[head + json_type + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n{"] * 20,
        *[b"\x16\x03\x01\x02\x00\x01" * 20] * 20,  # TLS, or worse
    ]
    held: list[socket.socket] = []
    try:
        for opening in openings:
            connection = socket.create_connection((endpoint.host, endpoint.port), 10.0)
            held.append(connection)
            if opening:
                connection.sendall(opening)
        for number in range(50):
            began_s = time.monotonic()
            assert http.get("/v1/agents/calm").status_code == 200
            assert put(http, f"calm-{number}").status_code == 200
            assert time.monotonic() - began_s < 10.0
    finally:
        for connection in held:
            connection.close()
    assert http.get("/v1/agents/evil").status_code == 404


def test_bombs_are_refused_and_cost_no_memory(http: httpx.Client) -> None:
    def endless() -> Generator[bytes]:
        for _ in range(64):
            yield b" " * 1_048_576

    headers = {"content-type": "application/json"}
    bomb = {**headers, "content-encoding": "gzip"}
    packed = gzip.compress(b"[" * 50_000_000)
    assert http.put("/v1/agents/x", content=packed, headers=bomb, params=ANY).status_code == 415
    try:
        answer = http.put("/v1/agents/x", content=endless(), headers=headers, params=ANY)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it hung up while we were still sending: just as good
    deep = b"[" * 1_000_000
    assert http.put("/v1/agents/x", content=deep, headers=headers, params=ANY).status_code == 422
    pid = http.get("/v1/metrics").json()["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_kib < 600 * 1024
    assert put(http, "after-bombs").status_code == 200


async def test_replicas_follow_the_load_and_one_that_dies_is_not_missed(endpoint: HttpEndpoint) -> None:
    """Under load a second replica starts; one is killed; every call of a client with retries still succeeds."""
    async with AsyncHttpStateClient.connect(endpoint.url, endpoint.token) as state:
        await state.agents.set(AgentState(agent_id="hot", agent_type="x"), expected_version=-1)
        load = [asyncio.create_task(_ask_for_ever(endpoint, "/v1/agents/hot")) for _ in range(64)]
        try:
            replicas = await _replicas(endpoint, at_least=2, within_s=90.0)
            killed = min(replicas.values())
            os.kill(killed, signal.SIGKILL)
            for number in range(200):
                assert (await state.agents.get("hot")).agent_type == "x"
                assert (await state.agents.set(AgentState(agent_id=f"after-{number}", agent_type="x"))).version == 1
            await _replicas(endpoint, at_least=2, within_s=60.0, without=killed)
        finally:
            for task in load:
                task.cancel()
            await asyncio.gather(*load, return_exceptions=True)


async def _ask_for_ever(endpoint: HttpEndpoint, path: str) -> None:
    """One connection that always has a request under way; opened again when it is closed."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {endpoint.token}\r\n\r\n".encode()
    while True:
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        try:
            while True:
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                if b"connection: close" in head:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # its replica was killed
        finally:
            writer.close()


async def _replicas(
    endpoint: HttpEndpoint, *, at_least: int, within_s: float, without: int | None = None
) -> dict[str, int]:
    """Replica → pid, of those that answered."""
    found: dict[str, Any] = {}
    headers = {"authorization": f"Bearer {endpoint.token}", "connection": "close"}
    async with httpx.AsyncClient(base_url=endpoint.url, headers=headers, timeout=20.0) as http:
        async with asyncio.timeout(within_s):
            while len(found) < at_least:
                try:
                    answer = (await http.get("/v1/metrics")).json()
                except (httpx.TransportError, ValueError):
                    continue  # the one that was just killed had it
                if answer.get("pid") not in (None, without):
                    found[answer["replica"]] = answer["pid"]
    return found
