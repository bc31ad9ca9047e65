"""The state of one research run and the facts it extracted."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from lightning_state.actors.models.frozen import FrozenDict
from lightning_state.actors.models.state import JsonObject, State, StatePart, Timestamp, UnitFloat, utc_now


class ResearchStatus(StrEnum):
    """Where a research run stands; Completed and Failed are terminal."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    VERIFYING = "Verifying"
    COMPLETED = "Completed"
    FAILED = "Failed"


class FactVerificationStatus(StrEnum):
    """What verification said of a fact."""

    PENDING = "Pending"
    VERIFIED = "Verified"
    DISPUTED = "Disputed"
    FAILED = "Failed"


class FactState(StatePart):
    """One fact: a statement and the source that makes it."""

    id: str
    content: str
    source: str
    confidence_score: UnitFloat = 0.0
    is_verified: bool = False
    extracted_at: Timestamp = Field(default_factory=utc_now)
    verification_status: FactVerificationStatus = FactVerificationStatus.PENDING


class ResearchState(State):
    """One research run: its question, what it found, how good that is."""

    research_id: str
    query: str
    status: ResearchStatus = ResearchStatus.PENDING
    extracted_facts: tuple[FactState, ...] = ()
    sources: tuple[str, ...] = ()
    current_quality_score: UnitFloat = 0.0
    iteration_count: int = Field(default=0, ge=0)
    started_at: Timestamp = Field(default_factory=utc_now)
    completed_at: Timestamp | None = None
    metadata: JsonObject = Field(default_factory=FrozenDict)
