"""Deeply immutable JSON values: what a cache may hand out to many callers at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID

from pydantic import BaseModel

_LEAVES = frozenset({NoneType, bool, int, str})
"""The immutable values that JSON has, but for floats, of which some are no numbers."""

_NAMES = frozenset({str})

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


def freeze(value: Any) -> Any:
    """The same JSON value with lists as tuples and objects as `FrozenDict`, at every depth.

    Raises ValueError for NaN and infinities (JSON has no such numbers, and not every parser refuses them), TypeError
    for what is no JSON value, subclasses of its types included: only what is known to be immutable is kept.
    """
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is dict or kind is FrozenDict:
        if not _NAMES.issuperset(map(type, value)):
            raise TypeError("a JSON object has strings as its names")
        return FrozenDict({name: item if type(item) in _LEAVES else freeze(item) for name, item in value.items()})
    if kind is list or kind is tuple:
        return tuple([item if type(item) in _LEAVES else freeze(item) for item in value])
    if kind is not float:
        raise TypeError(f"{kind.__name__} is no type of JSON")
    if not isfinite(value):
        raise ValueError("a number must be finite")
    return value


def is_frozen(value: object) -> bool:
    """Whether nothing in a value can be changed, at any depth: it may be shared. False for what is not known here."""
    kind = type(value)
    if kind in _VALUES:
        return True
    if kind is FrozenDict:
        return _all_frozen(value.values())  # pyright: ignore[reportAttributeAccessIssue]  # it is a FrozenDict
    if kind is tuple or kind is frozenset:
        return _all_frozen(value)  # pyright: ignore[reportArgumentType]  # iterable
    if issubclass(kind, Enum):
        return True
    if not issubclass(kind, BaseModel) or not kind.model_config.get("frozen"):
        return False
    is_fixed = not value.__pydantic_private__ and not value.__pydantic_extra__  # pyright: ignore[reportAttributeAccessIssue]  # of a model
    return is_fixed and _all_frozen(value.__dict__.values())


def _all_frozen(values: Iterable[object]) -> bool:
    # No generator, and no call for the usual leaf: every state that a client writes or reads passes here.
    for value in values:  # noqa: SIM110  # see above
        if type(value) not in _VALUES and not is_frozen(value):
            return False
    return True
