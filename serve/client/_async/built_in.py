"""The built-in categories over HTTP: the common operations and a few of their own."""

from __future__ import annotations

from typing import Any

from lightning_state.actors.core.messages import ANY
from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models import AgentState, AgentStatus, ResearchState, VerificationState
from lightning_state.serve.client._async.collection import AsyncHttpCollection

_JSON = {"Content-Type": "application/json"}
_PART = 1_000


class AsyncHttpAgentCollection(AsyncHttpCollection[AgentState]):
    """The agents."""

    async def update_status(
        self,
        key: str,
        status: AgentStatus,
        *,
        expected_version: int = ANY,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> AgentState:
        """Change an agent's status inside the shard, atomically. Raises InvalidTransitionError."""
        body = self._json({"status": AgentStatus(status).value})
        return await self._change(
            "update_status", "POST", key, "/~status", body, _JSON, expected_version, request_id, timeout_s
        )


class AsyncHttpResearchCollection(AsyncHttpCollection[ResearchState]):
    """The research runs."""

    async def update_progress(
        self,
        key: str,
        *,
        iteration_count: int | None = None,
        quality_score: float | None = None,
        expected_version: int = ANY,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> ResearchState:
        """Record a run's iteration count and current quality score (0 to 1) inside the shard, atomically."""
        fields: dict[str, Any] = {"iterationCount": iteration_count, "qualityScore": quality_score}
        changes = {name: value for name, value in fields.items() if value is not None}
        if not changes:
            raise InvalidStateError("update_progress: give iteration_count, quality_score or both")
        body = self._json(changes)
        return await self._change(
            "update_progress", "POST", key, "/~progress", body, _JSON, expected_version, request_id, timeout_s
        )


class AsyncHttpVerificationCollection(AsyncHttpCollection[VerificationState]):
    """The verifications."""

    async def for_source(self, source_id: str, *, timeout_s: float | None = None) -> tuple[VerificationState, ...]:
        """All verifications of a task or research run, in key order; never stale, empty when there are none."""
        found: tuple[VerificationState, ...] = ()
        cursor: str | None = None
        while True:
            page = await self.list(limit=_PART, cursor=cursor, timeout_s=timeout_s, source_id=source_id)
            found += page.states
            cursor = page.cursor
            if cursor is None:
                return found
