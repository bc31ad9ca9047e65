"""The first three records of a channel: each side proves that it knows the token, and neither sends it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, TypeVar

import msgspec

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.errors import ProtocolError, UnauthenticatedError, error_from_code
from lightning_state.actors.wire.framing import CHANNEL_PROTOCOL, Kind, Record

NONCE_BYTES = 16

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


class Challenge(msgspec.Struct, frozen=True, array_like=True):
    """The service speaks first."""

    protocol: int
    nonce: bytes


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """Whom the client means to talk to."""

    protocol: int
    service_id: str
    """The service the client knows; empty for validators, which belong to a service by name."""
    target: str
    """The actor's name."""
    epoch: int
    """The shard's epoch the client believes in; 0 for validators."""
    nonce: bytes
    proof: bytes


class Welcome(msgspec.Struct, frozen=True, array_like=True):
    """The service proves itself too: a stranger that took over its port learns nothing."""

    frame_bytes: int
    """The longest frame accepted."""
    proof: bytes


class Target(msgspec.Struct, frozen=True):
    """Whom a client wants at the other end."""

    name: str
    service_id: str = ""
    epoch: int = 0


def hello(challenge: Challenge, target: Target, token: bytes, nonce: bytes) -> Hello:
    """The answer to a challenge. `nonce`: fresh random bytes."""
    unproved = Hello(CHANNEL_PROTOCOL, target.service_id, target.name, target.epoch, nonce, b"")
    return msgspec.structs.replace(unproved, proof=_proof(b"client", token, challenge.nonce, unproved))


def welcome(challenge: Challenge, received: Hello, token: bytes, frame_bytes: int) -> Welcome:
    """The end of the handshake. Raises ProtocolError or UnauthenticatedError for a Hello that is not to be welcomed."""
    if received.protocol != CHANNEL_PROTOCOL:
        raise ProtocolError(f"channel of protocol {received.protocol}; this service speaks {CHANNEL_PROTOCOL}")
    expected = _proof(b"client", token, challenge.nonce, received)
    if len(received.nonce) != NONCE_BYTES or not hmac.compare_digest(expected, received.proof):
        raise UnauthenticatedError("the channel's token is not this process's: fetch the service map again")
    return Welcome(frame_bytes, _proof(b"server", token, challenge.nonce, received))


def check_welcome(received: Welcome, challenge: Challenge, sent: Hello, token: bytes) -> None:
    """Raises UnauthenticatedError when whoever listens there does not know the token."""
    if not hmac.compare_digest(_proof(b"server", token, challenge.nonce, sent), received.proof):
        raise UnauthenticatedError("what listens there is not the service")


def read(record: Record, kind: Kind, of: type[T]) -> T:
    """The message of a handshake record. Raises what a Refused record says, ProtocolError for anything unexpected."""
    if record[0] == Kind.REFUSED and kind is not Kind.HELLO:
        refused = decode(record[2], Refused)
        raise error_from_code(refused.code, refused.message, refused.details)
    if record[0] != kind:
        raise ProtocolError(f"a record of kind {record[0]} during the handshake")
    return decode(record[2], of)


def encode(message: Any) -> bytes:
    """The bytes of a handshake message."""
    return _encoder.encode(message)


def decode(data: bytes, of: type[T]) -> T:
    """A message from its bytes. Raises ProtocolError for damage."""
    try:
        return msgspec.msgpack.decode(data, type=of)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ProtocolError(f"not a {of.__name__}: {error}") from error


def _proof(side: bytes, token: bytes, challenge: bytes, said: Hello) -> bytes:
    """Bound to both nonces and everything the client said."""
    content = _encoder.encode((side, challenge, said.protocol, said.service_id, said.target, said.epoch, said.nonce))
    return hmac.new(token, content, hashlib.sha256).digest()
