"""The base of every state: an immutable pydantic model, JSON in camelCase, version and time set by the service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel

from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models.frozen import FrozenDict, freeze, freeze_items
from lightning_state.actors.tables import record_table

SERVICE_FIELDS = frozenset({"version", "last_updated"})
"""Set by the service from the commit; never part of a stored body."""


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _thaw(value: Any) -> Any:
    # pydantic's JsonValue knows lists, not tuples: a frozen value given back to a constructor is opened first.
    if isinstance(value, dict):
        return {name: _thaw(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_thaw(item) for item in value]
    return value


def _thaw_input(value: Any, info: ValidationInfo) -> Any:
    return (
        value if info.mode == "json" else _thaw(value)
    )  # what was just parsed is not frozen; saves a third of a decode


Timestamp = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A moment with a time zone, kept in UTC; ISO-8601 on the wire."""

JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_thaw_input), AfterValidator(freeze_items)]
"""A JSON object with arbitrary values, deeply immutable; its keys are never renamed."""

FloatMap = Annotated[dict[str, float], AfterValidator(FrozenDict)]
"""Names to finite floats, immutable."""

UnitFloat = Annotated[float, Field(ge=0.0, le=1.0)]
"""A share or confidence between 0 and 1."""


def utc_now() -> datetime:
    """The current moment in UTC; the default of the timestamps a caller may leave out."""
    return datetime.now(UTC)


class StatePart(BaseModel):
    """An immutable value inside a state: JSON in camelCase, no unknown fields, no NaN."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
    )

    def replace(self, **changes: Any) -> Self:
        """A changed, fully validated copy.

        Raises InvalidStateError for an unknown field or a value that does not fit.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            return type(self).model_validate({**values, **changes})
        except ValidationError as error:
            raise invalid_state(type(self).__name__, error) from error

    def _repr_html_(self) -> str:
        return record_table(self, type(self).__name__)


class State(StatePart):
    """A state of some category. `version` is 0 until the service has stored it; callers never set it.

    Sequences are tuples and mappings refuse mutation, so one object may be shared by every reader.
    """

    version: int = Field(default=0, ge=0)
    last_updated: Timestamp | None = None


def invalid_state(subject: str, error: ValidationError) -> InvalidStateError:
    """The typed form of a pydantic error: every finding with its path, without echoing the input."""
    findings = [
        {"path": ".".join(str(part) for part in item["loc"]), "message": item["msg"], "code": item["type"]}
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    where = f" at {first['path']}" if first["path"] else ""
    return InvalidStateError(f"{subject}{where}: {first['message']}{more}", findings=findings)


__all__ = [
    "SERVICE_FIELDS",
    "FloatMap",
    "FrozenDict",
    "JsonObject",
    "State",
    "StatePart",
    "Timestamp",
    "UnitFloat",
    "freeze",
    "invalid_state",
    "utc_now",
]
