"""Which connection is to be told of which key: what a shard pushes to the caches of its clients."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_state.actors.core.effects import Invalidate
from lightning_state.actors.core.messages import Absent, Frame, Get, Reply, Value, Write
from lightning_state.actors.wire.peer import Peer
from lightning_state.actors.wire.pushes import FlushAll, Invalidation, Invalidations

KEYS_TRACKED = 65_536
"""Keys one connection may track; beyond it everything it cached is flushed and tracking begins anew."""

Place = tuple[int, str]


class Subscribers:
    """Tracked keys by connection. A key is tracked from the reply that shows it until its next change.

    A push leaves before the replies that reflect its commit, because whoever performs a commit's effects calls
    `changed` before it answers, and a connection sends in order.
    """

    def __init__(self, most: int = KEYS_TRACKED) -> None:
        self._most = most
        self._readers: dict[Place, set[Peer]] = {}
        self._tracked: dict[Peer, set[Place]] = {}

    def __repr__(self) -> str:
        return f"<Subscribers connections={len(self._tracked)} keys={len(self._readers)}>"

    def shown(self, peer: Peer, frame: Frame, index: int, reply: Reply) -> None:
        """A connection that tracks is about to see this reply: it hears of the key's next change."""
        request = frame.requests[index]
        if isinstance(request, Get | Write) and isinstance(reply, Value | Absent):
            self._track(peer, (request.slot, request.key))

    def changed(self, changes: Iterable[Invalidate]) -> None:
        """Tell those who track these keys, and track them no more."""
        told: dict[Peer, list[Invalidation]] = {}
        for change in changes:
            place = (change.slot, change.key)
            for peer in self._readers.pop(place, ()):
                self._tracked[peer].discard(place)
                told.setdefault(peer, []).append(
                    Invalidation(change.slot, change.key, change.epoch, change.revision, change.version)
                )
        for peer, keys in told.items():
            if not peer.push(Invalidations(keys)):
                self.left(peer)

    def left(self, peer: Peer) -> None:
        """The connection is gone, or has been told to flush everything."""
        for place in self._tracked.pop(peer, ()):
            readers = self._readers.get(place)
            if readers is not None:
                readers.discard(peer)
                if not readers:
                    del self._readers[place]

    def _track(self, peer: Peer, place: Place) -> None:
        tracked = self._tracked.setdefault(peer, set())
        if place in tracked:
            return
        if len(tracked) >= self._most:
            peer.push(FlushAll())
            self.left(peer)
            tracked = self._tracked[peer] = set()
        tracked.add(place)
        self._readers.setdefault(place, set()).add(peer)
