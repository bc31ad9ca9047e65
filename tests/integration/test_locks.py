"""C6 on a real Ray: 500 stale tokens under kills, a holder that was stopped, a holder that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.service_processes import end, shard_of, shard_pid, state_of
from tests.waiting import until

from lightning_state import StateClient, start
from lightning_state.actors.client.fencing import FencingToken
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import LockedError, LockLostError, StaleFencingTokenError
from lightning_state.actors.models import AgentState
from lightning_state.cluster.service import Service

pytestmark = pytest.mark.usefixtures("ray_cluster")

STALE_TRIES = 500


def agent(key: str, kind: str = "worker") -> AgentState:
    return AgentState(agent_id=key, agent_type=kind)


@contextmanager
def holder(service: Service, key: str, ttl_s: float) -> Generator[subprocess.Popen[str]]:
    """Another process that locks a key, says its token, and writes under it whenever it is sent a line."""
    program = textwrap.dedent(
        f"""
        import sys
        from lightning_state import ANY, AgentState, LightningStateError, StateClient
        with StateClient.connect(service={service.name!r}) as state:
            lock = state.lock("agents", {key!r}, ttl_s={ttl_s}, owner="the other process").acquire()
            print(lock.token, flush=True)
            for line in sys.stdin:
                try:
                    state.agents.set(AgentState(agent_id={key!r}, agent_type="stale"), expected_version=ANY, lock=lock)
                    print("written", flush=True)
                except LightningStateError as error:
                    print(error.code, flush=True)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.write("write\n")
    process.stdin.flush()
    return line_of(process)


def test_no_stale_token_is_ever_accepted_while_shards_are_killed(service_name: str, tmp_path: Path) -> None:
    with start(data_dir=tmp_path / "data", service=service_name, shards=2) as service, service.client() as state:
        keys = [f"k-{number}" for number in range(10)]
        newest = dict.fromkeys(keys, 0)
        tokens: dict[str, list[int]] = {key: [] for key in keys}
        refused = 0
        for turn in range(STALE_TRIES // len(keys) // 2):
            if turn in (8, 16):
                end(shard_pid(service_name, turn // 8 - 1))
            for key in keys:
                with state.lock("agents", key) as lock:
                    assert lock.token > newest[key]
                    newest[key] = lock.token
                    state.agents.set(agent(key, f"turn-{turn}"), expected_version=ANY, lock=lock)
                    stale = tokens[key][-1] if tokens[key] else lock.token - 1
                    with pytest.raises(StaleFencingTokenError):
                        state.agents.set(agent(key, "stale"), expected_version=ANY, lock=FencingToken(stale))
                    tokens[key].append(lock.token)
                with pytest.raises(LockLostError):
                    state.agents.set(agent(key, "stale"), expected_version=ANY, lock=FencingToken(tokens[key][-1]))
                refused += 2
            assert {each.agent_type for each in state.agents.get_many(keys).values()} == {f"turn-{turn}"}
        assert refused >= STALE_TRIES


def test_a_holder_stopped_past_its_lease_cannot_write_when_it_goes_on(
    service: Service, client: StateClient, key: str
) -> None:
    """Trap 6: nothing else was written meanwhile, so a version check alone would let it through."""
    with holder(service, key, ttl_s=1.0) as other:
        old = int(line_of(other))
        assert tell(other) == "written"
        with pytest.raises(LockedError) as refused:
            client.agents.set(agent(key), expected_version=ANY)
        assert refused.value.details["holder"] == "the other process"
        other.send_signal(signal.SIGSTOP)
        until("the holder is stopped", lambda: state_of(other.pid) == "T")
        with client.lock("agents", key, wait_s=20) as lock:
            assert lock.token > old
            other.send_signal(signal.SIGCONT)
            assert tell(other) in {"stale_fencing_token", "lock_lost"}
            client.agents.set(agent(key, "mine"), expected_version=ANY, lock=lock)
        assert tell(other) == "lock_lost"
        assert client.agents.get(key, consistency="linearizable").agent_type == "mine"


def test_the_lock_of_a_killed_holder_is_free_after_its_time_to_live(
    service: Service, client: StateClient, key: str
) -> None:
    with holder(service, key, ttl_s=1.0) as other:
        line_of(other)
        other.kill()
        with client.lock("agents", key, wait_s=20) as lock:
            client.agents.set(agent(key), lock=lock)


def test_a_lock_held_while_its_shard_is_killed_is_held_afterwards(
    service: Service, client: StateClient, key: str
) -> None:
    with client.lock("agents", key) as lock, service.client() as other:
        end(shard_pid(service.name, shard_of(service.name)(key)))
        with pytest.raises(LockedError):
            other.agents.set(agent(key))
        assert client.agents.set(agent(key), lock=lock).version == 1
    assert other
