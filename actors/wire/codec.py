"""Frames to bytes and back: msgpack, the same bytes on every transport."""

from __future__ import annotations

import msgspec

from lightning_state.actors.core.messages import PROTOCOL, Frame, Replies
from lightning_state.actors.core.service_map import DirectoryReply, DirectoryRequest
from lightning_state.actors.errors import ProtocolError

DAMAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no message; a ValidationError is a DecodeError."""

_encoder = msgspec.msgpack.Encoder()
_frames = msgspec.msgpack.Decoder(Frame)
_replies = msgspec.msgpack.Decoder(Replies)
_directory_requests: msgspec.msgpack.Decoder[DirectoryRequest] = msgspec.msgpack.Decoder(DirectoryRequest)
_directory_replies: msgspec.msgpack.Decoder[DirectoryReply] = msgspec.msgpack.Decoder(DirectoryReply)


def encode(message: Frame | Replies | DirectoryRequest | DirectoryReply) -> bytes:
    """The bytes of a frame or its replies, of a request to the directory or its reply."""
    return _encoder.encode(message)


def decode_frame(data: bytes) -> Frame:
    """The frame in these bytes. Raises ProtocolError for damage or another protocol version."""
    try:
        frame = _frames.decode(data)
    except DAMAGE as error:
        raise ProtocolError(f"not a frame: {error}") from error
    if frame.protocol != PROTOCOL:
        raise ProtocolError(f"frame of protocol {frame.protocol}; this service speaks {PROTOCOL}: use the same version")
    return frame


def decode_replies(data: bytes) -> Replies:
    """The replies in these bytes. Raises ProtocolError for damage."""
    try:
        return _replies.decode(data)
    except DAMAGE as error:
        raise ProtocolError(f"not replies: {error}") from error


def decode_directory_request(data: bytes) -> DirectoryRequest:
    """The request to the directory in these bytes. Raises ProtocolError for damage."""
    try:
        return _directory_requests.decode(data)
    except DAMAGE as error:
        raise ProtocolError(f"not a request to the directory: {error}") from error


def decode_directory_reply(data: bytes) -> DirectoryReply:
    """The directory's reply in these bytes. Raises ProtocolError for damage."""
    try:
        return _directory_replies.decode(data)
    except DAMAGE as error:
        raise ProtocolError(f"not a reply of the directory: {error}") from error
