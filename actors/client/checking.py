"""What a collection does without asking anybody: checks what it is given, and encodes it. For both kinds of client."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from lightning_state.actors.category import Category
from lightning_state.actors.core.checks import check_body, check_key
from lightning_state.actors.errors import (
    InvalidStateError,
    StateNotFoundError,
    StateTooLargeError,
    VersionConflictError,
)
from lightning_state.actors.limits import Limits
from lightning_state.actors.models import State

S = TypeVar("S", bound=State)


class CollectionChecks(ABC, Generic[S]):
    """The part of a collection that is the same for threads and for asyncio."""

    category: Category[S]

    @property
    @abstractmethod
    def _limits(self) -> Limits:
        """The service's limits."""

    def _encoded(self, state: S) -> tuple[str, bytes, S]:
        """Key, body and the state as it will be read back: a `model_copy` of a user's may hold anything."""
        self._check_model(state)
        body = check_body(self.category.encode(state), self._limits)
        checked = self.category.decode(body)
        return check_key(self.category.key(checked), self._limits), body, checked

    def _check_model(self, state: S) -> None:
        if not isinstance(state, self.category.model):
            raise InvalidStateError(
                f"{self.category.name} holds {self.category.model.__name__}, not {type(state).__name__}"
            )

    def _json(self, change: Mapping[str, Any]) -> bytes:
        try:
            return json.dumps(change, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidStateError(f"the change cannot be written as JSON: {error}") from error

    def _batch(self, keys: Iterable[str]) -> tuple[str, ...]:
        distinct = tuple(dict.fromkeys(keys))
        most = self._limits.batch_keys
        if len(distinct) > most:
            raise StateTooLargeError(f"a batch of {len(distinct)} keys; the limit is {most}", limit=most)
        return distinct

    def _distinct(self, states: Iterable[S]) -> dict[str, S]:
        batch: dict[str, S] = {}
        for state in states:
            self._check_model(state)
            name = self.category.key(state)
            if name in batch:
                raise InvalidStateError(f"{name!r} is in the batch twice: which one is meant to be stored?")
            batch[name] = state
        self._batch(batch)
        return batch

    def _index(self, index: Mapping[str, str]) -> tuple[str, str]:
        allowed = ", ".join(self.category.indexes) or "none"
        for name in index:
            if name not in self.category.indexes:
                raise InvalidStateError(f"{self.category.name} has no index {name!r}; it has {allowed}")
        if len(index) > 1:
            raise InvalidStateError(f"list filters by one index at a time, not by {' and '.join(index)}")
        return next(((name, str(value)) for name, value in index.items()), ("", ""))

    def _overtaking(self, key: str, conflict: VersionConflictError) -> S:
        current: S | None = conflict.current
        if current is None:
            raise StateNotFoundError(
                f"{self.category.name} {key!r} was deleted meanwhile", category=self.category.name, key=key
            ) from conflict
        return current

    def _check_consistency(self, consistency: str) -> None:
        if consistency not in ("cached", "linearizable"):
            raise InvalidStateError(f'consistency is "cached" or "linearizable", not {consistency!r}')
