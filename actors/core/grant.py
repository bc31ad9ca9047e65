"""One lease of one key, as it is stored and as it is told."""

from __future__ import annotations

import msgspec

from lightning_state.actors.core.messages import Leased
from lightning_state.actors.core.rows import JournalRow, Op

_GENERATION_BITS = 32


class Grant(msgspec.Struct, frozen=True):
    """A lease as it is stored: token and time to live, no deadline. After a takeover the full time starts again."""

    owner: str
    ttl_ms: int
    token: int
    holds: list[str]
    """The request ids that acquired it and have not released it: one owner may hold a key several times. None of them
    left: the lease is over."""

    @property
    def op(self) -> Op:
        """That of the row that records it."""
        return Op.LOCK if self.holds else Op.UNLOCK

    def encode(self) -> bytes:
        """The body of that row."""
        return _encoder.encode(self)

    def leased(self, slot: int, epoch: int, remaining_us: int) -> Leased:
        """The reply that tells of it."""
        return Leased(slot, epoch, self.token, self.ttl_ms, remaining_us // 1_000)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Grant)


def grant_of(row: JournalRow) -> Grant:
    """The grant that a LOCK row records."""
    return _decoder.decode(row.body or b"")


def token_of(epoch: int, generation: int) -> int:
    """A fencing token: greater than every one of an earlier epoch, and of this epoch before this generation."""
    return epoch << _GENERATION_BITS | generation
