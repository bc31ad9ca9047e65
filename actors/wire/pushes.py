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


class ListInvalidation(msgspec.Struct, frozen=True, array_like=True):
    """A list this connection had read has a new member here; it is not tracked any more until it is read again."""

    category_id: int
    index: str
    value: str


class Invalidations(msgspec.Struct, frozen=True, array_like=True, tag="changed"):
    """Changes of one commit, sent before any reply on this connection that reflects it."""

    keys: list[Invalidation]
    lists: list[ListInvalidation] = []


class FlushAll(msgspec.Struct, frozen=True, array_like=True, tag="flush"):
    """Anything may have changed: too many keys were tracked, or the reader was too slow. Nothing is tracked now."""


Pushed = Invalidations | FlushAll


class Partial(msgspec.Struct, frozen=True, array_like=True):
    """Some replies to a frame."""

    indexes: list[int]
    replies: list[Reply]


class PushListener(Protocol):
    """A cache, as a transport sees it. Called in the order of arrival, from whichever thread reads."""

    def opened(self, shard: int, epoch: int) -> None:
        """A channel to this shard, of this epoch, tells of changes of what is read over it from now on."""
        ...

    def invalidated(self, shard: int, changes: Invalidations) -> None:
        """These keys and lists changed."""
        ...

    def flushed(self, shard: int) -> None:
        """Everything of this shard may have changed."""
        ...

    def proved(self, shard: int, sent_s: float) -> None:
        """What was sent at this moment (monotonic clock) was answered: pushes of before have all been told."""
        ...

    def lost(self, shard: int) -> None:
        """The channel is gone: nothing is told any more."""
        ...

    def forked(self) -> None:
        """This is the child of a fork: every channel is gone, and locks may be held for ever."""
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
