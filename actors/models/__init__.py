"""The built-in states. A user's own derive from `State` and `StatePart` in the same way."""

from lightning_state.actors.models.agent import AgentState, AgentStatus
from lightning_state.actors.models.frozen import FrozenDict, freeze
from lightning_state.actors.models.research import (
    FactState,
    FactVerificationStatus,
    ResearchState,
    ResearchStatus,
)
from lightning_state.actors.models.state import (
    SERVICE_FIELDS,
    FloatMap,
    JsonObject,
    State,
    StatePart,
    Timestamp,
    UnitFloat,
    invalid_state,
    utc_now,
)
from lightning_state.actors.models.verification import VerificationState

__all__ = [
    "SERVICE_FIELDS",
    "AgentState",
    "AgentStatus",
    "FactState",
    "FactVerificationStatus",
    "FloatMap",
    "FrozenDict",
    "JsonObject",
    "ResearchState",
    "ResearchStatus",
    "State",
    "StatePart",
    "Timestamp",
    "UnitFloat",
    "VerificationState",
    "freeze",
    "invalid_state",
    "utc_now",
]
