"""What is stored: agent states of about 600 bytes, made before the clock runs, for the service and its peers alike."""

from __future__ import annotations

from lightning_state.actors.models import AgentState

BODY_BYTES = 600

_FILLER = 420


def agent(key: str, turn: int = 0) -> AgentState:
    """One agent's state; two turns that are not both even or both odd differ."""
    notes = ("a", "b")[turn % 2] * _FILLER
    return AgentState(
        agent_id=key,
        agent_type="researcher",
        properties={"notes": notes, "topic": "restarts"},
        active_task_ids=("task-1", "task-2"),
        performance_metrics={"tokens": 1234.0},
    )


def body(key: str, turn: int = 0) -> bytes:
    """The same as JSON."""
    return agent(key, turn).model_dump_json(by_alias=True, exclude={"version", "last_updated"}).encode()
