"""Records on a stream: (kind, number, payload), each behind a header that says how long it is. No I/O here.

    length of the payload: 4 bytes · kind: 1 byte · number: 4 bytes, big-endian · payload

A REQUEST carries exactly the frame that the actor method takes, its REPLY exactly what that method returns.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from lightning_state.actors.errors import ProtocolError

CHANNEL_PROTOCOL = 1
"""Version of the records and the handshake; both sides must speak the same."""

HANDSHAKE_BYTES = 4_096
"""The longest record before the handshake is over."""

RECORD_BYTES = 2**31 - 1
"""The longest record at all: what a client accepts from a service that has proved itself."""

_HEADER = struct.Struct(">IBI")
_HEADER_BYTES = _HEADER.size
_pack = _HEADER.pack
_unpack_from = _HEADER.unpack_from


class Kind(IntEnum):
    """What a record is. Those of one request carry its number; the others carry 0."""

    CHALLENGE = 1
    """Service → client, first of all: a nonce to prove the token with."""
    HELLO = 2
    """Client → service: whom it means to talk to, and its proof."""
    WELCOME = 3
    """Service → client: the handshake is over; its own proof."""
    REFUSED = 4
    """Service → client: a typed error; the connection is closed."""
    REQUEST = 5
    """Client → service: a frame."""
    REPLY = 6
    """Service → client: all replies to a frame."""
    PARTIAL = 7
    """Service → client: some replies to a frame, by their index; others come later."""
    PUSH = 8
    """Service → client, unasked: keys that changed."""
    PING = 9
    """Either way; answered by a PONG of the same number."""
    PONG = 10
    TRACK = 11
    """Client → service: push changes of the keys this connection reads and writes from now on."""


Record = tuple[int, int, bytes]
"""(kind, number, payload). The kind is a plain number: one that is not a `Kind` is for its reader to refuse."""


def pack(kind: int, number: int, payload: bytes = b"") -> bytes:
    """The bytes of one record. Raises ProtocolError when the payload is longer than RECORD_BYTES."""
    if len(payload) > RECORD_BYTES:
        raise ProtocolError(
            f"a record of {len(payload)} bytes; at most {RECORD_BYTES} can travel: ask for less at once"
        )
    return _pack(len(payload), kind, number) + payload


class RecordParser:
    """Turns the bytes of a stream into records, however they were cut."""

    __slots__ = ("_buffer", "limit_bytes")

    def __init__(self, limit_bytes: int = HANDSHAKE_BYTES) -> None:
        self.limit_bytes = limit_bytes
        """The longest payload accepted from now on."""
        self._buffer = bytearray()

    def __repr__(self) -> str:
        return f"<RecordParser buffered={len(self._buffer)} limit={self.limit_bytes}>"

    def feed(self, data: bytes) -> list[Record]:
        """The records completed by these bytes, in order.

        Raises ProtocolError for a payload above the limit, as soon as its header is there: nothing of it is buffered.
        After that the stream cannot be read any more.
        """
        buffered = self._buffer
        if buffered:
            buffered += data
        view = buffered or data
        records: list[Record] = []
        at, size = 0, len(view)
        while size - at >= _HEADER_BYTES:
            length, kind, number = _unpack_from(view, at)
            if length > self.limit_bytes:
                buffered.clear()
                raise ProtocolError(f"a record of {length} bytes; the limit is {self.limit_bytes}")
            begin = at + _HEADER_BYTES
            at_next = begin + length
            if at_next > size:
                break
            records.append((kind, number, bytes(view[begin:at_next])))
            at = at_next
        if buffered:
            del buffered[:at]
        elif at < size:
            buffered += data[at:]
        return records
