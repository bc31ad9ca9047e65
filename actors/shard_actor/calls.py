"""Frames being answered, by whichever way they came."""

from __future__ import annotations

import asyncio
from typing import Protocol

from lightning_state.actors.core.messages import Frame, Page, Pending, Recalled, Replies, Reply, Value
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


class Call(Protocol):
    """One frame on its way to its replies."""

    def answer(self, index: int, reply: Reply) -> None:
        """Set the reply to one request."""
        ...

    def flush(self) -> bool:
        """Let go what was answered; whether that was all. Called after the pushes that have to come before."""
        ...


class HandleCall:
    """A frame of the actor's method: replies gather until all are there or the caller has waited long enough."""

    __slots__ = ("_done", "_left", "_replies")

    def __init__(self, size: int) -> None:
        self._replies: list[Reply | None] = [None] * size
        self._left = size
        self._done: asyncio.Future[None] | None = None

    def answer(self, index: int, reply: Reply) -> None:
        """Set the reply to one request, and wake the waiter with the last of them."""
        if self._replies[index] is None:
            self._left -= 1
        self._replies[index] = reply

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

    __slots__ = ("_answered", "_frame", "_indexes", "_left", "_moments", "_number", "_peer", "_subscribers")

    def __init__(self, peer: Peer, number: int, frame: Frame, subscribers: Subscribers) -> None:
        self._peer = peer
        self._number = number
        self._frame = frame
        self._subscribers = subscribers
        self._moments = [subscribers.moment(request) for request in frame.requests] if peer.tracks else []
        self._left = len(frame.requests)
        self._indexes: list[int] = []
        self._answered: list[Reply] = []

    def answer(self, index: int, reply: Reply) -> None:
        """Take the reply to one request; from now on the connection hears of the key's changes, if it wants to."""
        if self._moments:  # it tracked when it asked
            self._subscribers.shown(self._peer, self._frame.requests[index], reply, self._moments[index])
        self._indexes.append(index)
        self._answered.append(reply)

    def flush(self) -> bool:
        """Send what was answered since the last time."""
        indexes, replies = self._indexes, self._answered
        whole = len(replies) == self._left
        self._left -= len(replies)
        if whole and indexes == list(range(len(indexes))) and _size_bytes(replies) <= PART_BYTES:
            self._peer.reply(self._number, encode(Replies(replies)))
            return True
        self._indexes, self._answered = [], []
        for begin, end in _parts(replies):
            part = encode_partial(Partial(indexes[begin:end], replies[begin:end]))
            self._peer.reply_in_part(self._number, part, last=not self._left and end == len(replies))
        return not self._left


def _parts(replies: list[Reply]) -> list[tuple[int, int]]:
    """(begin, end) of runs of about PART_BYTES; a reply that is longer by itself is a run of its own."""
    parts: list[tuple[int, int]] = []
    begin, size_bytes = 0, 0
    for index, reply in enumerate(replies):
        size_bytes += _size_bytes([reply])
        if size_bytes > PART_BYTES and index > begin:
            parts.append((begin, index))
            begin, size_bytes = index, _size_bytes([reply])
    parts.append((begin, len(replies)))
    return parts


def _size_bytes(replies: list[Reply]) -> int:
    """About how long these are, by their bodies."""
    total = 0
    for reply in replies:
        if isinstance(reply, Recalled):
            reply = reply.value  # noqa: PLW2901  # its body is what has a size
        if isinstance(reply, Value):
            total += len(reply.body or b"")
        elif isinstance(reply, Page):
            total += sum(len(entry.body or b"") for entry in reply.entries)
    return total


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
