"""One connection as the service sees it: whoever is at the other end can close it, fill it, and nothing more."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from typing import Any, Protocol, cast

from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.errors import LightningStateError, ProtocolError, ShardUnavailableError
from lightning_state.actors.wire import handshake
from lightning_state.actors.wire.framing import CHANNEL_PROTOCOL, HANDSHAKE_BYTES, Kind, Record, RecordParser, pack
from lightning_state.actors.wire.handshake import NONCE_BYTES, Challenge, Hello, Welcome
from lightning_state.actors.wire.pushes import FlushAll, Pushed, encode

logger = logging.getLogger(__name__)

REQUESTS_IN_FLIGHT = 64
"""Frames of one connection being answered; beyond it nothing more is read from it."""

UNSENT_BYTES = 8 * 1024 * 1024
"""Answers that wait for a slow reader; beyond it nothing more is read from it, and pushes become one FlushAll."""

UNREAD_S = 10.0
"""A reader that takes nothing at all for this long while it is behind is disconnected."""

HANDSHAKE_S = 3.0
"""A stranger that has not proved itself by then is disconnected."""


class Door(Protocol):
    """Who lets connections in."""

    frame_bytes: int
    """The longest frame accepted."""

    def arrived(self, peer: Peer, /) -> bool:
        """A stranger; False when there is no place for it."""
        ...

    def welcome(self, challenge: Challenge, hello: Hello, /) -> Welcome:
        """The answer to a Hello. Raises what the stranger is refused with."""
        ...

    def greeted(self, peer: Peer, /) -> None:
        """The stranger is a client now."""
        ...

    def requested(self, peer: Peer, number: int, data: bytes, /) -> None:
        """A frame of a client."""
        ...

    def left(self, peer: Peer, /) -> None:
        """The connection is gone."""
        ...


class Peer(asyncio.Protocol):
    """The service's end of one connection."""

    def __init__(self, door: Door) -> None:
        self.tracks = False
        """Whether this connection asked to be told of changes."""
        self.is_open = False
        """Whether the handshake is over and the connection not lost."""
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._parser = RecordParser(HANDSHAKE_BYTES)
        self._challenge = Challenge(CHANNEL_PROTOCOL, secrets.token_bytes(NONCE_BYTES))
        self._backlog: deque[Record] = deque()
        self._in_flight = 0
        self._is_behind = False
        self._reads = True
        self._timer: asyncio.TimerHandle | None = None
        self.heard_s = self._loop.time()
        """When something last arrived, by the loop's clock."""

    def __repr__(self) -> str:
        return f"<Peer open={self.is_open} in_flight={self._in_flight} behind={self._is_behind}>"

    # -- the event loop's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Speak first: what a client proves its token with. A full service says so and closes."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES)
        if not self._door.arrived(self):
            self.refuse(ShardUnavailableError("too many connections: the actor handle is still there"))
            return
        self._timer = self._loop.call_later(HANDSHAKE_S, self._transport.abort)
        self._transport.write(pack(Kind.CHALLENGE, 0, handshake.encode(self._challenge)))

    def data_received(self, data: bytes) -> None:
        """Take in what came; anything that is not understood closes this connection."""
        self.heard_s = self._loop.time()
        try:
            for record in self._parser.feed(data):
                self._take(record)
        except LightningStateError as error:
            self.refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # why it ended changes nothing
        """Forget the connection. What it asked for goes on: its answers have nowhere to go."""
        self._end_timer()
        self.is_open = False
        self._backlog.clear()
        self._door.left(self)

    def pause_writing(self) -> None:
        """The reader is behind: read nothing from it until it has caught up."""
        self._is_behind = True
        self._timer = self._loop.call_later(UNREAD_S, self._check_reader, self._transport.get_write_buffer_size())
        self._steer()

    def resume_writing(self) -> None:
        """The reader has caught up."""
        self._is_behind = False
        self._end_timer()
        self._go_on()

    # -- the service's side ---

    def reply(self, number: int, payload: bytes) -> None:
        """Answer a request, completely."""
        if self.is_open:
            self._transport.write(pack(Kind.REPLY, number, payload))
            self._settled()

    def reply_in_part(self, number: int, payload: bytes, *, last: bool) -> None:
        """Answer a part of a request; the last part completes it."""
        if self.is_open:
            self._transport.write(pack(Kind.PARTIAL, number, payload))
            if last:
                self._settled()

    def push(self, message: Pushed) -> bool:
        """Send unasked. False when the reader is behind: it was told to flush everything instead."""
        if not self.is_open:
            return False
        if self._is_behind and not isinstance(message, FlushAll):
            message = FlushAll()
        self._transport.write(pack(Kind.PUSH, 0, encode(message)))
        return not isinstance(message, FlushAll)

    def refuse(self, error: LightningStateError) -> None:
        """Say why, and close."""
        if not self._transport.is_closing():
            self._transport.write(pack(Kind.REFUSED, 0, handshake.encode(refusal(error))))
        self.close()

    def close(self) -> None:
        """Close once what was written has been sent, or cannot be."""
        self.is_open = False
        self._end_timer()
        if not self._transport.is_closing():
            self._transport.close()
            self._timer = self._loop.call_later(HANDSHAKE_S, self._transport.abort)

    # -- records ---

    def _take(self, record: Record) -> None:
        if not self.is_open:
            if not self._transport.is_closing():
                self._greet(handshake.read(record, Kind.HELLO, Hello))
        elif record[0] == Kind.REQUEST:
            if self._reads:
                self._request(record)
            else:
                self._backlog.append(record)
        elif record[0] == Kind.PING:
            self._transport.write(pack(Kind.PONG, record[1]))
        elif record[0] == Kind.TRACK:
            self.tracks = True
        elif record[0] != Kind.PONG:
            raise ProtocolError(f"a record of kind {record[0]} from a client")

    def _greet(self, hello: Hello) -> None:
        answer: Welcome = self._door.welcome(self._challenge, hello)
        self._end_timer()
        self.is_open = True
        self._parser.limit_bytes = self._door.frame_bytes
        self._door.greeted(self)
        self._transport.write(pack(Kind.WELCOME, 0, handshake.encode(answer)))

    def _request(self, record: Record) -> None:
        self._in_flight += 1
        if self._in_flight >= REQUESTS_IN_FLIGHT:
            self._steer()
        self._door.requested(self, record[1], record[2])

    def _settled(self) -> None:
        self._in_flight -= 1
        if not self._reads:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._steer()
        while self._reads and self._backlog and self.is_open:
            self._request(self._backlog.popleft())

    def _steer(self) -> None:
        """Read from the connection only while it neither has too much in flight nor is behind with its answers."""
        reads = self._in_flight < REQUESTS_IN_FLIGHT and not self._is_behind
        if reads == self._reads:
            return
        self._reads = reads
        if not self._transport.is_closing():
            cast("Any", self._transport.resume_reading if reads else self._transport.pause_reading)()

    def _check_reader(self, unsent_bytes: int) -> None:
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes >= unsent_bytes:
            logger.info("a reader took nothing for %.0f s: disconnected", UNREAD_S)
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(UNREAD_S, self._check_reader, left_bytes)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
