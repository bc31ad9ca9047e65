"""MemoryStore: the store for tests and simulation, held to the same suite as the others.

Nothing survives the process, but everything survives the store: the rows live on a `MemoryDisk`, so that closing a
store and opening another on the same disk is a restart, and `crash()` is `kill -9`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from itertools import takewhile
from threading import Lock

from lightning_state.actors.core.listing import SCAN_BYTES, cut
from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import (
    Applied,
    Entry,
    Hold,
    JournalRow,
    SlotHead,
    applied_of,
    begun_hold,
    ended_hold,
    entry_of,
)
from lightning_state.actors.core.slots import category_of_slot
from lightning_state.actors.errors import DataDirectoryError, FencedError, StoreUnavailableError
from lightning_state.actors.store.protocol import StoreStatus
from lightning_state.actors.store.selection import is_indexed, lowest_key


class MemoryDisk:
    """What outlives a MemoryStore: committed rows and slot heads, and which store owns them."""

    def __init__(self) -> None:
        self.owner: object | None = None
        self.journal: list[JournalRow] = []
        self.epochs: dict[int, int] = {}
        self.revisions: dict[int, int] = {}
        self.keys: dict[tuple[int, str], list[JournalRow]] = {}
        """(slot, key) → its changes, oldest first."""
        self.requests: dict[tuple[int, str, str], JournalRow] = {}
        self.sorted_keys: dict[int, list[tuple[str, int]]] = {}
        """Category → its (key, slot), tombstones included, in order."""
        self.held: dict[Hold, JournalRow] = {}
        self.values: dict[str, bytes] = {}
        """The registry's values."""

    def append(self, row: JournalRow) -> None:
        """One committed row."""
        self.journal.append(row)
        self.revisions[row.slot] = row.revision
        if row.request_id:
            self.requests.setdefault((row.slot, row.principal, row.request_id), row)
        if (ended := ended_hold(row)) is not None:
            self.held.pop(ended, None)
        if (begun := begun_hold(row)) is not None:
            self.held[begun] = row
        if not row.version:
            return
        place = (row.slot, row.key)
        if place not in self.keys:
            self.keys[place] = []
            insort(self.sorted_keys.setdefault(category_of_slot(row.slot), []), (row.key, row.slot))
        self.keys[place].append(row)


class MemoryStore:
    """`Store` on a MemoryDisk; one open store a disk, like one owner a file."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.disk = disk if disk is not None else MemoryDisk()
        self._lock = Lock()

    def __repr__(self) -> str:
        state = "open" if self.disk.owner is self else "closed"
        return f"<MemoryStore {state} last_id={len(self.disk.journal)}>"

    def open(self) -> None:
        """As `Store.open`. Raises DataDirectoryError while another store has the disk open."""
        if self.disk.owner is not None:
            raise DataDirectoryError("the memory disk is in use by another store: close that one first")
        self.disk.owner = self

    def crash(self) -> None:
        """End without closing: what was committed is on the disk, nothing else is."""
        if self.disk.owner is self:
            self.disk.owner = None

    def acquire(self, slots: Iterable[int], epoch: int) -> list[SlotHead]:
        """As `Store.acquire`."""
        disk = self._opened()
        wanted = list(slots)
        with self._lock:
            for slot in wanted:
                if disk.epochs.get(slot, 0) > epoch:
                    raise FencedError(f"slot {slot} is owned under epoch {disk.epochs[slot]}, not {epoch}")
            disk.epochs.update(dict.fromkeys(wanted, epoch))
        return [SlotHead(slot, epoch, disk.revisions.get(slot, 0), 0) for slot in wanted]

    def commit(self, rows: Sequence[JournalRow]) -> None:
        """As `Store.commit`."""
        disk = self._opened()
        with self._lock:
            for row in rows:
                if disk.epochs.get(row.slot) != row.epoch:
                    raise FencedError(f"slot {row.slot} is not owned under epoch {row.epoch} any more")
            for row in rows:
                disk.append(row)

    def project(self, most: int) -> int:  # noqa: ARG002  # the protocol's name; here commits project themselves
        """As `Store.project`: there is never anything left."""
        self._opened()
        return 0

    def load(self, keys: Sequence[tuple[int, str]]) -> list[Entry | None]:
        """As `Store.load`."""
        disk = self._opened()
        with self._lock:
            return [entry_of(disk.keys[place][-1]) if place in disk.keys else None for place in keys]

    def applied(self, slot: int, principal: str, request_id: str) -> Applied | None:
        """As `Store.applied`."""
        row = self._opened().requests.get((slot, principal, request_id))
        return None if row is None else applied_of(row)

    def scan(self, request: List, size_bytes: int = SCAN_BYTES) -> list[Entry]:
        """As `Store.scan`."""
        disk = self._opened()
        with self._lock:
            places = disk.sorted_keys.get(request.category_id, [])
            first = bisect_left(places, (lowest_key(request), -1))
            mine = takewhile(lambda place: place[0].startswith(request.prefix), places[first:])
            rows = (disk.keys[slot, key][-1] for key, slot in mine)
            wanted = (entry_of(row) for row in rows if row.body is not None and is_indexed(row, request))
            return cut(wanted, request.limit, size_bytes)

    def history(self, slot: int, key: str, *, after_version: int, limit: int) -> list[JournalRow]:
        """As `Store.history`."""
        with self._lock:
            rows = self._opened().keys.get((slot, key), [])
            return [row for row in rows if row.version > after_version][:limit]

    def held(self, slots: Iterable[int]) -> list[JournalRow]:
        """As `Store.held`."""
        wanted = set(slots)
        with self._lock:
            return [row for (slot, _, _), row in self._opened().held.items() if slot in wanted]

    def checkpoint(self) -> None:
        """As `Store.checkpoint`: there is no other place to move anything to."""
        self._opened()

    def status(self) -> StoreStatus:
        """As `Store.status`; the size counts bodies only."""
        disk = self.disk
        with self._lock:
            return StoreStatus(
                journal_rows=len(disk.journal),
                last_journal_id=len(disk.journal),
                unprojected_rows=0,
                keys=sum(rows[-1].body is not None for rows in disk.keys.values()),
                size_bytes=sum(len(row.body or b"") for row in disk.journal),
            )

    def close(self) -> None:
        """As `Store.close`; safe to call twice."""
        self.crash()

    def _opened(self) -> MemoryDisk:
        if self.disk.owner is not self:
            raise StoreUnavailableError("the memory store is not open")
        return self.disk
