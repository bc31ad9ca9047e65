"""The state of one agent."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from lightning_state.actors.models.frozen import FrozenDict
from lightning_state.actors.models.state import FloatMap, JsonObject, State


class AgentStatus(StrEnum):
    """Where an agent stands; which may follow which is the category's transition table."""

    INITIALIZING = "Initializing"
    READY = "Ready"
    PROCESSING = "Processing"
    PAUSED = "Paused"
    COMPLETED = "Completed"
    FAILED = "Failed"


class AgentState(State):
    """One agent: who it is, what it does now, how it performs."""

    agent_id: str
    agent_type: str
    status: AgentStatus = AgentStatus.INITIALIZING
    properties: JsonObject = Field(default_factory=FrozenDict)
    active_task_ids: tuple[str, ...] = ()
    performance_metrics: FloatMap = Field(default_factory=FrozenDict)
