"""Deeply immutable JSON values: what a cache may hand out to many callers at once."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID

from pydantic import BaseModel, JsonValue

_VALUES = frozenset({NoneType, bool, int, float, complex, str, bytes, date, datetime, time, timedelta, Decimal, UUID})


class FrozenDict(dict[str, Any]):
    """A mapping that compares and serializes as an ordinary dict and raises TypeError on every mutation."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("states are immutable: use state.replace(...) to make a changed copy")

    __setitem__ = __delitem__ = _refuse  # pyright: ignore[reportAssignmentType]  # every mutator raises, whatever it is given
    clear = pop = popitem = setdefault = update = _refuse  # pyright: ignore[reportAssignmentType]  # the same
    __ior__ = _refuse  # pyright: ignore[reportAssignmentType]  # the same

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]  # an immutable value may be a key
        return hash(frozenset(self.items()))

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (dict(self),)


def freeze(value: JsonValue) -> Any:
    """The same JSON value with lists as tuples and objects as `FrozenDict`, at every depth.

    Raises ValueError for NaN and infinities: JSON has no such numbers, and not every parser refuses them.
    """
    if type(value) is str:  # most of what states hold: nothing else need be asked of it
        return value
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("a number must be finite")
    if isinstance(value, dict):
        return FrozenDict({name: freeze(item) for name, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    return value


def freeze_items(value: dict[str, JsonValue]) -> FrozenDict:
    """A mapping's immutable form; for pydantic `AfterValidator`."""
    return FrozenDict({name: freeze(item) for name, item in value.items()})


def is_frozen(value: object) -> bool:
    """Whether nothing in a value can be changed, at any depth: it may be shared. False for what is not known here."""
    kind = type(value)
    if kind in _VALUES or isinstance(value, Enum):
        return True
    if isinstance(value, BaseModel):
        is_fixed = bool(kind.model_config.get("frozen")) and not value.__pydantic_private__  # pyright: ignore[reportAttributeAccessIssue]  # of the class of a model
        return is_fixed and not value.__pydantic_extra__ and all(map(is_frozen, value.__dict__.values()))
    if kind is FrozenDict:
        return all(map(is_frozen, value.values()))  # pyright: ignore[reportAttributeAccessIssue]  # it is a FrozenDict
    return kind in {tuple, frozenset} and all(map(is_frozen, value))  # pyright: ignore[reportArgumentType]  # iterable
