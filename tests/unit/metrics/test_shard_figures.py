"""What a shard says of itself is what was done to it; changes of status are logged, nothing else."""

from __future__ import annotations

import logging
from collections.abc import Generator

import msgspec
import pytest
from tests.channel_service import ChannelService

from lightning_state import AgentState, AgentStatus, StateClient, StateNotFoundError, VersionConflictError
from lightning_state.actors.logs import line
from lightning_state.actors.metrics.shard import ShardFigures
from lightning_state.actors.shard_actor.prometheus import PrometheusExport
from lightning_state.actors.shard_actor.runtime import ShardStatus


@pytest.fixture
def service() -> Generator[ChannelService]:
    with ChannelService() as running:
        yield running


@pytest.fixture
def state(service: ChannelService) -> Generator[StateClient]:
    with service.client() as client:
        yield client


def figures(service: ChannelService) -> ShardFigures:
    status = service.run(service.shards[0].runtime.status())
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(status), type=ShardStatus)
    assert decoded.figures is not None
    return decoded.figures


def agent(key: str, **fields: object) -> AgentState:
    return AgentState.model_validate({"agent_id": key, "agent_type": "worker", **fields})


def test_figures_match_the_traffic(service: ChannelService, state: StateClient) -> None:
    for number in range(5):
        state.agents.set(agent(f"a-{number}"))
    state.agents.set_many([agent(f"b-{number}") for number in range(20)])
    for _ in range(3):
        state.agents.get("a-1", consistency="linearizable")
    state.agents.list()
    with pytest.raises(VersionConflictError):
        state.agents.set(agent("a-1"))
    with pytest.raises(StateNotFoundError):
        state.agents.get("nobody", consistency="linearizable")
    found = figures(service)
    assert {(each.operation, each.outcome): each.count for each in found.requests} == {
        ("get", "absent"): 1,
        ("get", "ok"): 3,
        ("list", "ok"): 1,
        ("set", "ok"): 25,
        ("set", "version_conflict"): 1,
    }
    assert found.refusals == {"absent": 1, "version_conflict": 1}
    assert [(each.outcome, each.count) for each in found.verdicts] == [("ok", 25)]
    assert found.rows == 25
    assert 1 <= found.commit_rows.count == sum(each.count for each in found.commits) <= 25
    assert (found.active, found.depths.pending) == (0, 0)
    assert found.levels[0].hits >= 3
    assert found.levels[0].entries == 26, "the absent one is known to be absent"
    assert all(0 < each.p50_ms <= each.p95_ms * 1.01 <= each.p99_ms * 1.03 for each in found.requests)


def test_transitions_are_logged_once_and_nothing_else(
    service: ChannelService, state: StateClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lightning_state")
    state.agents.set(agent("a-1", properties={"secret": "xyzzy"}))
    state.agents.update_status("a-1", AgentStatus.READY)
    state.agents.update("a-1", lambda current: current.replace(agent_type="other"))
    state.agents.update_status("a-1", AgentStatus.COMPLETED)
    state.agents.delete("a-1", expected_version=4)
    assert figures(service).rows == 5
    assert [record.getMessage() for record in caplog.records if "transition" in record.getMessage()] == [
        "transition category=agents key=a-1 from=Initializing to=Ready version=2",
        "transition category=agents key=a-1 from=Ready to=Completed version=4",
    ]
    assert "xyzzy" not in caplog.text


def test_a_log_field_cannot_forge_another() -> None:
    assert line("transition", key="a", to='x" version=9\n') == 'transition key=a to="x\\" version=9\\n"'


def test_every_figure_is_exported_with_every_declared_tag(service: ChannelService, state: StateClient) -> None:
    state.agents.set(agent("a-1"))
    state.agents.get("a-1", consistency="linearizable")
    export = PrometheusExport(service.name, 0)
    export.update(figures(service))  # Ray raises ValueError for a tag that is not given
    state.agents.get("a-1", consistency="linearizable")
    export.update(figures(service))
    assert export._counted["requests", "get", "ok"] == 2
    assert export._counted["requests", "set", "ok"] == 1
    assert export._counted["rows",] == 1
