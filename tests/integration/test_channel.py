"""The direct channel on a real Ray: used from everywhere, and its loss noticed by nobody."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
import ray
from tests.waiting import until

from lightning_state import AgentState, AsyncStateClient, StateClient, start
from lightning_state.actors.wire.channel_async import AsyncChannelTransport
from lightning_state.actors.wire.channel_sync import ChannelTransport
from lightning_state.actors.wire.endpoint import Endpoint
from lightning_state.cluster.service import Service, service_map


def connected(client: StateClient) -> list[int]:
    return cast("ChannelTransport", client._calls.transport).connected


@ray.remote(num_cpus=0, max_retries=0)
def write_in_a_task(client: StateClient, key: str) -> tuple[int, list[int]]:
    with client:
        version = client.agents.set(AgentState(agent_id=key, agent_type="task"), expected_version=1).version
        return version, connected(client)


@ray.remote(num_cpus=0)
class Reader:
    async def read(self, client: AsyncStateClient, key: str) -> tuple[int, list[int]]:
        async with client:
            version = (await client.agents.get(key, consistency="linearizable")).version
            return version, cast("AsyncChannelTransport", client._calls.transport).connected


def test_a_client_sent_into_a_task_or_an_actor_opens_channels_of_its_own(
    service: Service, client: StateClient, key: str
) -> None:
    client.agents.set(AgentState(agent_id=key, agent_type="x"))
    version, shards = ray.get(write_in_a_task.remote(client, key))
    assert (version, len(shards)) == (2, 1)
    reader: Any = Reader.remote()
    version, shards = ray.get(reader.read.remote(service.async_client(), key))
    assert (version, len(shards)) == (2, 1)
    assert len(connected(client)) >= 1
    ray.kill(reader)


def test_a_shard_killed_under_channel_traffic_loses_nothing_and_does_nothing_twice(
    ray_cluster: None,  # noqa: ARG001  # Ray runs
    service_name: str,
    tmp_path: Path,
) -> None:
    lanes, kills = 8, 3
    with (
        start(data_dir=tmp_path / "data", service=service_name, shards=1) as service,
        service.client() as client,
        ThreadPoolExecutor(lanes) as pool,
    ):
        stop = False

        def lane(number: int) -> int:
            version = 0
            while not stop:
                stored = client.agents.set(
                    AgentState(agent_id=f"k-{number}", agent_type=f"v{version}"), expected_version=version
                )
                assert stored.version == version + 1  # a write that ran twice would be a conflict or a gap
                version = stored.version
            return version

        running = [pool.submit(lane, number) for number in range(lanes)]
        try:
            for _ in range(kills):
                until_connected(client, running_lanes=len(running))
                before = service_map(service_name).shards[0]
                os.kill(before.pid, signal.SIGKILL)
                until("a successor", lambda epoch=before.epoch: service_map(service_name).shards[0].epoch > epoch)
            until_connected(client, running_lanes=len(running))
        finally:
            stop = True
        versions = [each.result(30) for each in running]
        found = client.agents.get_many([f"k-{number}" for number in range(lanes)], consistency="linearizable")
        assert [found[f"k-{number}"].version for number in range(lanes)] == versions
        assert min(versions) > kills
        sockets = Path(cast("Endpoint", Endpoint.decode(service_map(service_name).shards[0].endpoint)).unix).parent
        # What the killed ones left behind was removed by their successors.
        assert list(sockets.parent.glob(f"{sockets.name[:-8]}*")) == [sockets]
    assert not sockets.exists()


def until_connected(client: StateClient, *, running_lanes: int) -> None:
    """Until the lanes write over the channel again."""
    until("a channel", lambda: connected(client) == [0])
    counted = client.metrics()["calls"]["agents.set"]
    wanted = counted + 20 * running_lanes
    until("writes over it", lambda: client.metrics()["calls"]["agents.set"] >= wanted)


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_the_endpoint_of_a_shard_is_reached_both_ways(service: Service, way: str) -> None:
    endpoint = Endpoint.decode(service_map(service.name).shards[0].endpoint)
    assert endpoint is not None
    assert endpoint.is_here
    assert Path(endpoint.unix).is_socket() if way == "unix" else endpoint.port > 0
