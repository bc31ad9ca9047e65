"""The bodies of requests and answers that are not states: what the OpenAPI document describes is what is read here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

from lightning_state.actors.models import UnitFloat

Name = Annotated[str, Field(min_length=1, max_length=256)]


class Body(BaseModel):
    """JSON in camelCase, without unknown fields."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        allow_inf_nan=False,
    )


class StatusBody(Body):
    """The status a state is to have; its category says which there are."""

    status: Name


class ProgressBody(Body):
    """How far a research run has come: either or both."""

    iteration_count: int | None = Field(default=None, ge=0)
    quality_score: UnitFloat | None = None

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if not self.changes() or len(self.changes()) < len(self.model_fields_set):
            raise ValueError("give iterationCount, qualityScore or both; neither may be null")
        return self

    def changes(self) -> dict[str, Any]:
        """The fields to change, by their names in the state."""
        fields = {"iterationCount": self.iteration_count, "currentQualityScore": self.quality_score}
        return {name: value for name, value in fields.items() if value is not None}


class ResolveBody(Body):
    """The id of a write whose answer was lost: its Idempotency-Key."""

    request_id: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")]


class Resolved(Body):
    """Whether that write was applied, and the version it made; 0: it was not, and never will be."""

    applied: bool
    version: int


class InvalidateCategoryBody(Body):
    """The category that caches are to forget."""

    category: Name


class InvalidateBody(InvalidateCategoryBody):
    """The state that caches are to forget."""

    id: Name


class BatchGetBody(Body):
    """The ids to read."""

    ids: tuple[str, ...]
    consistency: Literal["cached", "linearizable"] = "cached"


class StatementBody(Body):
    """A sentence and a name to report it by."""

    id: Name
    text: str


class CheckConsistencyBody(Body):
    """Statements (plain ones are named "1", "2", … by their place) and research states to compare."""

    statements: tuple[str | StatementBody, ...] = ()
    states: tuple[dict[str, JsonValue], ...] = ()


class CandidateBody(Body):
    """A state that is not written: under which category and, for `verify`, over which id."""

    category: Name
    state: dict[str, JsonValue]


class VerifyBody(CandidateBody):
    """A state that would be written under `id`."""

    id: Name


class FactBody(Body):
    """A statement and the text that is said to support it; without one it stays Pending."""

    id: Name
    content: str
    source_text: str | None = None


class VerifyFactsBody(Body):
    """The facts to check against their texts."""

    facts: tuple[FactBody, ...]


class StepBody(Body):
    """One step of an argument."""

    id: Name
    text: str
    kind: Literal["premise", "inference", "conclusion"] = "inference"
    depends_on: tuple[str, ...] = ()


class ValidateReasoningBody(Body):
    """The steps; plain ones become "1", "2", …, each on the one before."""

    steps: tuple[str | StepBody, ...]
