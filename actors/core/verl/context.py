"""What a rule or a user's validator is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.fields import field_reader
from lightning_state.actors.core.verl.messages import Issue
from lightning_state.actors.models import State

if TYPE_CHECKING:
    from lightning_state.actors.settings import JudgeSettings  # reads files when built; here only its values are used


class VerdictContext(msgspec.Struct, frozen=True, kw_only=True, eq=False, dict=True):
    """One change under examination: `base` (None for a new key) becomes `new`. Immutable."""

    category: Category[Any]
    key: str
    base_version: int
    base_body: bytes | None
    new_body: bytes
    new: State
    transitions: Mapping[str, frozenset[str]] | None
    """The table in force: the category's, or the one the service's settings replace it with."""
    references: Mapping[str, bool]
    """`category/id` → found."""
    check_references: bool = False
    judge: JudgeSettings | None = None
    """The judge's endpoint, for validators that use it."""

    @cached_property
    def base(self) -> State | None:
        """The committed state the change starts from. Raises InvalidStateError when its body no longer fits."""
        return None if self.base_body is None else self.category.decode(self.base_body)

    @property
    def base_status(self) -> str | None:
        """The status of `base`, None without one; read alone, at a fifth of what decoding the state takes."""
        field = self.category.status_field
        if self.base_body is None or field is None:
            return None
        return str(getattr(field_reader(self.category).read(self.base_body), field))

    def status(self, state: State) -> str | None:
        """A state's status, None in a category without one."""
        field = self.category.status_field
        return None if field is None else str(getattr(state, field))

    def is_terminal(self, status: str) -> bool:
        """Whether no status may follow this one, by the table in force."""
        return self.transitions is not None and not self.transitions.get(status)


class Rule(Protocol):
    """A pure, fast function of the change. It runs on every write of its category, without a timeout."""

    def __call__(self, context: VerdictContext, /) -> Iterable[Issue]:
        """The findings; none for a change it has nothing against."""
        ...
