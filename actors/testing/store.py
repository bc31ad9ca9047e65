"""The simulated store of one shard: a journal with the epoch check, and the projections a shard reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from lightning_state.actors.core.listing import SCAN_BYTES, cut
from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import (
    Applied,
    Entry,
    Hold,
    JournalRow,
    Op,
    SlotHead,
    applied_of,
    begun_hold,
    ended_hold,
    entry_of,
)
from lightning_state.actors.core.slots import category_of_slot
from lightning_state.actors.errors import FencedError


class SimulatedStore:
    """What is appended is durable. Incarnations come and go; the newest epoch of a slot owns it."""

    def __init__(self) -> None:
        self.rows: list[JournalRow] = []
        self._epochs: dict[int, int] = {}
        self._revisions: dict[int, int] = {}
        self._floors: dict[int, int] = {}
        self._entries: dict[tuple[int, str], Entry] = {}
        self._applied: dict[tuple[int, str, str], Applied] = {}
        self._held: dict[Hold, JournalRow] = {}

    def __repr__(self) -> str:
        return f"<SimulatedStore rows={len(self.rows)} keys={len(self._entries)}>"

    def acquire(self, slots: Iterable[int], epoch: int, *, compact: bool) -> list[SlotHead]:
        """Own these slots under this epoch. Raises FencedError when one has a newer one.

        `compact` drops their tombstones and raises their floors to match, as retention does.
        """
        wanted = list(slots)
        for slot in wanted:
            if self._epochs.get(slot, 0) > epoch:
                raise FencedError(f"slot {slot} is owned under epoch {self._epochs[slot]}, not {epoch}")
        for slot in wanted:
            self._epochs[slot] = epoch
            if compact:
                self._drop_tombstones(slot)
        return [SlotHead(s, epoch, self._revisions.get(s, 0), self._floors.get(s, 0)) for s in wanted]

    def append(self, rows: Sequence[JournalRow]) -> None:
        """Commit rows, all or none. Raises FencedError when a newer epoch owns one of their slots."""
        self.check_epochs(rows)
        for row in rows:
            self.rows.append(row)
            identity = (row.slot, row.principal, row.request_id)
            self._applied[identity] = applied_of(row)
            self._revisions[row.slot] = row.revision
            if (ended := ended_hold(row)) is not None:
                self._held.pop(ended, None)
            if (begun := begun_hold(row)) is not None:
                self._held[begun] = row
            if row.version:
                self._entries[row.slot, row.key] = entry_of(row)

    def history(self, slot: int, key: str, *, after_version: int, limit: int) -> list[JournalRow]:
        """As `Store.history`."""
        changes = (row for row in self.rows if (row.slot, row.key) == (slot, key) and row.version > after_version)
        return list(islice(changes, limit))

    def held(self, slots: Iterable[int]) -> list[JournalRow]:
        """As `Store.held`."""
        wanted = set(slots)
        return [row for (slot, _, _), row in self._held.items() if slot in wanted]

    def check_epochs(self, rows: Sequence[JournalRow]) -> None:
        """The fence of every commit: raise FencedError when a newer epoch owns one of the slots."""
        for row in rows:
            if self._epochs.get(row.slot, 0) != row.epoch:
                raise FencedError(f"slot {row.slot} is owned under epoch {self._epochs.get(row.slot, 0)}")

    def load(self, slot: int, key: str) -> Entry | None:
        """The key's last committed entry."""
        return self._entries.get((slot, key))

    def applied(self, slot: int, principal: str, request_id: str) -> Applied | None:
        """What a request id did."""
        return self._applied.get((slot, principal, request_id))

    def holds(self, slot: int, request_id: str, principal: str) -> bool:
        """Whether the journal has a change under this request id."""
        applied = self._applied.get((slot, principal, request_id))
        return applied is not None and applied.op is not Op.BAR

    def scan(self, request: List, size_bytes: int = SCAN_BYTES) -> list[Entry]:
        """Live entries of a category in key order."""
        found = sorted(
            (
                entry
                for (slot, key), entry in self._entries.items()
                if category_of_slot(slot) == request.category_id
                and entry.body is not None
                and key.startswith(request.prefix)
                and key > request.after
            ),
            key=lambda entry: entry.key,
        )
        return cut(found, request.limit, size_bytes)

    def _drop_tombstones(self, slot: int) -> None:
        dead = [place for place, entry in self._entries.items() if place[0] == slot and entry.body is None]
        for place in dead:
            entry = self._entries.pop(place)
            self._floors[slot] = max(self._floors.get(slot, 0), entry.version)


def rows_of(stores: Iterable[SimulatedStore]) -> list[JournalRow]:
    """The journals of several stores, one after the other."""
    return [row for store in stores for row in store.rows]
