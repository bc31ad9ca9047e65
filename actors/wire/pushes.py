"""What a service pushes to the clients that cache: keys that changed, or that everything may have."""

from __future__ import annotations

from typing import Protocol

import msgspec

from lightning_state.actors.core.messages import Reply
from lightning_state.actors.errors import ProtocolError


class Invalidation(msgspec.Struct, frozen=True, array_like=True):
    """A key this connection had read or written was changed; it is not tracked any more until it is read again."""

    slot: int
    key: str
    epoch: int
    revision: int
    version: int


class Invalidations(msgspec.Struct, frozen=True, array_like=True, tag="changed"):
    """Changes of one commit, sent before any reply on this connection that reflects it."""

    keys: list[Invalidation]


class FlushAll(msgspec.Struct, frozen=True, array_like=True, tag="flush"):
    """Anything may have changed: too many keys were tracked, or the reader was too slow. Nothing is tracked now."""


Pushed = Invalidations | FlushAll


class Partial(msgspec.Struct, frozen=True, array_like=True):
    """Some replies to a frame."""

    indexes: list[int]
    replies: list[Reply]


class PushListener(Protocol):
    """A cache, as a transport sees it. Called in the order of arrival, from whichever thread reads."""

    def invalidated(self, shard: int, changes: list[Invalidation]) -> None:
        """These keys changed."""
        ...

    def flushed(self, shard: int) -> None:
        """Everything of this shard may have changed, or its channel is lost."""
        ...


_encoder = msgspec.msgpack.Encoder()
_pushed: msgspec.msgpack.Decoder[Pushed] = msgspec.msgpack.Decoder(Pushed)
_partial = msgspec.msgpack.Decoder(Partial)


def encode(message: Pushed | Partial) -> bytes:
    """The bytes of a push, or of a part of the replies to a frame."""
    return _encoder.encode(message)


def decode_pushed(data: bytes) -> Pushed:
    """What was pushed. Raises ProtocolError for damage."""
    try:
        return _pushed.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ProtocolError(f"not a push: {error}") from error


def decode_partial(data: bytes) -> Partial:
    """Some replies to a frame. Raises ProtocolError for damage."""
    try:
        return _partial.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ProtocolError(f"not a part of replies: {error}") from error
