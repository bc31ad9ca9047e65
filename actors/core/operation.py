"""One write (or question about one) on its way through a shard."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from lightning_state.actors.core.change import Change
from lightning_state.actors.core.grant import Grant
from lightning_state.actors.core.messages import Acquire, Recall, Release, Resolve, Write
from lightning_state.actors.core.rows import Applied, Entry

_encoder = msgspec.msgpack.Encoder()


class Waiter(msgspec.Struct, frozen=True):
    """Who asked: request `index` of frame `call`, number `seq` of `session`; a Recall has none."""

    call: int
    index: int
    session: str
    seq: int


@dataclass(slots=True, eq=False)
class Operation:
    """A write between arrival and reply. Everybody who asked under its request id waits here."""

    request: Write | Resolve | Recall | Acquire | Release
    principal: str
    digest: bytes
    waiters: list[Waiter]
    base: Entry | None = None
    applied: Applied | None = None
    looked_up: bool = False
    change: Change | None = None
    grant: Grant | None = None
    """What an Acquire or Release makes of the lease."""

    @property
    def place(self) -> tuple[int, str]:
        """(slot, key)."""
        return self.request.slot, self.request.key

    @property
    def identity(self) -> tuple[int, str, str]:
        """(slot, principal, request id): what makes two requests the same one (C5)."""
        return self.request.slot, self.principal, self.request.request_id


def digest_of(request: Write | Resolve | Recall | Acquire | Release) -> bytes:
    """What a repeated request must share with the first one. Epoch, number and freshness differ between sendings."""
    if not isinstance(request, (Write, Recall)):  # what else an Acquire says is part of its lease's identity
        return b""
    if isinstance(request, Recall) or request.intent:
        same = (request.key, request.op, request.intent)
    else:
        same = (request.key, request.op, request.body, request.expected)
    return blake2b(_encoder.encode(same), digest_size=16).digest()
