"""What a client's cache holds: channels, entries and operations under way, and the memory bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

KeyPlace = tuple[str, str]
"""(category, key)."""

ListPlace = tuple[str, str, str, int]
"""(category, index, value, shard): one shard's part of a list."""

Place = KeyPlace | ListPlace


class Stamp(NamedTuple):
    """When something was true of a key. Compared in this order: within an epoch a slot's revisions only rise."""

    epoch: int
    revision: int
    version: int


NEVER = Stamp(0, 0, 0)


@dataclass(slots=True, eq=False)
class Channel:
    """One connection to a shard, while it tells this client of changes. A shard connected anew has another one."""

    shard: int
    epoch: int
    """The one the shard proved when the connection was made."""
    proven_s: float
    """When the question was sent whose answer came last: every push of before that moment has arrived."""
    is_live: bool = True
    revisions: dict[int, int] = field(default_factory=dict[int, int])
    """Slot → the highest revision heard of: pushes of all revisions up to it have arrived."""


class Entry(msgspec.Struct, eq=False):
    """A key's state, or a part of a list, that its channel promised to tell changes of."""

    stamp: Stamp
    value: Any
    """Handed out as it is. None: known not to exist."""
    slot: int
    channel: Channel
    expires_s: float
    size_bytes: int
    members: tuple[str, ...] = ()
    """Of a part of a list: its keys."""


class Ticket(msgspec.Struct, eq=False):
    """One read or own write under way, from before it is sent until its answer was taken in."""

    place: Place
    slot: int
    channel: Channel | None
    """The live one when it began: only what was asked over it is told of."""
    is_write: bool = False
    is_spoiled: bool = False
    """What it answers may be outdated already: it is neither stored nor joined."""
    pushed: Stamp = NEVER
    """The newest change of the key that was pushed meanwhile."""
    is_over: bool = False
    flight: Any = None
    """Whatever lets others wait for a read's answer."""


class Entries:
    """Least recently used out first, bounded in bytes; knows which list parts hold a key.

    A read from memory costs little more than this look-up: no cache class of a library is fast enough.
    """

    __slots__ = ("_entries", "_lists", "evicted", "most_bytes", "size_bytes")

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.size_bytes = 0
        """The entries' sizes, as they were given."""
        self.evicted = 0
        self._entries: OrderedDict[Place, Entry] = OrderedDict()
        self._lists: dict[KeyPlace, set[Place]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def use(self, place: Place) -> Entry | None:
        """The entry, used most recently from here on."""
        entry = self._entries.get(place)
        if entry is not None:
            self._entries.move_to_end(place)
        return entry

    def peek(self, place: Place) -> Entry | None:
        """The entry, not counted as a use."""
        return self._entries.get(place)

    def put(self, place: Place, entry: Entry) -> bool:
        """Keep an entry in place of an older one; False when it alone is above the bound."""
        self.forget(place)
        if entry.size_bytes > self.most_bytes:
            return False
        self.size_bytes += entry.size_bytes
        while self.size_bytes > self.most_bytes:
            self.evicted += 1
            self.forget(next(iter(self._entries)))
        self._entries[place] = entry
        for key in entry.members:
            self._lists.setdefault((place[0], key), set()).add(place)
        return True

    def forget(self, place: Place) -> None:
        """There is no such entry any more, if there was."""
        entry = self._entries.pop(place, None)
        if entry is None:
            return
        self.size_bytes -= entry.size_bytes
        for key in entry.members:
            holders = self._lists[place[0], key]
            holders.discard(place)
            if not holders:
                del self._lists[place[0], key]

    def lists_with(self, place: KeyPlace) -> Sequence[Place]:
        """The list parts of which a key is a member."""
        holders = self._lists.get(place)
        return () if holders is None else tuple(holders)

    def drop(self, chosen: Callable[[Place, Entry], bool]) -> None:
        """Forget the entries that are chosen."""
        for place in [place for place, entry in self._entries.items() if chosen(place, entry)]:
            self.forget(place)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._lists.clear()
        self.size_bytes = 0
