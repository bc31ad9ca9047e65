"""Frames to bytes and back: msgpack, the same bytes on every transport."""

from __future__ import annotations

import msgspec

from lightning_state.actors.core.messages import PROTOCOL, Frame, Replies
from lightning_state.actors.errors import ProtocolError

_encoder = msgspec.msgpack.Encoder()
_frames = msgspec.msgpack.Decoder(Frame)
_replies = msgspec.msgpack.Decoder(Replies)


def encode(message: Frame | Replies) -> bytes:
    """The bytes of a frame or its replies."""
    return _encoder.encode(message)


def decode_frame(data: bytes) -> Frame:
    """The frame in these bytes. Raises ProtocolError for damage or another protocol version."""
    try:
        frame = _frames.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ProtocolError(f"not a frame: {error}") from error
    if frame.protocol != PROTOCOL:
        raise ProtocolError(f"frame of protocol {frame.protocol}; this service speaks {PROTOCOL}: use the same version")
    return frame


def decode_replies(data: bytes) -> Replies:
    """The replies in these bytes. Raises ProtocolError for damage."""
    try:
        return _replies.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ProtocolError(f"not replies: {error}") from error
