"""An agent of a run as the service knows it: its status, what it works on, how much it has done."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.errors import StateNotFoundError, VersionConflictError
from lightning_state.actors.models import AgentState, AgentStatus

TERMINAL = (AgentStatus.COMPLETED, AgentStatus.FAILED)


class AgentRecord:
    """Keeps one agent's state in the service. Used by one task at a time."""

    def __init__(self, state: AsyncStateClient, agent_id: str, agent_type: str, research_id: str) -> None:
        self.agent_id = agent_id
        self._agents = state.agents
        self._type = agent_type
        self._research_id = research_id

    async def enlist(self) -> AgentState:
        """Registered and Ready: a new agent, or one that a killed process left in whatever status."""
        try:
            found = await self._agents.get(self.agent_id, consistency="linearizable")
        except StateNotFoundError:
            found = await self._create()
        if found.status is AgentStatus.FAILED:
            await self._agents.update_status(self.agent_id, AgentStatus.INITIALIZING)
        return await self._change(lambda agent: agent.replace(status=AgentStatus.READY, active_task_ids=()))

    @asynccontextmanager
    async def working(self, task_id: str) -> AsyncGenerator[None]:
        """Processing with this task while the block runs, Ready after it. A block that raises leaves Processing."""
        began_s = time.monotonic()
        await self._change(lambda agent: agent.replace(status=AgentStatus.PROCESSING, active_task_ids=(task_id,)))
        yield
        busy_s = time.monotonic() - began_s

        def done(agent: AgentState) -> AgentState:
            metrics = agent.performance_metrics
            return agent.replace(
                status=AgentStatus.READY,
                active_task_ids=(),
                performance_metrics={
                    "tasksCompleted": metrics.get("tasksCompleted", 0.0) + 1,
                    "busySeconds": round(metrics.get("busySeconds", 0.0) + busy_s, 3),
                },
            )

        await self._change(done)

    async def complete(self) -> None:
        """Completed, for good."""
        await self._end(AgentStatus.COMPLETED, "")

    async def fail(self, reason: str) -> None:
        """Failed, with the reason among its properties; an agent that had ended stays as it was."""
        await self._end(AgentStatus.FAILED, reason)

    async def _end(self, status: AgentStatus, reason: str) -> None:
        def ended(agent: AgentState) -> AgentState:
            properties = {**agent.properties, "reason": reason} if reason else agent.properties
            return agent.replace(status=status, active_task_ids=(), properties=properties)

        await self._change(ended)

    async def _change(self, fn: Callable[[AgentState], AgentState]) -> AgentState:
        """The agent after `fn`; one that has ended stays as it is, and what changes nothing is not written."""
        found = await self._agents.get(self.agent_id, consistency="linearizable")
        if found.status in TERMINAL or fn(found) == found:
            return found
        return await self._agents.update(self.agent_id, lambda agent: agent if agent.status in TERMINAL else fn(agent))

    async def _create(self) -> AgentState:
        agent = AgentState(agent_id=self.agent_id, agent_type=self._type, properties={"researchId": self._research_id})
        try:
            return await self._agents.set(agent)
        except VersionConflictError:  # a retried call was first
            return await self._agents.get(self.agent_id, consistency="linearizable")
