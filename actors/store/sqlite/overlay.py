"""The unprojected tail of the journal in memory: what makes reads see every commit at once.

Bounded: `ROWS_MOST` rows or `BODIES_MOST_BYTES` of bodies; a commit that would exceed either projects first. One
writer adds and drops, any reader looks; a lock of some tens of nanoseconds keeps each look whole. A reader looks here
before it looks into the file, and rows are dropped only after the file has them, so nothing falls in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from threading import Lock

from lightning_state.actors.core.rows import JournalRow
from lightning_state.actors.core.slots import category_of_slot

ROWS_MOST = 32768
BODIES_MOST_BYTES = 32 * 1024 * 1024

Place = tuple[str, int]
"""(key, slot): sorts as lists are answered."""


class Overlay:
    """Rows by journal id, by key and by request id."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rows: deque[tuple[int, JournalRow]] = deque()
        self._keys: dict[int, dict[Place, list[JournalRow]]] = {}
        self._requests: dict[tuple[int, str, str], JournalRow] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def has_room(self, rows: Sequence[JournalRow]) -> bool:
        """These rows can be added within the bounds; always true when there is nothing yet."""
        if not self._rows:
            return True
        size_bytes = sum(len(row.body) for row in rows if row.body is not None)
        return len(self._rows) + len(rows) <= ROWS_MOST and self._size_bytes + size_bytes <= BODIES_MOST_BYTES

    def add(self, first_id: int, rows: Sequence[JournalRow]) -> None:
        """Rows that were just committed, numbered from `first_id`."""
        with self._lock:
            for journal_id, row in enumerate(rows, first_id):
                self._rows.append((journal_id, row))
                if row.request_id:
                    self._requests.setdefault((row.slot, row.principal, row.request_id), row)
                if not row.version:
                    continue
                places = self._keys.setdefault(category_of_slot(row.slot), {})
                places.setdefault((row.key, row.slot), []).append(row)
                self._size_bytes += len(row.body) if row.body is not None else 0

    def first(self, most: int) -> list[tuple[int, JournalRow]]:
        """The oldest rows with their journal ids, at most so many."""
        return list(islice(self._rows, most))

    def drop(self, count: int) -> None:
        """Forget the oldest rows: the file has them now."""
        with self._lock:
            for _ in range(count):
                _, row = self._rows.popleft()
                request = (row.slot, row.principal, row.request_id)
                if self._requests.get(request) is row:
                    del self._requests[request]
                if not row.version:
                    continue
                places = self._keys[category_of_slot(row.slot)]
                versions = places[row.key, row.slot]
                if len(versions) == 1:
                    del places[row.key, row.slot]
                else:
                    del versions[0]
                self._size_bytes -= len(row.body) if row.body is not None else 0

    def newest(self, keys: Sequence[tuple[int, str]]) -> list[JournalRow | None]:
        """The newest unprojected change of each (slot, key)."""
        with self._lock:
            found: list[JournalRow | None] = []
            for slot, key in keys:
                versions = self._keys.get(category_of_slot(slot), {}).get((key, slot))
                found.append(versions[-1] if versions else None)
            return found

    def versions(self, slot: int, key: str) -> list[JournalRow]:
        """All unprojected changes of a key, oldest first."""
        with self._lock:
            return list(self._keys.get(category_of_slot(slot), {}).get((key, slot), ()))

    def request(self, slot: int, principal: str, request_id: str) -> JournalRow | None:
        """The unprojected change a request id made first."""
        with self._lock:
            return self._requests.get((slot, principal, request_id))

    def category(self, category_id: int) -> dict[Place, JournalRow]:
        """The newest unprojected change of every key of a category."""
        with self._lock:
            return {place: rows[-1] for place, rows in self._keys.get(category_id, {}).items()}
