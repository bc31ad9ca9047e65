"""Frames being answered, by whichever way they came."""

from __future__ import annotations

import asyncio
from typing import Protocol

from lightning_state.actors.core.messages import Changes, Frame, Page, Pending, Recalled, Refused, Replies, Reply, Value
from lightning_state.actors.shard_actor.subscribers import Subscribers
from lightning_state.actors.wire.codec import encode
from lightning_state.actors.wire.peer import Peer
from lightning_state.actors.wire.pushes import Partial
from lightning_state.actors.wire.pushes import encode as encode_partial

ANSWER_WITHIN_S = 1.0
"""Over the actor handle a frame is answered within this time, with Pending for what is not decided: no caller's slot
is held for longer."""

PART_BYTES = 4 * 1024 * 1024
"""About the longest record of replies: a large answer does not hold up the small ones behind it."""


class Room:
    """What the bodies of the replies to one frame may have together: what does not fit is to be asked for again."""

    __slots__ = ("_is_empty", "_left_bytes", "is_full")

    def __init__(self, frame_bytes: int) -> None:
        self._left_bytes = frame_bytes
        self._is_empty = True
        self.is_full = False
        """Something did not fit: nothing that has a body does any more."""

    def takes(self, size_bytes: int) -> bool:
        """Whether a body fits; the first one does, whatever its length."""
        if self.is_full or (size_bytes > self._left_bytes and not self._is_empty):
            self.is_full = True
            return False
        self._is_empty = False
        self._left_bytes -= size_bytes
        return True


class Call(Protocol):
    """One frame on its way to its replies. A reply for which there is no room becomes Pending."""

    room: Room

    def answer(self, index: int, reply: Reply) -> None:
        """Set the reply to one request."""
        ...

    def flush(self) -> bool:
        """Let go what was answered; whether that was all. Called after the pushes that have to come before."""
        ...


class HandleCall:
    """A frame of the actor's method: replies gather until all are there or the caller has waited long enough."""

    __slots__ = ("_done", "_left", "_replies", "room")

    def __init__(self, size: int, frame_bytes: int) -> None:
        self.room = Room(frame_bytes)
        self._replies: list[Reply | None] = [None] * size
        self._left = size
        self._done: asyncio.Future[None] | None = None

    def answer(self, index: int, reply: Reply) -> None:
        """Set the reply to one request, and wake the waiter with the last of them."""
        if self._replies[index] is None:
            self._left -= 1
        size_bytes = _size_bytes(reply)
        self._replies[index] = reply if not size_bytes or self.room.takes(size_bytes) else Pending()

    def flush(self) -> bool:
        """Wake the waiter when every reply is there."""
        if self._left:
            return False
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
        return True

    async def replies(self) -> Replies:
        """All replies, after at most ANSWER_WITHIN_S."""
        if self._left:
            loop = asyncio.get_running_loop()
            self._done = loop.create_future()
            timer = loop.call_later(ANSWER_WITHIN_S, _wake, self._done)
            try:
                await self._done
            finally:
                timer.cancel()
        return Replies([Pending() if reply is None else reply for reply in self._replies])


class ChannelCall:
    """A frame of the direct channel: each reply leaves when it is decided, those decided together in one record."""

    __slots__ = (
        "_answered",
        "_frame",
        "_indexes",
        "_left",
        "_moments",
        "_number",
        "_peer",
        "_size_bytes",
        "_subscribers",
        "room",
    )

    def __init__(self, peer: Peer, number: int, frame: Frame, subscribers: Subscribers, frame_bytes: int) -> None:
        self.room = Room(frame_bytes)
        self._peer = peer
        self._number = number
        self._frame = frame
        self._subscribers = subscribers
        self._moments = [subscribers.moment(request) for request in frame.requests] if peer.tracks else []
        self._left = len(frame.requests)
        self._indexes: list[int] = []
        self._answered: list[Reply] = []
        self._size_bytes = 0

    def answer(self, index: int, reply: Reply) -> None:
        """Take the reply to one request; from now on the connection hears of the key's changes, if it wants to."""
        size_bytes = _size_bytes(reply)
        if size_bytes and not self.room.takes(size_bytes):
            reply, size_bytes = Pending(), 0
        self._size_bytes += size_bytes
        if self._moments:  # it tracked when it asked
            self._subscribers.shown(self._peer, self._frame.requests[index], reply, self._moments[index])
        self._indexes.append(index)
        self._answered.append(reply)

    def flush(self) -> bool:
        """Send what was answered since the last time."""
        indexes, replies = self._indexes, self._answered
        whole = len(replies) == self._left
        self._left -= len(replies)
        if whole and indexes == list(range(len(indexes))) and self._size_bytes <= PART_BYTES:
            self._peer.reply(self._number, encode(Replies(replies)))
            return True
        self._indexes, self._answered, self._size_bytes = [], [], 0
        for begin, end in _parts(replies):
            part = encode_partial(Partial(indexes[begin:end], replies[begin:end]))
            self._peer.reply_in_part(self._number, part, last=not self._left and end == len(replies))
        return not self._left


def _parts(replies: list[Reply]) -> list[tuple[int, int]]:
    """(begin, end) of runs of about PART_BYTES; a reply that is longer by itself is a run of its own."""
    parts: list[tuple[int, int]] = []
    begin, size_bytes = 0, 0
    for index, reply in enumerate(replies):
        size_bytes += _size_bytes(reply)
        if size_bytes > PART_BYTES and index > begin:
            parts.append((begin, index))
            begin, size_bytes = index, _size_bytes(reply)
    parts.append((begin, len(replies)))
    return parts


def _size_bytes(reply: Reply) -> int:
    """About how long it is, by its bodies."""
    if isinstance(reply, Value):
        return len(reply.body) if reply.body is not None else 0
    if isinstance(reply, Recalled):
        return _size_bytes(reply.value)
    if isinstance(reply, Page):
        return sum(len(entry.body or b"") for entry in reply.entries)
    if isinstance(reply, Changes):
        return sum(len(each.body or b"") for each in reply.versions)
    if isinstance(reply, Refused):
        return len(reply.details.get("current_body") or b"")
    return 0


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
