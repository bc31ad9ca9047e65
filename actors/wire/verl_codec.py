"""VERL's frames to bytes and back: msgpack, the same bytes on every transport."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from lightning_state.actors.core.verl.messages import (
    VERL_PROTOCOL,
    FromPool,
    FromValidator,
    ToPool,
    ToValidator,
)
from lightning_state.actors.errors import ProtocolError
from lightning_state.actors.wire.codec import DAMAGE

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_to_validator = msgspec.msgpack.Decoder(ToValidator)
_from_validator = msgspec.msgpack.Decoder(FromValidator)
_to_pool = msgspec.msgpack.Decoder(ToPool)
_from_pool = msgspec.msgpack.Decoder(FromPool)


def encode(message: ToValidator | FromValidator | ToPool | FromPool) -> bytes:
    """The bytes of a message."""
    return _encoder.encode(message)


def decode_to_validator(data: bytes) -> ToValidator:
    """What a validator was sent. Raises ProtocolError for damage or another protocol version."""
    message = _decode(_to_validator, data)
    protocol = getattr(message, "protocol", VERL_PROTOCOL)
    if protocol != VERL_PROTOCOL:
        raise ProtocolError(f"batch of protocol {protocol}; this validator speaks {VERL_PROTOCOL}: use one version")
    return message


def decode_from_validator(data: bytes) -> FromValidator:
    """What a validator answered. Raises ProtocolError for damage."""
    return _decode(_from_validator, data)


def decode_to_pool(data: bytes) -> ToPool:
    """What the pool's supervisor was sent. Raises ProtocolError for damage."""
    return _decode(_to_pool, data)


def decode_from_pool(data: bytes) -> FromPool:
    """What the pool's supervisor answered. Raises ProtocolError for damage."""
    return _decode(_from_pool, data)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except DAMAGE as error:
        raise ProtocolError(f"not a VERL frame: {error}") from error
