"""The collections of the built-in categories: the common operations and a few of their own."""

from __future__ import annotations

from typing import Any

from lightning_state.actors.client._async.collection import AsyncCollection, Consistency
from lightning_state.actors.client.fencing import Fence
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.core.rows import Op
from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models import AgentState, AgentStatus, ResearchState, VerificationState


class AsyncAgentCollection(AsyncCollection[AgentState]):
    """The agents."""

    async def update_status(
        self,
        key: str,
        status: AgentStatus,
        *,
        expected_version: int = ANY,
        request_id: str | None = None,
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> AgentState:
        """Change an agent's status inside the shard, atomically.

        Raises StateNotFoundError, and InvalidTransitionError when the transition table does not allow the change.
        """
        call = await self._begin("update_status", timeout_s, request_id, lock)
        return await self._change(call, key, Op.STATUS, AgentStatus(status).value.encode(), expected_version)


class AsyncResearchCollection(AsyncCollection[ResearchState]):
    """The research runs."""

    async def update_progress(
        self,
        key: str,
        *,
        iteration_count: int | None = None,
        quality_score: float | None = None,
        expected_version: int = ANY,
        request_id: str | None = None,
        lock: Fence | None = None,
        timeout_s: float | None = None,
    ) -> ResearchState:
        """Record a run's iteration count and current quality score (0 to 1) inside the shard, atomically.

        Raises StateNotFoundError, and ValidationFailedError when the iteration count would decrease.
        """
        fields: dict[str, Any] = {"iterationCount": iteration_count, "currentQualityScore": quality_score}
        changes = {name: value for name, value in fields.items() if value is not None}
        if not changes:
            raise InvalidStateError("update_progress: give iteration_count, quality_score or both")
        call = await self._begin("update_progress", timeout_s, request_id, lock)
        return await self._change(call, key, Op.PROGRESS, self._json(changes), expected_version)


class AsyncVerificationCollection(AsyncCollection[VerificationState]):
    """The verifications."""

    async def for_source(
        self, source_id: str, *, consistency: Consistency = "cached", timeout_s: float | None = None
    ) -> tuple[VerificationState, ...]:
        """All verifications of a task or research run, in key order; empty when there are none.

        "cached" may answer from this process, like `get`: a change of any member is heard of as soon as one of a key.
        """
        return await self._every("for_source", "source_id", source_id, consistency, timeout_s)
