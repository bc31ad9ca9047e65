"""The reading calls: the overlay first, then the file, every row verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from heapq import merge
from typing import Any

import apsw

from lightning_state.actors.core.listing import SCAN_BYTES, cut
from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import Applied, Entry, JournalRow, applied_of, entry_of
from lightning_state.actors.core.slots import category_of_slot
from lightning_state.actors.store.selection import is_indexed, lowest_key
from lightning_state.actors.store.sqlite.journal import pointed_row_of
from lightning_state.actors.store.sqlite.overlay import Overlay
from lightning_state.actors.store.sqlite.projection import segment_of
from lightning_state.actors.store.sqlite.statements import queries

_ABOVE_EVERY_KEY = "\U0010ffff"


class Reading:
    """One reading connection with the overlay of the store that writes."""

    def __init__(self, connection: apsw.Connection, overlay: Overlay) -> None:
        self._connection = connection
        self._overlay = overlay
        self._sql = queries("reading")

    def load(self, keys: Sequence[tuple[int, str]]) -> list[Entry | None]:
        """As `Store.load`."""
        found: list[Entry | None] = []
        execute, sql = self._connection.execute, self._sql["load"]
        for (slot, key), row in zip(keys, self._overlay.newest(keys), strict=True):
            if row is None:
                columns = execute(sql, (category_of_slot(slot), key, slot)).fetchone()
                row = None if columns is None else pointed_row_of(columns)  # noqa: PLW2901  # found elsewhere
            found.append(None if row is None else entry_of(row))
        return found

    def applied(self, slot: int, principal: str, request_id: str) -> Applied | None:
        """As `Store.applied`."""
        row = self._overlay.request(slot, principal, request_id)
        if row is None:
            bindings = (request_id, principal, slot)
            columns = self._connection.execute(self._sql["applied"], bindings).fetchone()
            row = None if columns is None else pointed_row_of(columns)
        return None if row is None else applied_of(row)

    def scan(self, request: List, size_bytes: int = SCAN_BYTES) -> list[Entry]:
        """As `Store.scan`. The overlay decides about every key it knows, the file about the others."""
        recent = self._overlay.category(request.category_id)
        bounds = (lowest_key(request), request.prefix + _ABOVE_EVERY_KEY)
        mine = sorted(
            (
                row
                for (key, _), row in recent.items()
                if bounds[0] <= key < bounds[1] and row.body is not None and is_indexed(row, request)
            ),
            key=_key_of,
        )
        if request.index:
            bindings = (request.category_id, request.index, request.value, *bounds)
            cursor = self._connection.execute(self._sql["scan_index"], bindings)
        else:
            cursor = self._connection.execute(self._sql["scan"], (request.category_id, *bounds))
        with closing(cursor):
            stored = (row for row in _verified(cursor) if (row.key, row.slot) not in recent)
            return cut(map(entry_of, merge(stored, mine, key=_key_of)), request.limit, size_bytes)

    def history(self, slot: int, key: str, *, after_version: int, limit: int) -> list[JournalRow]:
        """As `Store.history`. Looks into every segment of the journal: some microseconds for each 65,536 rows."""
        recent = self._overlay.versions(slot, key)
        rows: list[JournalRow] = []
        last = segment_of(self._connection.execute(self._sql["projected"]).get)
        for segment in range(last + 1):
            if len(rows) >= limit:
                break
            bindings = (segment, slot, key, after_version, limit - len(rows))
            rows.extend(_verified(self._connection.execute(self._sql["history"], bindings)))
        reached = rows[-1].version if rows else after_version
        rows.extend(row for row in recent if row.version > reached)
        return rows[:limit]


def _key_of(row: JournalRow) -> str:
    return row.key


def _verified(cursor: Iterator[tuple[Any, ...]]) -> Iterator[JournalRow]:
    return (pointed_row_of(columns) for columns in cursor)
