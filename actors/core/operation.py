"""One write (or question about one, or part of a transaction) on its way through a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from lightning_state.actors.core.change import Change
from lightning_state.actors.core.grant import Grant
from lightning_state.actors.core.messages import Acquire, Inquire, Recall, Release, Resolve, Transact, Write
from lightning_state.actors.core.rows import Applied, Entry, Op

_encoder = msgspec.msgpack.Encoder()


class Waiter(msgspec.Struct, frozen=True):
    """Who asked: request `index` of frame `call`, number `seq` of `session`; a Recall has none."""

    call: int
    index: int
    session: str
    seq: int


class Keep(msgspec.Struct, frozen=True):
    """A transaction has read this key: it stays as it is until the transaction's end."""

    slot: int
    key: str
    request_id: str = ""


@dataclass(slots=True, eq=False)
class Operation:
    """A write between arrival and reply. Everybody who asked under its request id waits here.

    A part of a transaction waits for its others; a Transact or Inquire is the decision.
    """

    request: Write | Resolve | Recall | Acquire | Release | Keep | Transact | Inquire
    principal: str
    digest: bytes
    waiters: list[Waiter]
    base: Entry | None = None
    applied: Applied | None = None
    looked_up: bool = False
    change: Change | None = None
    grant: Grant | None = None
    """What an Acquire or Release makes of the lease."""
    part: Part | None = None
    is_decided: bool = False
    """Of a part: it is at the head of its queue, and its change is known and admitted."""
    followers: Sequence[Operation] = ()
    """Committed together with this one."""

    @property
    def place(self) -> tuple[int, str]:
        """(slot, key)."""
        return self.request.slot, self.request.key

    @property
    def identity(self) -> tuple[int, str, str]:
        """(slot, principal, request id): what makes two requests the same one (C5)."""
        return self.request.slot, self.principal, self.request.request_id


@dataclass(slots=True, eq=False)
class Part:
    """What one shard does of one transaction."""

    transaction: str
    principal: str
    digest: bytes
    size: int
    """Keys that the whole transaction writes."""
    present: dict[str, bool]
    """category/key → whether it will have a state; see Validate."""
    operations: list[Operation] = field(default_factory=list[Operation])
    """Those in the queues of their keys."""
    holds: bool = False
    """A decision may be made elsewhere from now on: linearizable reads of the keys it writes wait for it."""
    is_over: bool = False
    """Its operations leave their queues as soon as they can."""
    writes_as: Op | None = None
    """What the rows of the next commit are; None: the changes."""
    is_promised: bool = False
    """It was told "prepared": nothing but the decision changes anything about it."""
    decided_in: int | None = None
    """The slot of the decision, when another shard makes it."""
    decision_body: bytes = b""
    """The body of the decision's row, when this shard makes it."""
    time_us: int = 0
    """Its rows are not older than this."""

    @property
    def writes(self) -> list[Operation]:
        """The operations that change something."""
        return [operation for operation in self.operations if isinstance(operation.request, Write)]

    @property
    def is_decided(self) -> bool:
        """Whether all operations have their keys to themselves."""
        return all(operation.is_decided for operation in self.operations)


@dataclass(slots=True)
class Loading:
    """A load on its way, with everybody who wants its result."""

    ticket: int
    reads: list[tuple[int, int, bool]] = field(default_factory=list[tuple[int, int, bool]])
    """(call, index, whether only the version is wanted) of reads."""
    operation: Operation | None = None
    """The key's first pending write, if it has no base yet."""


def digest_of(request: Write | Resolve | Recall | Acquire | Release | Transact) -> bytes:
    """What a repeated request must share with the first one. Epoch, number and freshness differ between sendings."""
    if not isinstance(request, Write | Recall | Transact):  # what else an Acquire says is part of its lease's identity
        return b""
    if isinstance(request, Transact):
        return blake2b(_encoder.encode((request.shares, request.is_guarded)), digest_size=16).digest()
    if isinstance(request, Recall) or request.intent:
        same = (request.key, request.op, request.intent)
    else:
        same = (request.key, request.op, request.body, request.expected)
    return blake2b(_encoder.encode(same), digest_size=16).digest()
