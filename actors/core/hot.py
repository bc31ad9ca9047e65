"""The hot states of a shard: bounded in bytes, least recently used out first. What is not here is in the store."""

from __future__ import annotations

from collections import OrderedDict

from lightning_state.actors.core.rows import Entry

_OVERHEAD_BYTES = 400
"""Of an entry beside its body and key: the objects, the table's row (measured, rounded up)."""


class HotEntries:
    """Last committed entries by (slot, key). An entry of version 0 says: known never to have been stored."""

    def __init__(self, limit_bytes: int) -> None:
        self._entries: OrderedDict[tuple[int, str], Entry] = OrderedDict()
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, slot: int, key: str) -> Entry | None:
        """The entry, marked as used; None when it must be loaded."""
        entry = self._entries.get((slot, key))
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
            self._entries.move_to_end((slot, key))
        return entry

    def put(self, slot: int, entry: Entry) -> None:
        """Keep an entry in place of the key's older one, and evict others beyond the limit."""
        self.evict(slot, entry.key)
        self._entries[slot, entry.key] = entry
        self.size_bytes += _size(entry)
        while self.size_bytes > self.limit_bytes and len(self._entries) > 1:
            _, evicted = self._entries.popitem(last=False)
            self.size_bytes -= _size(evicted)

    def evict(self, slot: int, key: str) -> None:
        """Forget one entry, if it is here. Always safe: pending writes hold what they are based on."""
        entry = self._entries.pop((slot, key), None)
        if entry is not None:
            self.size_bytes -= _size(entry)

    def keys(self) -> list[tuple[int, str]]:
        """All (slot, key) held, least recently used first."""
        return list(self._entries)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.size_bytes = 0


def _size(entry: Entry) -> int:
    return _OVERHEAD_BYTES + len(entry.key) + (len(entry.body) if entry.body is not None else 0)
