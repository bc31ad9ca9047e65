"""A client's cache: what may be stored, joined and answered from memory is decided here and nowhere else (C8).

Pure: `now_s` is an argument, sending and waiting are the caller's, and so is a lock when several threads use it.
Around every read and own write of a key:

    ticket = cache.begin_read(...)                     # or begin_write, begin_list: before it is sent
    cache.end_read(ticket, stamp, value, ...)          # or end_write, end_list: with what the owner answered
    cache.give_up(ticket)                              # when there is no answer; harmless after an end

The transport tells of channels opened and lost, of what they push, and of proofs that they are alive. A push is told
before any reply that came after it on its channel is given to whoever asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning_state.actors.core.cache_entries import (
    Channel,
    Entries,
    Entry,
    KeyPlace,
    ListPlace,
    Place,
    Stamp,
    Ticket,
)
from lightning_state.actors.core.slots import category_of_slot

STALE_S = 3.0
"""An entry answers only this long after the question whose answer last proved its channel alive."""


class Cache:
    """Entries by place. Every entry was answered by the owner over a channel that is live, and tells of its change."""

    def __init__(self, size_bytes: int, ttl_s: float) -> None:
        self._entries = Entries(size_bytes)
        self._ttl_s = ttl_s
        self._channels: dict[int, Channel] = {}
        self._tickets: dict[KeyPlace | str, list[Ticket]] = {}
        # Those of keys by place; those of lists by category: any change in it may change them.
        self._categories: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"<Cache entries={len(self)} bytes={self.size_bytes} channels={sorted(self._channels)}>"

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """The entries' sizes, as they were given."""
        return int(self._entries.currsize)

    @property
    def evicted(self) -> int:
        """Entries that made room for others."""
        return self._entries.evicted

    # -- answers from memory ---

    def find(self, place: Place, now_s: float) -> Entry | None:
        """The entry of a key or list part, if it may answer now; used most recently from here on."""
        entry = self._entries.get(place)
        if entry is None:
            return None
        if now_s >= entry.expires_s:
            del self._entries[place]
            return None
        # One whose channel was not proven alive lately waits for the next proof, or for the channel's loss.
        return entry if now_s - entry.channel.proven_s <= STALE_S else None

    def is_fresh(self, entry: Entry, epoch: int, revision: int) -> bool:
        """Whether an entry provably reflects this revision of its slot."""
        channel = entry.channel
        if channel.epoch != epoch:
            return channel.epoch > epoch
        return max(entry.stamp.revision, channel.revisions.get(entry.slot, 0)) >= revision

    # -- reads and own writes ---

    def begin_read(self, place: KeyPlace, slot: int, shard: int) -> Ticket:
        """A read of a key is about to be sent."""
        return self._begin(Ticket(place, slot, self._channels.get(shard)))

    def joinable(self, place: KeyPlace) -> Ticket | None:
        """A read under way whose answer is good for one that begins now."""
        for ticket in self._tickets.get(place, ()):
            if not (ticket.is_write or ticket.is_spoiled) and ticket.channel is not None:
                return ticket
        return None

    def end_read(self, ticket: Ticket, stamp: Stamp, value: Any, size_bytes: int, now_s: float) -> bool:
        """The owner's answer to a read; whether it was stored."""
        self.give_up(ticket)
        return self._store(ticket, stamp, value, size_bytes, now_s)

    def begin_write(self, place: KeyPlace, slot: int, shard: int) -> Ticket:
        """An own write of a key is about to be sent: reads under way must not be stored or joined any more."""
        self._spoil(place)
        return self._begin(Ticket(place, slot, self._channels.get(shard), is_write=True))

    def end_write(self, ticket: Ticket, stamp: Stamp, value: Any, size_bytes: int, now_s: float) -> bool:
        """The owner's answer to the first and only sending of an own write; whether what it wrote was stored."""
        self.give_up(ticket)
        self._own_change(ticket)
        return self._store(ticket, stamp, value, size_bytes, now_s)

    def doubt_write(self, ticket: Ticket) -> None:
        """An own write ended otherwise: unknown, refused or repeated. Only the owner knows what is true of its key."""
        self.give_up(ticket)
        self._own_change(ticket)
        self._entries.pop(ticket.place, None)

    def begin_list(self, place: ListPlace, slot: int) -> Ticket:
        """A read of one shard's part of a list is about to be sent. `slot`: any one of its category."""
        return self._begin(Ticket(place, slot, self._channels.get(place[3])))

    def end_list(self, ticket: Ticket, keys: Sequence[str], value: Any, size_bytes: int, now_s: float) -> bool:
        """A complete part of a list, with the keys of its members; whether it was stored."""
        self.give_up(ticket)
        if ticket.channel is None:
            return False
        return self._store(ticket, Stamp(ticket.channel.epoch, 0, 0), value, size_bytes, now_s, members=tuple(keys))

    def give_up(self, ticket: Ticket) -> None:
        """Nobody waits for the answer any more. May be called repeatedly."""
        if ticket.is_over:
            return
        ticket.is_over = True
        affected = _affected(ticket.place)
        several = self._tickets[affected]
        several.remove(ticket)
        if not several:
            del self._tickets[affected]

    def reflects(self, ticket: Ticket, epoch: int, revision: int) -> None:
        """An answer came when its slot was at this revision: the pushes of all that precede came before it."""
        channel = ticket.channel
        if channel is not None and channel.is_live and channel.epoch == epoch:
            channel.revisions[ticket.slot] = max(revision, channel.revisions.get(ticket.slot, 0))

    # -- by hand ---

    def invalidate(self, place: KeyPlace) -> None:
        """Forget a key: the next read asks its owner."""
        self._outdate(place)
        self._forget(place)

    def invalidate_category(self, category: str) -> None:
        """Forget every key and list of a category."""
        self._spoil_all(lambda ticket: ticket.place[0] == category)
        self._entries.drop(lambda place, _: place[0] == category)

    def clear(self) -> None:
        """Forget everything; no channel is live."""
        for channel in self._channels.values():
            channel.is_live = False
        self._channels.clear()
        self._spoil_all(lambda _: True)
        self._entries.clear()

    # -- what the transport tells ---

    def opened(self, shard: int, epoch: int, now_s: float) -> None:
        """A channel to a shard, which tells of changes from now on."""
        self.lost(shard)
        self._channels[shard] = Channel(shard, epoch, now_s)

    def proved(self, shard: int, sent_s: float) -> None:
        """What was asked over a channel at `sent_s` was answered: all pushes of before have arrived."""
        channel = self._channels.get(shard)
        if channel is not None and channel.proven_s < sent_s:
            channel.proven_s = sent_s

    def lost(self, shard: int) -> None:
        """The channel is gone, and with it everything it served."""
        channel = self._channels.pop(shard, None)
        if channel is not None:
            channel.is_live = False
            self._empty(channel)

    def flushed(self, shard: int) -> None:
        """Everything of a shard may have changed; the channel tells of what is read from now on."""
        channel = self._channels.get(shard)
        if channel is not None:
            self._empty(channel)

    def owners(self, epochs: Mapping[int, int]) -> None:
        """Shard → epoch of its newest owner: a channel to an older one serves nothing any more."""
        for shard, channel in list(self._channels.items()):
            if epochs.get(shard, channel.epoch) > channel.epoch:
                self.lost(shard)

    def changed(self, shard: int, slot: int, key: str, stamp: Stamp) -> None:
        """A key has changed."""
        channel = self._channels.get(shard)
        if channel is not None:
            channel.revisions[slot] = max(stamp.revision, channel.revisions.get(slot, 0))
        category = self._categories.get(category_of_slot(slot))
        if category is None:
            return
        place = (category, key)
        for ticket in self._tickets.get(place, ()):
            ticket.is_spoiled |= not ticket.is_write
            ticket.pushed = max(ticket.pushed, stamp)
        self._spoil(category)
        self._forget(place)

    def list_changed(self, shard: int, category_id: int, index: str, value: str) -> None:
        """A list has a member more, or one of its members has changed."""
        category = self._categories.get(category_id)
        if category is not None:
            self._spoil(category)
            self._entries.pop((category, index, value, shard), None)

    # -- small parts ---

    def _begin(self, ticket: Ticket) -> Ticket:
        self._categories[category_of_slot(ticket.slot)] = ticket.place[0]
        self._tickets.setdefault(_affected(ticket.place), []).append(ticket)
        return ticket

    def _store(
        self, ticket: Ticket, stamp: Stamp, value: Any, size_bytes: int, now_s: float, *, members: tuple[str, ...] = ()
    ) -> bool:
        channel = ticket.channel
        held = self._entries.peek(ticket.place)
        if channel is None or not channel.is_live or channel.epoch != stamp.epoch:
            self._overtake(ticket.place, stamp)
            return False
        if ticket.is_spoiled or ticket.pushed > stamp:
            self._drop_older(ticket.place, max(stamp, ticket.pushed))
            return False
        self.reflects(ticket, stamp.epoch, stamp.revision)
        if held is not None and held.stamp > stamp:
            return False
        entry = Entry(stamp, value, ticket.slot, channel, now_s + self._ttl_s, size_bytes, members)
        return self._entries.put(ticket.place, entry)

    def _overtake(self, place: Place, stamp: Stamp) -> None:
        """An answer by the actor handle may be ahead of the channel's pushes: nothing older may be shown after it."""
        if len(place) == 2:  # noqa: PLR2004  # a key's
            self._outdate(place)
            self._drop_lists(place)
        self._drop_older(place, stamp)

    def _outdate(self, place: KeyPlace) -> None:
        """What is under way for a key, or for a list that may have it, is neither stored nor joined."""
        self._spoil(place)
        self._spoil(place[0])

    def _drop_lists(self, member: KeyPlace) -> None:
        for holder in self._entries.lists_with(member):
            self._entries.pop(holder, None)

    def _own_change(self, ticket: Ticket) -> None:
        """Pushes of an own write come before its answer only if both came over the channel."""
        category, key = ticket.place[0], ticket.place[1]
        self._outdate((category, key))
        if ticket.channel is None or not ticket.channel.is_live:
            self._entries.drop(lambda place, _: place[0] == category and _affected(place) == category)

    def _forget(self, place: KeyPlace) -> None:
        self._drop_lists(place)
        self._entries.pop(place, None)

    def _drop_older(self, place: Place, stamp: Stamp) -> None:
        held = self._entries.peek(place)
        if held is not None and held.stamp < stamp:
            self._entries.pop(place, None)

    def _empty(self, channel: Channel) -> None:
        self._spoil_all(lambda ticket: ticket.channel is channel)
        self._entries.drop(lambda _, entry: entry.channel is channel)

    def _spoil(self, affected: KeyPlace | str) -> None:
        for ticket in self._tickets.get(affected, ()):
            ticket.is_spoiled = True

    def _spoil_all(self, chosen: Callable[[Ticket], bool]) -> None:
        for several in self._tickets.values():
            for ticket in several:
                ticket.is_spoiled |= chosen(ticket)


def _affected(place: Place) -> KeyPlace | str:
    """What a change must be of to affect a read of this place: its key, or for a list anything of its category."""
    return place if len(place) == 2 else place[0]  # noqa: PLR2004  # a KeyPlace has two parts, a ListPlace four
