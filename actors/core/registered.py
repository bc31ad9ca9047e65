"""Categories as a shard uses them: id, table, the few fields it reads from a body without parsing the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.core.checks import check_key
from lightning_state.actors.core.fields import field_reader
from lightning_state.actors.core.slots import category_of_slot, slot_of
from lightning_state.actors.core.transition import Transition
from lightning_state.actors.errors import InvalidStateError, InvalidTransitionError, ProtocolError, UnknownCategoryError
from lightning_state.actors.limits import Limits


class Registered:
    """One registered category and its number of slots; `transitions` replaces its table where the settings say so."""

    def __init__(
        self,
        category_id: int,
        category: Category[Any],
        slots: int,
        transitions: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.id = category_id
        self.slots = slots
        self.category = category
        self.transitions = category.transitions if transitions is None else transitions
        self._status = category.alias(category.status_field) if category.status_field else None
        self.read = field_reader(category).read
        """The key, status and indexed fields of a body, as attributes. Raises InvalidStateError for other JSON."""

    def __repr__(self) -> str:
        return f"<Registered {self.category.name} id={self.id}>"

    def index_values(self, fields: Any) -> dict[str, str]:
        """Index name → value of one state; None is not indexed."""
        found = ((name, getattr(fields, name)) for name in self.category.indexes)
        return {name: str(value) for name, value in found if value is not None}

    def check_key(self, key: str, fields: Any) -> None:
        """Raise InvalidStateError unless the id in the body is the key it is stored under."""
        inside = getattr(fields, self.category.key_field)
        if inside != key:
            raise InvalidStateError(
                f"{self.category.name}: the body's {self.category.alias(self.category.key_field)} is {inside!r}, "
                f"but it is written under the key {key!r}",
                reason="id_mismatch",
            )

    def check_transition(self, key: str, base: bytes | None, fields: Any) -> Transition | None:
        """The change of status this is; None for a new state, one that keeps its status, or no table.

        Raises InvalidTransitionError unless the table allows it.
        """
        status_field = self.category.status_field
        if self.transitions is None or status_field is None:
            return None
        after = str(getattr(fields, status_field))
        before = None if base is None else str(getattr(self.read(base), status_field))
        if before is None:
            allowed = bool(self.transitions.get(after)) or after not in self.transitions
        else:
            following = self.transitions.get(before, frozenset[str]())
            allowed = bool(following) and (after == before or after in following)
        if not allowed:
            raise InvalidTransitionError(
                f"{self.category.name} {key!r}: {before or 'a new state'} → {after} is not allowed",
                category=self.category.name,
                key=key,
                from_status=before,
                to_status=after,
            )
        return None if before is None or before == after else Transition(self.category.name, before, after)

    def status_patch(self, status: str) -> dict[str, str]:
        """The merge patch that changes the status. Raises InvalidStateError for a category without one."""
        if self._status is None:
            raise InvalidStateError(f"category {self.category.name!r} has no status")
        return {self._status: status}


class Registry:
    """The categories a shard serves, and those it cannot serve with the reason."""

    def __init__(self) -> None:
        self._registered: dict[int, Registered] = {}
        self._refused: dict[int, str] = {}

    def add(self, registered: Registered) -> bool:
        """Serve a category from now on. Whether its states have another schema now than they had before."""
        known = self._registered.get(registered.id)
        self._registered[registered.id] = registered
        self._refused.pop(registered.id, None)
        return known is not None and known.category.schema_version != registered.category.schema_version

    def refuse(self, category_id: int, reason: str) -> None:
        """Refuse a category that is not served, with this reason."""
        self._refused[category_id] = reason

    def find(self, category_id: int) -> Registered:
        """Raises UnknownCategoryError, with the reason where one is known."""
        registered = self._registered.get(category_id)
        if registered is None:
            raise UnknownCategoryError(self._refused.get(category_id) or f"no category has the id {category_id}")
        return registered

    def check_place(self, slot: int, key: str, limits: Limits) -> None:
        """Raise InvalidKeyError for a bad key, ProtocolError for one of another slot, and as `find` does."""
        check_key(key, limits)
        registered = self.find(category_of_slot(slot))
        if slot_of(registered.id, key, registered.slots) != slot:
            raise ProtocolError(f"key {key!r} does not belong to slot {slot}")
