"""The base of every state: an immutable pydantic model, JSON in camelCase, version and time set by the service."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.alias_generators import to_camel

from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models.frozen import FrozenDict, freeze
from lightning_state.actors.tables import record_table

S = TypeVar("S", bound="State")

SERVICE_FIELDS = frozenset({"version", "last_updated"})
"""Set by the service from the commit; never part of a stored body."""

_set = object.__setattr__
# The models refuse their own.


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _thaw(value: Any) -> Any:
    # pydantic's JsonValue knows lists, not tuples: a frozen value given back to a constructor is opened first.
    if isinstance(value, dict):
        return {name: _thaw(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_thaw(item) for item in value]
    return value


def _json_object(value: Any, validate: ValidatorFunctionWrapHandler) -> FrozenDict:
    """The usual values are checked and frozen in one pass; whatever else is in there, pydantic converts or refuses.

    Its own way costs ten times as much: it asks a function of its own for the type of every value.
    """
    if isinstance(value, dict):
        with contextlib.suppress(TypeError, ValueError):  # pydantic's error says where it is
            return freeze(value)
    return freeze(validate(_thaw(value)))


Timestamp = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A moment with a time zone, kept in UTC; ISO-8601 on the wire."""

JsonObject = Annotated[dict[str, JsonValue], WrapValidator(_json_object)]
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


def stamped(state: S, version: int, updated: datetime) -> S:
    """A copy with the version and time of its commit. A third of what `model_copy(update=...)` costs."""
    copy = state.__class__.__new__(state.__class__)
    extra, private = state.__pydantic_extra__, state.__pydantic_private__
    _set(copy, "__dict__", {**state.__dict__, "version": version, "last_updated": updated})
    _set(copy, "__pydantic_fields_set__", state.__pydantic_fields_set__ | SERVICE_FIELDS)
    _set(copy, "__pydantic_extra__", None if extra is None else dict(extra))
    _set(copy, "__pydantic_private__", None if private is None else dict(private))
    return copy


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
