"""Lists read from the store: no page shows a change of which caches have not heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.effects import Effect, Scan
from lightning_state.actors.core.listing import page_of
from lightning_state.actors.core.messages import List, Page, Refused, Reply
from lightning_state.actors.core.rows import Entry, JournalRow
from lightning_state.actors.core.slots import category_of_slot


class _Asked(msgspec.Struct, frozen=True):
    call: int
    index: int
    request: List


class Scans:
    """The lists under way in one shard."""

    def __init__(self, respond: Callable[[int, int, Reply], None], size_bytes: int) -> None:
        self._respond = respond
        self._size_bytes = size_bytes
        self._asked: dict[int, _Asked] = {}
        self._held: list[tuple[_Asked, Page]] = []

    def __len__(self) -> int:
        return len(self._asked) + len(self._held)

    def begin(self, ticket: int, call: int, index: int, request: List) -> Effect:
        """What to read."""
        self._asked[ticket] = _Asked(call, index, request)
        return Scan(ticket, request, self._size_bytes)

    def asked(self, ticket: int) -> List | None:
        """What this is the result of; None when nobody waits for it any more."""
        asked = self._asked.get(ticket)
        return None if asked is None else asked.request

    def read(
        self, ticket: int, entries: Sequence[Entry], category: Category[Any], committing: Iterable[JournalRow]
    ) -> None:
        """The entries found, by `cut`; they may show a commit that was not told of yet.

        Raises what a state's upcast does.
        """
        asked = self._asked[ticket]
        page = page_of(asked.request, entries, category, self._size_bytes)
        del self._asked[ticket]
        if is_changing(asked.request.category_id, committing):
            self._held.append((asked, page))
        else:
            self._respond(asked.call, asked.index, page)

    def fail(self, ticket: int, refused: Refused) -> None:
        """It could not be read, or not be shown."""
        asked = self._asked.pop(ticket)
        self._respond(asked.call, asked.index, refused)

    def release(self) -> None:
        """The commit is over and told: what waited for that goes."""
        held, self._held = self._held, []
        for asked, page in held:
            self._respond(asked.call, asked.index, page)

    def disown(self, refused: Refused) -> None:
        """Send everybody who asked to the next owner."""
        for asked in (*self._asked.values(), *(asked for asked, _ in self._held)):
            self._respond(asked.call, asked.index, refused)
        self._asked.clear()
        self._held.clear()


def is_changing(category_id: int, committing: Iterable[JournalRow]) -> bool:
    """Whether the store may show a change of this category whose success has not been told yet."""
    return any(category_of_slot(row.slot) == category_id for row in committing)
