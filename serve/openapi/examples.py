"""One plausible example for each operation; tests send every one of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.models import AgentState, AgentStatus, FactState, ResearchState, State, VerificationState

_MOMENT = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)

_STATES: dict[str, State] = {
    "agents": AgentState(
        agent_id="agent-1",
        agent_type="researcher",
        status=AgentStatus.READY,
        properties={"language": "en"},
        active_task_ids=("task-7",),
        performance_metrics={"latencyMs": 12.5},
    ),
    "research": ResearchState(
        research_id="research-1",
        query="How does an actor restart?",
        extracted_facts=(
            FactState(
                id="fact-1",
                content="An actor restarts when its process dies.",
                source="https://example.org/actors",
                confidence_score=0.9,
                extracted_at=_MOMENT,
            ),
        ),
        sources=("https://example.org/actors",),
        started_at=_MOMENT,
    ),
    "verifications": VerificationState(
        verification_id="verification-1",
        source_id="research-1",
        content="An actor restarts when its process dies.",
        confidence_score=0.9,
        is_verified=True,
        verified_at=_MOMENT,
        verified_by="verl",
    ),
}

PROBLEM = {
    "category": "agents",
    "key": "agent-1",
    "type": "urn:lightning-state:error:not_found",
    "title": "No state is stored under this id",
    "status": 404,
    "detail": "agents 'agent-1' does not exist",
    "code": "not_found",
    "retryable": False,
}

VERDICT = {
    "isValid": True,
    "confidence": 1.0,
    "issues": [],
    "ruleSet": "agents/1",
    "baseVersion": 0,
    "contentHash": "00ff",
    "threshold": 0.8,
}


def key_example(category: Category[Any]) -> str:
    """An id."""
    state = _STATES.get(category.name)
    return category.key(state) if state else f"{category.name}-1"


def state_example(category: Category[Any]) -> dict[str, Any] | None:
    """A state as it is sent; for a user's category the first of its model's own examples, if it has any."""
    state = _STATES.get(category.name)
    if state is not None:
        return json.loads(category.encode(state))
    extra = category.model.model_config.get("json_schema_extra")
    examples = extra.get("examples") if isinstance(extra, dict) else None
    return examples[0] if isinstance(examples, list) and examples and isinstance(examples[0], dict) else None


def stored_example(category: Category[Any]) -> dict[str, Any] | None:
    """The same as it is answered."""
    state = state_example(category)
    return state and {"version": 1, "lastUpdated": "2026-01-15T09:30:00.000000Z", **state}
