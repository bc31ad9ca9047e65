"""One client's cache as its calls and its transport see it: the pure decisions behind a lock, and what is counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from lightning_state.actors.core.cache import Cache
from lightning_state.actors.core.cache_entries import Entry, KeyPlace, ListPlace, Place, Stamp, Ticket
from lightning_state.actors.core.freshness import Seen
from lightning_state.actors.core.messages import Absent, Reply, Value, Write
from lightning_state.actors.core.rows import Entry as Row
from lightning_state.actors.core.service_map import ServiceMap
from lightning_state.actors.core.session import Operation, Session
from lightning_state.actors.limits import CacheSettings
from lightning_state.actors.models import State
from lightning_state.actors.models.frozen import is_frozen
from lightning_state.actors.wire.pushes import Invalidations

_ENTRY_BYTES = 1_500
_BYTES_PER_BODY_BYTE = 6
"""A decoded state takes about this much memory for each byte of its JSON, beside _ENTRY_BYTES."""

Fresh = Mapping[int, tuple[int, int]]
"""Slot → (epoch, revision) that an answer must reflect."""


class ClientCache:
    """Safe from any thread. Hands out states that cannot be changed, and of others the body they are decoded from.

    It is a `PushListener`; without a channel that tells it of changes it holds nothing.
    """

    def __init__(self) -> None:
        self.settings = CacheSettings()
        self._lock = threading.Lock()
        self._cache = self._empty()
        self._seen = Seen()
        self._hits = self._misses = self._joined = 0

    def __repr__(self) -> str:
        return f"<ClientCache {self._cache!r} hits={self._hits} misses={self._misses}>"

    def configure(self, settings: CacheSettings) -> None:
        """Begin anew, empty, with these settings."""
        with self._lock:
            self.settings = settings
            self._cache = self._empty()

    def read(self) -> dict[str, Any]:
        """Figures: hits, misses, joined, hit_rate, entries, bytes, evicted."""
        with self._lock:
            asked = self._hits + self._joined + self._misses
            return {
                "hits": self._hits,
                "misses": self._misses,
                "joined": self._joined,
                "hit_rate": (self._hits + self._joined) / asked if asked else 0.0,
                "entries": len(self._cache),
                "bytes": self._cache.size_bytes,
                "evicted": self._cache.evicted,
            }

    # -- answers from memory ---

    def hit(self, place: Place, fresh: Fresh | None = None) -> Entry | None:
        """The entry that answers a cached read now; None: ask the owner."""
        with self._lock:
            entry = self._cache.find(place, time.monotonic())
            if entry is not None and (fresh is None or self._is_fresh(entry, fresh)):
                self._hits += 1
                return entry
            self._misses += 1
            return None

    def holds(self, place: Place) -> bool:
        """Whether it would answer now; counted as no use."""
        with self._lock:
            return self._cache.find(place, time.monotonic()) is not None

    def begin_read(self, session: Session, operation: Operation) -> Ticket:
        """A read of a key is about to be sent."""
        with self._lock:
            return self._begin_read(session, operation)

    def join_or_begin(self, session: Session, operation: Operation, flight: Any) -> tuple[Ticket, bool]:
        """A read of the same key that is under way, and True; else this one begins, with its own flight, and False."""
        with self._lock:
            ticket = self._cache.joinable((operation.category, operation.key))
            if ticket is not None and ticket.flight is not None:
                return ticket, True
            ticket = self._begin_read(session, operation)
            ticket.flight = flight
            return ticket, False

    def landed(self, ticket: Ticket, *, joined: bool) -> bool:
        """Whether a joined read's answer is still good for whoever joined it: counted as answered without the owner."""
        with self._lock:
            good = joined and not ticket.is_spoiled
            if good:
                self._joined += 1
                self._misses -= 1
            return good

    def answered(self, ticket: Ticket, reply: Reply, state: State | None) -> Any:
        """A read's answer; what to hand to others of it: see `held`."""
        value = held(reply, state)
        if isinstance(reply, (Value, Absent)):
            with self._lock:
                self._note(reply)
                size_bytes = _size_bytes(ticket.place[1], reply)
                self._cache.end_read(ticket, _stamp(reply), value, size_bytes, time.monotonic())
        return value

    def give_up(self, tickets: Iterable[Ticket]) -> None:
        """Nobody waits for these reads any more. Harmless when they were answered."""
        for ticket in tickets:
            if not ticket.is_over:
                with self._lock:
                    self._cache.give_up(ticket)
            if ticket.flight is not None:
                ticket.flight.end()

    # -- own writes ---

    def begin_write(self, session: Session, operation: Operation) -> Ticket:
        """An own write is about to be sent."""
        slot, shard = session.route(operation)
        with self._lock:
            return self._cache.begin_write((operation.category, operation.key), slot, shard)

    def wrote(
        self, ticket: Ticket, operation: Operation, reply: Reply, body: bytes | None, state: State | None
    ) -> None:
        """The owner applied an own write: this is what is stored since, unless it only told of an earlier sending."""
        if not isinstance(reply, Value):
            return
        write = operation.template
        value = state if state is None or is_frozen(state) else msgspec.structs.replace(reply, body=body)
        with self._lock:
            self._note(reply)
            if isinstance(write, Write) and write.fresh and operation.tries == 1:
                size_bytes = _row_bytes(ticket.place[1], body)
                self._cache.end_write(ticket, _stamp(reply), value, size_bytes, time.monotonic())
            else:
                self._cache.doubt_write(ticket)

    def end_writes(self, tickets: Iterable[Ticket]) -> None:
        """Whatever became of these writes is known by now; of those that nothing is known of, the key is forgotten."""
        for ticket in tickets:
            if not ticket.is_over:
                with self._lock:
                    self._cache.doubt_write(ticket)

    # -- lists ---

    def begin_list(self, place: ListPlace, slot: int) -> Ticket:
        """A read of one shard's part of a list is about to be sent; `slot` is any one of its category."""
        with self._lock:
            return self._cache.begin_list(place, slot)

    def listed(self, ticket: Ticket, rows: Sequence[Row], states: tuple[State, ...]) -> None:
        """A complete part of a list."""
        if not all(map(is_frozen, states)):
            return
        size_bytes = _ENTRY_BYTES + sum(_row_bytes(row.key, row.body) for row in rows)
        with self._lock:
            keys = [row.key for row in rows]
            self._cache.end_list(ticket, keys, states, size_bytes, time.monotonic())

    # -- by hand ---

    def invalidate(self, place: KeyPlace) -> None:
        """Forget a key."""
        with self._lock:
            self._cache.invalidate(place)

    def invalidate_category(self, category: str) -> None:
        """Forget a category."""
        with self._lock:
            self._cache.invalidate_category(category)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._cache.clear()

    # -- freshness ---

    def token(self, service_id: str) -> str:
        """What this client has read and written, for the reads of others."""
        with self._lock:
            return self._seen.token(service_id)

    def saw(self, fresh: Fresh) -> None:
        """Somebody else's reads and writes precede this client's from now on."""
        with self._lock:
            self._seen.note_all(fresh)

    def passed(self, place: KeyPlace, reply: Reply) -> None:
        """The owner answered with this, of whose changes it will not tell: it is not kept, nor what may be older."""
        with self._lock:
            if isinstance(reply, (Value, Absent)):
                self._note(reply)
            self._cache.invalidate(place)

    def saw_row(self, slot: int, epoch: int, revision: int) -> None:
        """A list showed a change of this revision."""
        with self._lock:
            self._seen.note(slot, epoch, revision)

    # -- what the transport tells: see PushListener ---

    def opened(self, shard: int, epoch: int) -> None:
        """A channel to this shard tells of changes from now on."""
        with self._lock:
            self._cache.opened(shard, epoch, time.monotonic())

    def invalidated(self, shard: int, changes: Invalidations) -> None:
        """These keys and lists changed."""
        with self._lock:
            for change in changes.keys:
                stamp = Stamp(change.epoch, change.revision, change.version)
                self._cache.changed(shard, change.slot, change.key, stamp)
            for each in changes.lists:
                self._cache.list_changed(shard, each.category_id, each.index, each.value)

    def flushed(self, shard: int) -> None:
        """Everything of this shard may have changed."""
        with self._lock:
            self._cache.flushed(shard)

    def proved(self, shard: int, sent_s: float) -> None:
        """Pushes of before this moment have all been told."""
        self._cache.proved(shard, sent_s)  # one assignment: it needs no lock, and comes with every reply

    def lost(self, shard: int) -> None:
        """The channel is gone."""
        with self._lock:
            self._cache.lost(shard)

    def forked(self) -> None:
        """In the child of a fork: the parent's threads may have held the lock, and left anything half done."""
        self._lock = threading.Lock()
        self._cache = self._empty()

    def learned(self, current: ServiceMap) -> None:
        """A newer map: channels to former owners serve nothing any more."""
        with self._lock:
            self._cache.owners({info.number: info.epoch for info in current.shards})

    # -- with the lock held ---

    def _empty(self) -> Cache:
        return Cache(self.settings.size_bytes, self.settings.ttl_s)

    def _begin_read(self, session: Session, operation: Operation) -> Ticket:
        slot, shard = session.route(operation)
        return self._cache.begin_read((operation.category, operation.key), slot, shard)

    def _is_fresh(self, entry: Entry, fresh: Fresh) -> bool:
        wanted = fresh.get(entry.slot)
        return wanted is None or self._cache.is_fresh(entry, *wanted)

    def _note(self, reply: Value | Absent) -> None:
        self._seen.note(reply.slot, reply.epoch, reply.revision)


def held(reply: Reply, state: State | None) -> State | Value | None:
    """What may be handed to many: the state when nothing in it can be changed, else the reply to decode for each.

    None: there is no state.
    """
    if state is None or not isinstance(reply, Value):
        return None
    return state if is_frozen(state) else reply


def _stamp(reply: Value | Absent) -> Stamp:
    return Stamp(reply.epoch, reply.revision, reply.version)


def _size_bytes(key: str, reply: Value | Absent) -> int:
    return _row_bytes(key, reply.body if isinstance(reply, Value) else None)


def _row_bytes(key: str, body: bytes | None) -> int:
    return _ENTRY_BYTES + len(key) + _BYTES_PER_BODY_BYTE * len(body or b"")
