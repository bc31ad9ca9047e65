"""Which connection is to be told of which key and list: what a shard pushes to the caches of its clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from lightning_state.actors.core.effects import Invalidate
from lightning_state.actors.core.messages import Absent, Get, List, Page, Reply, Request, Value, Write
from lightning_state.actors.core.slots import category_of_slot
from lightning_state.actors.wire.peer import Peer
from lightning_state.actors.wire.pushes import FlushAll, Invalidation, Invalidations, ListInvalidation

KEYS_TRACKED = 65_536
"""Keys one connection may track; beyond it everything it cached is flushed and tracking begins anew."""

Tracked = tuple[Any, ...]
"""(category id, key) of a key; (category id, index, value) of a list."""


class Subscribers:
    """What is tracked, by connection: a key, or a list of an index value, from the reply that shows it to its change.

    A list changes here when a state with its value is written; that a member leaves it is known from the member's key,
    which is tracked along with the list. A push leaves before the replies that reflect its commit, because whoever
    performs a commit's effects calls `changed` before it answers, and a connection sends in order.
    """

    def __init__(self, most: int = KEYS_TRACKED) -> None:
        self.most = most
        self._readers: dict[Tracked, set[Peer]] = {}
        self._tracked: dict[Peer, set[Tracked]] = {}
        self._commits: Counter[int] = Counter()
        # By category, since this process began.

    def __repr__(self) -> str:
        return f"<Subscribers connections={len(self._tracked)} tracked={len(self._readers)}>"

    def moment(self, request: Request) -> int:
        """To be taken when a request arrives, and given to `shown` with its reply."""
        return self._commits[request.category_id] if isinstance(request, List) else 0

    def shown(self, peer: Peer, request: Request, reply: Reply, moment: int) -> None:
        """A connection that tracks is about to see this reply: it hears of the next change of what is shown."""
        if isinstance(request, (Get, Write)):
            if isinstance(reply, (Value, Absent)):
                self._track(peer, [(category_of_slot(request.slot), request.key)])
        elif isinstance(request, List) and isinstance(reply, Page) and request.index and not reply.more:
            listed = (request.category_id, request.index, request.value)
            if self._commits[request.category_id] == moment:
                self._track(peer, [listed, *((request.category_id, entry.key) for entry in reply.entries)])
            elif not peer.push(Invalidations([], [ListInvalidation(*listed)])):
                # Something was committed while the list was read: it may show less than was told of already.
                self.left(peer)

    def changed(self, changes: Iterable[Invalidate]) -> None:
        """Tell those who track these keys, and the lists they belong to, and track them no more."""
        told: dict[Peer, Invalidations] = {}
        for change in changes:
            category_id = category_of_slot(change.slot)
            self._commits[category_id] += 1
            key = Invalidation(change.slot, change.key, change.epoch, change.revision, change.version)
            for peer in self._untrack((category_id, change.key)):
                told.setdefault(peer, Invalidations([], [])).keys.append(key)
            for index, value in change.indexes.items():
                for peer in self._untrack((category_id, index, value)):
                    listed = ListInvalidation(category_id, index, value)
                    told.setdefault(peer, Invalidations([], [])).lists.append(listed)
        for peer, message in told.items():
            if not peer.push(message):
                self.left(peer)

    def left(self, peer: Peer) -> None:
        """The connection is gone, or has been told to flush everything."""
        for place in self._tracked.pop(peer, ()):
            readers = self._readers[place]
            readers.discard(peer)
            if not readers:
                del self._readers[place]

    def _track(self, peer: Peer, places: list[Tracked]) -> None:
        tracked = self._tracked.setdefault(peer, set())
        new = [place for place in places if place not in tracked]
        if len(tracked) + len(new) > self.most:
            peer.push(FlushAll())
            self.left(peer)
            tracked = self._tracked[peer] = set()
            new = places
        tracked.update(new)
        for place in new:
            self._readers.setdefault(place, set()).add(peer)

    def _untrack(self, place: Tracked) -> Iterable[Peer]:
        peers = self._readers.pop(place, ())
        for peer in peers:
            self._tracked[peer].discard(place)
        return peers
