"""The state of one verification: what was checked, by whom, with what result."""

from __future__ import annotations

from pydantic import Field

from lightning_state.actors.models.state import State, Timestamp, UnitFloat, utc_now


class VerificationState(State):
    """One verification of a statement that belongs to a task or a research run (`source_id`)."""

    verification_id: str
    source_id: str
    content: str
    confidence_score: UnitFloat = 0.0
    is_verified: bool = False
    issues: tuple[str, ...] = ()
    verified_at: Timestamp = Field(default_factory=utc_now)
    verified_by: str = ""
