"""The interface of the original design documents, over the client: workflows written against it port directly."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from lightning_state.actors.client._async.client import AsyncStateClient
from lightning_state.actors.client._async.lock import AsyncLock
from lightning_state.actors.errors import LightningStateError
from lightning_state.actors.models import AgentState, AgentStatus, ResearchState, VerificationState


class AsyncLightningStateService:
    """Agents, research runs and verifications by flat method names; errors and guarantees are the client's."""

    def __init__(self, client: AsyncStateClient) -> None:
        self.client = client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self.client!r}>"

    @classmethod
    def connect(cls, service: str = "default", address: str | None = None, token: str | None = None) -> Self:
        """The facade over a new client; see `AsyncStateClient.connect`."""
        return cls(AsyncStateClient.connect(service, address, token))

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def get_agent_state(self, agent_id: str) -> AgentState:
        """An agent's state. Raises StateNotFoundError."""
        return await self.client.agents.get(agent_id)

    async def set_agent_state(self, state: AgentState) -> AgentState:
        """Store an agent's state, expected at the version `state` was read at; returns it as stored."""
        return await self.client.agents.set(state)

    async def update_agent_status(self, agent_id: str, status: AgentStatus) -> AgentState:
        """Change an agent's status as the transition table allows."""
        return await self.client.agents.update_status(agent_id, status)

    async def get_research_state(self, research_id: str) -> ResearchState:
        """A research run's state. Raises StateNotFoundError."""
        return await self.client.research.get(research_id)

    async def set_research_state(self, state: ResearchState) -> ResearchState:
        """Store a research run's state, expected at the version `state` was read at; returns it as stored."""
        return await self.client.research.set(state)

    async def update_research_progress(
        self, research_id: str, iteration_count: int, quality_score: float
    ) -> ResearchState:
        """Record a run's iteration count and quality score (0 to 1)."""
        return await self.client.research.update_progress(
            research_id, iteration_count=iteration_count, quality_score=quality_score
        )

    async def get_verification_state(self, verification_id: str) -> VerificationState:
        """A verification. Raises StateNotFoundError."""
        return await self.client.verifications.get(verification_id)

    async def set_verification_state(self, state: VerificationState) -> VerificationState:
        """Store a verification, expected at the version `state` was read at; returns it as stored."""
        return await self.client.verifications.set(state)

    async def get_verifications_for_source(self, source_id: str) -> tuple[VerificationState, ...]:
        """All verifications of a task or research run, in key order."""
        return await self.client.verifications.for_source(source_id)

    async def get_multiple_agent_states(self, agent_ids: Iterable[str]) -> dict[str, AgentState]:
        """Id → state, of those that exist."""
        return await self.client.agents.get_many(agent_ids)

    async def set_multiple_agent_states(
        self, states: Iterable[AgentState]
    ) -> dict[str, AgentState | LightningStateError]:
        """Id → the stored state, or the error of that id."""
        return await self.client.agents.set_many(states)

    async def invalidate_cache(self, category: str, key: str) -> None:
        """Forget one key in this process's cache."""
        await self.client.cache.invalidate(category, key)

    async def invalidate_category(self, category: str) -> None:
        """Forget every key and list of a category in this process's cache."""
        await self.client.cache.invalidate_category(category)

    def acquire_lock(self, category: str, key: str, *, ttl_s: float = 30.0, wait_s: float = 10.0) -> AsyncLock:
        """A lease for a `with` block, which releases it; see `AsyncStateClient.lock`."""
        return self.client.lock(category, key, ttl_s=ttl_s, wait_s=wait_s)

    def get_metrics(self) -> dict[str, Any]:
        """The client's own counts."""
        return self.client.metrics()

    async def close(self) -> None:
        """Close the client."""
        await self.client.close()
