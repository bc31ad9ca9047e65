"""One write (or resolve) on its way through a shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from lightning_state.actors.core.change import Change
from lightning_state.actors.core.messages import Resolve, Write
from lightning_state.actors.core.rows import Applied, Entry, JournalRow, Op

_encoder = msgspec.msgpack.Encoder()


class Waiter(msgspec.Struct, frozen=True):
    """Who asked: request `index` of frame `call`, number `seq` of `session`."""

    call: int
    index: int
    session: str
    seq: int


@dataclass(slots=True, eq=False)
class Operation:
    """A write between arrival and reply. Everybody who asked under its request id waits here."""

    request: Write | Resolve
    principal: str
    digest: bytes
    waiters: list[Waiter]
    base: Entry | None = None
    applied: Applied | None = None
    looked_up: bool = False
    change: Change | None = None

    @property
    def place(self) -> tuple[int, str]:
        """(slot, key)."""
        return self.request.slot, self.request.key

    @property
    def identity(self) -> tuple[int, str, str]:
        """(slot, principal, request id): what makes two requests the same one (C5)."""
        return self.request.slot, self.principal, self.request.request_id


@dataclass(slots=True)
class Loading:
    """A load on its way, with everybody who wants its result."""

    ticket: int
    reads: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(call, index) of reads."""
    operation: Operation | None = None
    """The key's first pending write, if it has no base yet."""


def row_of(operation: Operation, epoch: int, revision: int, now_us: int) -> JournalRow:
    """What is written of an operation that may be committed; a resolve writes a bar."""
    request, change, base = operation.request, operation.change, operation.base
    return JournalRow(
        slot=request.slot,
        revision=revision,
        epoch=epoch,
        key=request.key,
        version=change.version if change else 0,
        op=request.op if isinstance(request, Write) else Op.BAR,
        body=change.body if change else None,
        schema_version=change.schema_version if change else 0,
        indexes=change.indexes if change else {},
        principal=operation.principal,
        request_id=request.request_id,
        digest=operation.digest,
        # Times of one key never go back, whatever the clock does; order comes from versions all the same.
        time_us=max(now_us, base.updated_us if base else 0),
    )


def digest_of(request: Write | Resolve) -> bytes:
    """What a repeated request must share with the first one. Epoch, number and freshness differ between sendings."""
    if isinstance(request, Resolve):
        return b""
    same = (request.key, request.op, request.body, request.expected)
    return blake2b(_encoder.encode(same), digest_size=16).digest()
