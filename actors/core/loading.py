"""Entries on their way from the store, and who waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lightning_state.actors.core.operation import Operation

Place = tuple[int, str]
"""(slot, key)."""
Reader = tuple[int, int]
"""(call, index) of a read."""


@dataclass(slots=True)
class Loading:
    """A load on its way, with everybody who wants its result."""

    ticket: int
    reads: list[Reader] = field(default_factory=list[Reader])
    operation: Operation | None = None
    """The key's first pending write, if it has no base yet."""


class Loads:
    """All loads on their way, one for each key."""

    def __init__(self) -> None:
        self._loadings: dict[Place, Loading] = {}
        self._places: dict[int, Place] = {}

    def __len__(self) -> int:
        return len(self._loadings)

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._places

    def get(self, place: Place) -> Loading | None:
        """The load of this key that is on its way."""
        return self._loadings.get(place)

    def begin(self, place: Place, ticket: int) -> Loading:
        """A load of this key is asked for."""
        self._places[ticket] = place
        loading = self._loadings[place] = Loading(ticket)
        return loading

    def landed(self, ticket: int) -> Place | None:
        """Of which key this is the result; None when nobody waits for it any more."""
        return self._places.pop(ticket, None)

    def take(self, place: Place) -> Loading:
        """Who waits for what has landed."""
        return self._loadings.pop(place)

    def let_go(self, call: int) -> Iterator[Reader]:
        """The reads of this call, which wait no longer; what nobody else waits for is not wanted any more."""
        for place, loading in list(self._loadings.items()):
            mine = [reader for reader in loading.reads if reader[0] == call]
            if mine:
                loading.reads = [reader for reader in loading.reads if reader[0] != call]
                yield from mine
                if not loading.reads and loading.operation is None:
                    del self._loadings[place], self._places[loading.ticket]

    def readers(self) -> list[Reader]:
        """All reads that wait."""
        return [reader for loading in self._loadings.values() for reader in loading.reads]

    def clear(self) -> None:
        """Nobody waits any more."""
        self._loadings.clear()
        self._places.clear()
