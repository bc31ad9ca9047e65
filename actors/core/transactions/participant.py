"""What other shards decide of keys of this one: held from the answer "yes" until the decision is learnt."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from hashlib import blake2b

import msgspec

from lightning_state.actors.core.effects import Invalidate, Lookup
from lightning_state.actors.core.messages import (
    ANY,
    Finish,
    Finished,
    Inquire,
    Prepare,
    Prepared,
    Refused,
    Resolution,
    Write,
)
from lightning_state.actors.core.operation import Operation, Part
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.rows import Applied, JournalRow, Op
from lightning_state.actors.core.transactions.aborts import check_size, check_writes
from lightning_state.actors.core.transactions.host import Host
from lightning_state.actors.core.transactions.parts import Alarms, Questions, Replies, commit, drop, let_go
from lightning_state.actors.core.transactions.rows import hold_of
from lightning_state.actors.errors import (
    DeadlineExceededError,
    IdempotencyMismatchError,
    NotOwnerError,
    ProtocolError,
    RequestBarredError,
)

_ASK_AFTER_US = 1_000_000
"""A decision not heard of for this long is asked for; and caches drop what may have changed (C8)."""

_ASK_AGAIN_US = 500_000
_ASK_MS = 5_000
_RETRY_US = 100_000
_REMEMBERED_US = 3_600 * 1_000_000
"""A transaction that is over is remembered this long: no transport delays a Prepare for longer."""

_encode = msgspec.msgpack.Encoder().encode

Name = tuple[str, str]
"""(principal, transaction)."""


class Stage(Enum):
    """How far a part is."""

    ACQUIRING = auto()
    PREPARING = auto()
    PREPARED = auto()
    FINISHING = auto()


@dataclass(slots=True, eq=False)
class HeldPart(Part):
    """The keys of one transaction that is decided elsewhere."""

    stage: Stage = Stage.ACQUIRING
    callers: list[tuple[int, int, Prepare]] = field(default_factory=list[tuple[int, int, Prepare]])
    """Who waits for it to be prepared."""
    finishers: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    decision: bool | None = None
    since_us: int = 0
    is_asking: bool = False
    is_looked_up: bool = False

    @property
    def name(self) -> Name:
        """Ids belong to their principals."""
        return self.principal, self.transaction


class HeldKey(msgspec.Struct, frozen=True):
    """A key that waits for the decision of a transaction, for people to look at."""

    slot: int
    key: str
    transaction: str
    held_ms: int


class Participant:
    """The parts of other shards' transactions."""

    def __init__(self, host: Host, questions: Questions, alarms: Alarms) -> None:
        self._host = host
        self._questions = questions
        self._alarms = alarms
        self._parts: dict[Name, HeldPart] = {}
        self._over: OrderedDict[Name, int] = OrderedDict()
        self._lookups: dict[int, HeldPart] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def held(self) -> list[HeldKey]:
        """What is held for decisions that are made elsewhere."""
        return [
            HeldKey(*operation.place, part.transaction, (self._host.now_us - part.since_us) // 1_000)
            for part in self._parts.values()
            if part.holds
            for operation in part.operations
        ]

    # -- what coordinators ask ---

    def prepare(self, call: int, index: int, request: Prepare) -> None:
        """Hold these keys. Raises what it is refused with at once."""
        name = (request.principal, request.transaction)
        digest = _digest(request)
        part = self._parts.get(name)
        if part is not None:
            if part.digest != digest:
                raise IdempotencyMismatchError(f"transaction {request.transaction!r} holds keys for something else")
            if part.stage is Stage.FINISHING:
                raise RequestBarredError("the transaction is over")
            part.callers.append((call, index, request))
            if part.stage is Stage.PREPARED:
                self._answer_callers(part)
            return
        if name in self._over:
            raise RequestBarredError("the transaction is over")
        if not request.writes:
            raise ProtocolError("there is nothing to prepare")
        check_size(len(request.writes), self._host.limits)
        check_writes(request.writes, self._host)
        for write in request.writes:
            if self._host.slots[write.slot].epoch != request.epoch:
                raise NotOwnerError(f"slot epoch is not {request.epoch}, which the request names")
        deadline_us = self._host.now_us + request.timeout_ms * 1_000
        part = HeldPart(
            transaction=request.transaction,
            principal=request.principal,
            digest=digest,
            size=request.size,
            present=request.present,
            decided_in=request.slot,
            callers=[(call, index, request)],
        )
        operations = [
            Operation(write, request.principal, digest, [], looked_up=True, part=part) for write in request.writes
        ]
        self._host.enqueue(operations)
        part.operations = operations
        self._parts[name] = part
        ticket = self._host.ticket()
        self._lookups[ticket] = part
        place = request.writes[0].slot
        self._host.effects.append(Lookup(ticket, place, request.principal, request.transaction))
        self._alarms.at(deadline_us, partial(self._late, part))

    def finish(self, call: int, index: int, request: Finish) -> None:
        """Carry out a decision."""
        name = (request.principal, request.transaction)
        part = self._parts.get(name)
        if part is None:
            self._remember(name)
            self._host.respond(call, index, Finished())
            return
        part.finishers.append((call, index))
        self._learn(part, is_committed=request.is_committed)

    # -- what the shard tells ---

    def decided(self, operation: Operation, part: HeldPart) -> None:
        """One of the keys is at the head of its queue, its change is admitted."""
        if part.is_over:
            drop(self._host, operation)
        else:
            self._go_on(part)

    def looked_up(self, ticket: int, result: Applied | Refused | None) -> bool:
        """The result of a Lookup; False when it was none of these."""
        part = self._lookups.pop(ticket, None)
        if part is None:
            return False
        if not part.is_over:
            if result is None:
                part.is_looked_up = True
                self._go_on(part)
            else:
                # A Prepare that is late, by an owner since replaced perhaps: to carry it out again would be twice.
                is_refused = isinstance(result, Refused)
                self._give_up(part, result if is_refused else refusal(RequestBarredError("the transaction is over")))
        return True

    def refused(self, part: HeldPart, refused: Refused) -> None:
        """One of the keys cannot be written."""
        if not part.is_over:
            self._give_up(part, refused)

    def committed(self, part: HeldPart) -> None:
        """What it had to write is durable."""
        if part.stage is Stage.PREPARING:
            part.stage = Stage.PREPARED
            part.since_us = self._host.now_us
            part.holds = part.is_promised = True
            if part.decision is not None:
                self._carry_out(part)
                return
            self._answer_callers(part)
            self._alarms.at(self._host.now_us + _ASK_AFTER_US, partial(self._ask, part))
        else:
            self._end(part)

    def commit_refused(self, part: HeldPart, refused: Refused) -> None:
        """Nothing was written, for certain."""
        if part.stage is Stage.PREPARING:
            self._give_up(part, refused)
        else:
            self._alarms.at(self._host.now_us + _RETRY_US, partial(self._carry_out, part))

    def restore(self, row: JournalRow) -> None:
        """Hold what an earlier owner of the slot held, and ask how it was decided."""
        name = (row.principal, row.transaction)
        hold = hold_of(row)
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = HeldPart(
                transaction=row.transaction,
                principal=row.principal,
                digest=row.digest,
                size=row.transaction_size,
                present={},
                decided_in=hold.slot,
                is_promised=True,
                stage=Stage.PREPARED,
                holds=True,
                time_us=row.time_us,
                since_us=self._host.now_us,
            )
            self._alarms.at(0, partial(self._ask, part))
        write = Write(row.slot, row.epoch, row.key, hold.op, b"", ANY, row.transaction, 0, fresh=True)
        operation = Operation(
            write, row.principal, row.digest, [], looked_up=True, change=hold.change, part=part, is_decided=True
        )
        self._host.enqueue([operation], is_promised=True)
        part.operations.append(operation)

    def disown(self, refused: Refused) -> None:
        """Own nothing any more."""
        for part in self._parts.values():
            for call, index in (*(caller[:2] for caller in part.callers), *part.finishers):
                self._host.respond(call, index, refused)
        self._parts.clear()
        self._over.clear()
        self._lookups.clear()

    # -- one part ---

    def _go_on(self, part: HeldPart) -> None:
        """Write the PREPARE rows, once every key is there, and it is known that the transaction is not over."""
        if part.stage is Stage.ACQUIRING and part.is_looked_up and part.is_decided:
            part.stage = Stage.PREPARING
            part.writes_as = Op.PREPARE
            commit(self._host, part.operations)

    def _learn(self, part: HeldPart, *, is_committed: bool) -> None:
        """The decision is known."""
        if part.decision is None:
            part.decision = is_committed
            if part.stage is Stage.PREPARED:
                self._carry_out(part)
            elif part.stage is Stage.ACQUIRING:
                self._give_up(part, refusal(RequestBarredError("the transaction was aborted meanwhile")))
            # While its PREPARE rows are being written, it waits for the end of that.

    def _carry_out(self, part: HeldPart) -> None:
        part.stage = Stage.FINISHING
        part.writes_as = None if part.decision else Op.ABORT
        commit(self._host, part.operations)

    def _end(self, part: HeldPart) -> None:
        part.holds = False
        let_go(self._host, part)
        self._forget(part)

    def _give_up(self, part: HeldPart, refused: Refused) -> None:
        """It is not prepared, and will not be by this request."""
        let_go(self._host, part)
        for call, index, _ in part.callers:
            self._host.respond(call, index, refused)
        part.callers.clear()
        del self._parts[part.name]
        if part.decision is not None:
            self._remember(part.name)
        for call, index in part.finishers:
            self._host.respond(call, index, Finished())

    def _forget(self, part: HeldPart) -> None:
        del self._parts[part.name]
        self._remember(part.name)
        over = refusal(RequestBarredError("the transaction is over"))
        for call, index, _ in part.callers:
            self._host.respond(call, index, over)
        for call, index in part.finishers:
            self._host.respond(call, index, Finished())

    def _answer_callers(self, part: HeldPart) -> None:
        versions = {o.place: o.change.version for o in part.operations if o.change is not None}
        callers, part.callers = part.callers, []
        for call, index, request in callers:
            in_order = [versions[write.slot, write.key] for write in request.writes]
            self._host.respond(call, index, Prepared(in_order))

    def _late(self, part: HeldPart) -> None:
        if part.stage is Stage.ACQUIRING and self._parts.get(part.name) is part:
            self._give_up(part, refusal(DeadlineExceededError("the deadline passed before every key was free")))

    def _ask(self, part: HeldPart) -> None:
        """Nobody has told the decision: ask for it, again and again."""
        if part.stage is not Stage.PREPARED or part.is_asking or self._parts.get(part.name) is not part:
            return
        part.is_asking = True
        for operation in part.operations:
            # The decision may have been made long ago: what caches have may be as old (C8).
            self._doubt(operation)
        slot = part.decided_in or 0
        inquire = Inquire(slot, 0, part.principal, part.transaction)
        self._questions.ask(slot, [inquire], _ASK_MS, partial(self._told, part))

    def _told(self, part: HeldPart, replies: Replies) -> None:
        part.is_asking = False
        if self._parts.get(part.name) is not part:
            return
        reply = replies[0] if replies else None
        if isinstance(reply, Resolution):
            self._learn(part, is_committed=reply.applied)
        else:
            self._alarms.at(self._host.now_us + _ASK_AGAIN_US, partial(self._ask, part))

    def _doubt(self, operation: Operation) -> None:
        slot, key = operation.place
        owned = self._host.slots[slot]
        version = operation.change.version - 1 if operation.change is not None else 0
        indexes = operation.change.indexes if operation.change is not None else {}
        self._host.effects.append(Invalidate(slot, key, owned.epoch, owned.revision, version, indexes))

    def _remember(self, name: Name) -> None:
        now_us = self._host.now_us
        self._over[name] = now_us
        while self._over:
            oldest, at_us = next(iter(self._over.items()))
            if now_us - at_us < _REMEMBERED_US:
                return
            del self._over[oldest]


def _digest(request: Prepare) -> bytes:
    """What a repeated Prepare must share with the first one; the epoch differs between sendings."""
    same = [(write.slot, write.key, write.op, write.body, write.expected) for write in request.writes]
    return blake2b(_encode((request.slot, same)), digest_size=16).digest()
