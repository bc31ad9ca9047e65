"""The figures of a service on Ray are those of the traffic it had (R11)."""

from __future__ import annotations

from collections import Counter

import pytest

from lightning_state import AgentState, AgentStatus, StateClient, VersionConflictError
from lightning_state.cluster.report import report
from lightning_state.cluster.service import Service


def counts(service: Service) -> Counter[tuple[str, str]]:
    """(operation, outcome) → requests, of all shards."""
    found: Counter[tuple[str, str]] = Counter()
    for shard in report(service.name).shards:
        assert shard.figures is not None
        for each in (*shard.figures.requests, *shard.figures.verdicts):
            found[each.operation, each.outcome] += each.count
    return found


def test_status_counts_what_was_done(service: Service, client: StateClient, key: str) -> None:
    before = counts(service)
    states = [AgentState(agent_id=f"{key}/{number}", agent_type="worker") for number in range(40)]
    stored = client.agents.set_many(states)
    assert all(isinstance(state, AgentState) for state in stored.values())
    for state in states[:10]:
        client.agents.get(state.agent_id, consistency="linearizable")
        client.agents.update_status(state.agent_id, AgentStatus.READY)
    with pytest.raises(VersionConflictError):
        client.agents.set(states[0])
    assert counts(service) - before == Counter(
        {
            ("set", "ok"): 40,
            ("get", "ok"): 10,
            ("status", "ok"): 10,
            ("set", "version_conflict"): 1,
            ("verdict", "ok"): 50,
        }
    )
    latencies = {(each["operation"], each["outcome"]): each["count"] for each in client.metrics()["latencies"]}
    assert latencies == {
        ("agents.set_many", "ok"): 1,
        ("agents.get", "ok"): 10,
        ("agents.update_status", "ok"): 10,
        ("agents.set", "version_conflict"): 1,
    }
