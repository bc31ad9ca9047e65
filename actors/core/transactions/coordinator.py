"""The coordinator of transactions: everything is prepared, then what was read is checked again, then it is decided.

A transaction that touches this shard only is one commit: its keys, those it only read too, are at the head of their
queues from the check to the end of the commit. One that touches several asks the others to prepare, in the order of
their numbers: nobody waits at a shard for a holder that waits at an earlier one, so there is no deadlock. Its own keys
need no PREPARE rows: they are committed in the same transaction of the store as the decision, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

from lightning_state.actors.core.effects import Lookup
from lightning_state.actors.core.messages import (
    Check,
    Checked,
    Decided,
    Finish,
    Inquire,
    Prepare,
    Prepared,
    Refused,
    Reply,
    Resolution,
    Share,
    Transact,
)
from lightning_state.actors.core.operation import Keep, Operation, Part, Waiter, digest_of
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.rows import Applied, JournalRow, Op
from lightning_state.actors.core.transactions.aborts import (
    aborted,
    changed,
    check_transact,
    folded,
    holds_true,
)
from lightning_state.actors.core.transactions.host import Host
from lightning_state.actors.core.transactions.parts import Alarms, Questions, Replies, commit, drop, let_go
from lightning_state.actors.core.transactions.rows import Decision, decision_of
from lightning_state.actors.errors import (
    DeadlineExceededError,
    IdempotencyMismatchError,
    LightningStateError,
    OverloadedError,
    RequestBarredError,
    ShardUnavailableError,
    VersionConflictError,
)

Identity = tuple[int, str, str]
"""(slot, principal, transaction)."""

_MARGIN_US = 250_000
_RETRY_US = 100_000
_BUSY_RETRY_S = 0.02
_FINISH_MS = 1_000
"""How long a decision is tried to be told. Who does not hear it asks."""


class Stage(Enum):
    """How far a transaction is."""

    LOOKING_UP = auto()
    CHOOSING = auto()
    ACQUIRING = auto()
    PREPARING = auto()
    CHECKING = auto()
    DECIDING = auto()


@dataclass(slots=True, eq=False)
class Coordinated(Part):
    """One transaction that is decided here."""

    request: Transact = field(kw_only=True)
    own: int = field(kw_only=True)
    """The number of this shard's share."""
    waiters: list[Waiter] = field(default_factory=list[Waiter])
    deadline_us: int = 0
    stage: Stage = Stage.LOOKING_UP
    shares: list[Share] = field(default_factory=list[Share])
    seen: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    """Versions of the keys with conditions."""
    is_otherwise: bool = False
    to_prepare: list[int] = field(default_factory=list[int])
    """Shares not asked yet, the last one first."""
    asked: list[int] = field(default_factory=list[int])
    """Shares that may hold something."""
    versions: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    missing: int = 0
    """Answers to the questions of this stage."""
    verdict: Decision | None = None
    inquirers: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    @property
    def identity(self) -> Identity:
        """What makes two requests the same one."""
        return self.request.slot, self.principal, self.transaction

    @property
    def is_alone(self) -> bool:
        """Whether it touches no other shard."""
        return not any(share.reads or share.writes for number, share in enumerate(self.shares) if number != self.own)


@dataclass(slots=True, eq=False)
class Inquiry(Part):
    """A question for a transaction that is not under way here."""

    request: Inquire = field(kw_only=True)
    inquirers: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


class Coordinator:
    """The transactions that are decided in one shard."""

    def __init__(self, host: Host, questions: Questions, alarms: Alarms) -> None:
        self._host = host
        self._questions = questions
        self._alarms = alarms
        self._pending: dict[Identity, Coordinated] = {}
        self._inquiries: dict[Identity, Inquiry] = {}
        self._lookups: dict[int, Callable[[Applied | Refused | None], None]] = {}

    def __len__(self) -> int:
        return len(self._pending)

    # -- arrival ---

    def begin(self, waiter: Waiter, request: Transact, principal: str) -> None:
        """Begin a transaction, or join it if it is under way. Raises what it is refused with at once."""
        identity = (request.slot, principal, request.request_id)
        digest = digest_of(request)
        pending = self._pending.get(identity)
        if pending is not None:
            _check_same(digest, pending.digest, request.request_id)
            pending.waiters.append(waiter)
            return
        if identity in self._inquiries:
            raise OverloadedError("its outcome is being asked for: ask again", retry_after_s=_BUSY_RETRY_S)
        own = check_transact(request, self._host)
        timeout_us = request.timeout_ms * 1_000
        transaction = Coordinated(
            transaction=request.request_id,
            principal=principal,
            digest=digest,
            size=sum(len(share.writes) for share in request.shares),
            present=self._present(request.shares),
            request=request,
            own=own,
            waiters=[waiter],
            deadline_us=self._host.now_us + timeout_us - min(_MARGIN_US, timeout_us // 4),
            shares=request.shares,
        )
        self._pending[identity] = transaction
        try:
            if request.fresh:
                self._found(transaction, None)
            else:
                self._look_up(request.slot, principal, request.request_id, partial(self._found, transaction))
        except LightningStateError:
            del self._pending[identity]
            raise
        self._alarms.at(transaction.deadline_us, partial(self._late, transaction))

    def inquire(self, call: int, index: int, request: Inquire) -> None:
        """Answer with the decision; without one, bar the transaction first."""
        identity = (request.slot, request.principal, request.transaction)
        pending = self._pending.get(identity) or self._inquiries.get(identity)
        if pending is None:
            pending = self._inquiries[identity] = Inquiry(
                transaction=request.transaction,
                principal=request.principal,
                digest=b"",
                size=0,
                present={},
                request=request,
            )
            self._look_up(*identity, partial(self._inquired, pending))
        pending.inquirers.append((call, index))

    # -- what the shard tells ---

    def looked_up(self, ticket: int, result: Applied | Refused | None) -> bool:
        """The result of a Lookup; False when it was none of these."""
        then = self._lookups.pop(ticket, None)
        if then is None:
            return False
        then(result)
        return True

    def decided(self, operation: Operation, transaction: Coordinated) -> None:
        """One of the own keys is at the head of its queue, its change is admitted."""
        request = operation.request
        if transaction.is_over:
            drop(self._host, operation)
            return
        if isinstance(request, Keep):
            expected = next(each.version for each in self._own(transaction).reads if each.key == request.key)
            base = operation.base
            current = base.version if base is not None and base.body is not None else 0
            if current != expected:
                category = self._host.category_of(request.slot)
                self._abort(transaction, changed(category, request.key, expected, current))
                return
        if transaction.stage is Stage.ACQUIRING and transaction.is_decided:
            self._acquired(transaction)

    def refused(self, transaction: Coordinated, refused: Refused) -> None:
        """One of the own keys cannot be written."""
        if not transaction.is_over:
            self._abort(transaction, refused)

    def committed(self, part: Coordinated | Inquiry, row: JournalRow) -> None:
        """The decision is durable."""
        if isinstance(part, Inquiry):
            self._answer_inquiry(part, is_committed=False)
            return
        decision = part.verdict
        if decision is None or not decision.is_committed:
            self._end(part, (decision and decision.refused) or _interrupted(part.transaction))
        else:
            self._end(part, Decided(decision.versions, row.time_us, decision.is_otherwise))

    def commit_refused(self, part: Coordinated | Inquiry, refused: Refused) -> None:
        """The decision was not written, for certain."""
        if isinstance(part, Inquiry):
            del self._inquiries[part.request.slot, part.principal, part.transaction]
            for call, index in part.inquirers:
                self._host.respond(call, index, refused)
        elif part.asked:
            # Others hold keys for it: it is decided as soon as the store can be written again.
            self._alarms.at(self._host.now_us + _RETRY_US, partial(self._write_decision, part))
        else:
            self._end(part, refused)

    def disown(self, refused: Refused) -> None:
        """Own nothing any more."""
        for transaction in self._pending.values():
            for waiter in transaction.waiters:
                self._host.respond(waiter.call, waiter.index, refused)
        for part in (*self._pending.values(), *self._inquiries.values()):
            for call, index in part.inquirers:
                self._host.respond(call, index, refused)
        for memory in (self._pending, self._inquiries, self._lookups):
            memory.clear()

    # -- one transaction ---

    def _found(self, transaction: Coordinated, applied: Applied | Refused | None) -> None:
        """What was stored under its id."""
        request = transaction.request
        if transaction.is_over:
            return
        if isinstance(applied, Refused):
            self._end(transaction, applied)
        elif applied is not None:
            self._end(transaction, self._repeated(transaction, applied))
        elif (transaction.principal, transaction.transaction) in self._host.slots[request.slot].barred:
            self._end(transaction, _interrupted(transaction.transaction))
        elif request.is_guarded:
            self._choose(transaction)
        elif request.fresh:
            self._acquire(transaction)
        else:
            try:
                self._acquire(transaction)
            except LightningStateError as error:
                self._end(transaction, refusal(error))

    def _choose(self, transaction: Coordinated) -> None:
        """Ask for the versions of all keys with conditions."""
        transaction.stage = Stage.CHOOSING
        for number, share in enumerate(transaction.shares):
            places = dict.fromkeys((each.slot, each.key) for each in share.conditions)
            checks = [Check(slot, key, is_patient=True) for slot, key in places]
            if checks:
                transaction.missing += 1
                self._check(transaction, number, checks, partial(self._seen, transaction, checks))
        if not transaction.missing:
            self._chosen(transaction)

    def _seen(self, transaction: Coordinated, checks: list[Check], replies: Replies) -> None:
        if transaction.is_over or transaction.stage is not Stage.CHOOSING:
            return
        for check, reply in zip(checks, replies or [_silent()] * len(checks), strict=True):
            if not isinstance(reply, Checked):
                self._abort(transaction, _as_refusal(reply))
                return
            transaction.seen[check.slot, check.key] = reply.version
        transaction.missing -= 1
        if not transaction.missing:
            self._chosen(transaction)

    def _chosen(self, transaction: Coordinated) -> None:
        shares, seen = transaction.request.shares, transaction.seen
        conditions = (each for share in shares for each in share.conditions)
        transaction.is_otherwise = not all(holds_true(each, seen[each.slot, each.key]) for each in conditions)
        try:
            transaction.shares = [folded(share, seen, otherwise=transaction.is_otherwise) for share in shares]
            transaction.size = sum(len(share.writes) for share in transaction.shares)
            transaction.present = self._present(transaction.shares)
            self._acquire(transaction)
        except LightningStateError as error:
            self._abort(transaction, refusal(error))

    def _acquire(self, transaction: Coordinated) -> None:
        """Wait for the own keys. Raises OverloadedError."""
        own = self._own(transaction)
        requests = [*own.writes, *(Keep(each.slot, each.key) for each in own.reads)]
        operations = [
            Operation(request, transaction.principal, b"", [], looked_up=True, part=transaction) for request in requests
        ]
        self._host.enqueue(operations)
        transaction.stage = Stage.ACQUIRING
        transaction.operations = operations
        numbers = [n for n, share in enumerate(transaction.shares) if n != transaction.own and share.writes]
        transaction.to_prepare = numbers[::-1]
        if not operations:
            self._acquired(transaction)

    def _acquired(self, transaction: Coordinated) -> None:
        own = [operation.change for operation in transaction.writes]
        transaction.versions[transaction.own] = [change.version for change in own if change is not None]
        if transaction.is_alone:
            self._decide(transaction)
        else:
            transaction.stage = Stage.PREPARING
            self._prepare_next(transaction)

    def _prepare_next(self, transaction: Coordinated) -> None:
        if not transaction.to_prepare:
            self._check_reads(transaction)
            return
        number = transaction.to_prepare.pop()
        transaction.asked.append(number)
        writes = transaction.shares[number].writes
        left_ms = self._left_ms(transaction)
        request = Prepare(
            epoch=0,
            slot=transaction.request.slot,
            transaction=transaction.transaction,
            principal=transaction.principal,
            writes=writes,
            size=transaction.size,
            timeout_ms=left_ms,
            present=transaction.present,
        )
        self._questions.ask(writes[0].slot, [request], left_ms, partial(self._prepared, transaction, number))

    def _prepared(self, transaction: Coordinated, number: int, replies: Replies) -> None:
        if transaction.is_over or transaction.stage is not Stage.PREPARING:
            return
        reply = replies[0] if replies else _silent()
        if not isinstance(reply, Prepared):
            self._abort(transaction, _as_refusal(reply))
            return
        transaction.versions[number] = reply.versions
        self._prepare_next(transaction)

    def _check_reads(self, transaction: Coordinated) -> None:
        """Everything is held: now what was only read must be unchanged, and held by nobody else."""
        transaction.stage = Stage.CHECKING
        transaction.holds = True
        for number, share in enumerate(transaction.shares):
            if number != transaction.own and share.reads:
                transaction.missing += 1
                checks = [Check(each.slot, each.key) for each in share.reads]
                self._check(transaction, number, checks, partial(self._checked, transaction, number))
        if not transaction.missing:
            self._decide(transaction)

    def _checked(self, transaction: Coordinated, number: int, replies: Replies) -> None:
        if transaction.is_over or transaction.stage is not Stage.CHECKING:
            return
        reads = transaction.shares[number].reads
        for read, reply in zip(reads, replies or [_silent()] * len(reads), strict=True):
            if not isinstance(reply, Checked):
                self._abort(transaction, _as_refusal(reply))
                return
            if reply.version != read.version:
                category = self._host.category_of(read.slot)
                self._abort(transaction, changed(category, read.key, read.version, reply.version))
                return
        transaction.missing -= 1
        if not transaction.missing:
            self._decide(transaction)

    def _decide(self, transaction: Coordinated) -> None:
        transaction.stage = Stage.DECIDING
        versions = [v for number in range(len(transaction.shares)) for v in transaction.versions.get(number, [])]
        transaction.verdict = Decision(True, versions, transaction.is_otherwise, None)
        self._write_decision(transaction)

    def _abort(self, transaction: Coordinated, cause: Refused) -> None:
        """Give it up. Whoever may hold something for it is told so, and so is the caller, after the row is written."""
        refused = aborted(transaction.transaction, cause)
        transaction.holds = False
        let_go(self._host, transaction)
        if not transaction.asked:
            self._end(transaction, refused)
            return
        transaction.stage = Stage.DECIDING
        transaction.verdict = Decision(False, [], transaction.is_otherwise, refused)
        self._write_decision(transaction)

    def _write_decision(self, transaction: Coordinated) -> None:
        decision = Operation(transaction.request, transaction.principal, transaction.digest, [], part=transaction)
        is_committed = transaction.verdict is not None and transaction.verdict.is_committed
        transaction.decision_body = transaction.verdict.encode() if transaction.verdict is not None else b""
        commit(self._host, [decision, *(transaction.writes if is_committed else [])])

    def _end(self, transaction: Coordinated, reply: Reply) -> None:
        """Answer, let the keys go, tell the others."""
        del self._pending[transaction.identity]
        for waiter in transaction.waiters:
            self._host.conclude(waiter, reply)
        is_committed = isinstance(reply, Decided)
        transaction.holds = False
        let_go(self._host, transaction)
        for number in transaction.asked:
            finish = Finish(transaction.principal, transaction.transaction, is_committed)
            slot = transaction.shares[number].writes[0].slot
            self._questions.ask(slot, [finish], _FINISH_MS, lambda _: None)
        if not transaction.inquirers:
            return
        if is_committed or (isinstance(reply, Refused) and reply.code == "transaction_aborted" and transaction.asked):
            for call, index in transaction.inquirers:
                self._host.respond(call, index, Resolution(applied=is_committed, version=0))
        else:
            # It ended without a row: who asks is answered after one that bars it.
            for call, index in transaction.inquirers:
                request = Inquire(transaction.request.slot, 0, transaction.principal, transaction.transaction)
                self.inquire(call, index, request)

    def _late(self, transaction: Coordinated) -> None:
        if transaction.stage is not Stage.DECIDING and not transaction.is_over and self._is_pending(transaction):
            error = DeadlineExceededError("the deadline passed before everything was held")
            self._abort(transaction, refusal(error))

    # -- one inquiry ---

    def _inquired(self, inquiry: Inquiry, applied: Applied | Refused | None) -> None:
        if isinstance(applied, Refused):
            self.commit_refused(inquiry, applied)
        elif applied is None:
            commit(self._host, [Operation(inquiry.request, inquiry.principal, b"", [], part=inquiry)])
        else:
            decision = decision_of(applied.body) if applied.op is Op.DECIDE else None
            self._answer_inquiry(inquiry, is_committed=decision is not None and decision.is_committed)

    def _answer_inquiry(self, inquiry: Inquiry, *, is_committed: bool) -> None:
        del self._inquiries[inquiry.request.slot, inquiry.principal, inquiry.transaction]
        for call, index in inquiry.inquirers:
            self._host.respond(call, index, Resolution(applied=is_committed, version=0))

    # -- small parts ---

    def _own(self, transaction: Coordinated) -> Share:
        return transaction.shares[transaction.own]

    def _present(self, shares: list[Share]) -> dict[str, bool]:
        writes = (write for share in shares for write in share.writes)
        return {f"{self._host.category_of(each.slot)}/{each.key}": each.op is not Op.DELETE for each in writes}

    def _is_pending(self, transaction: Coordinated) -> bool:
        return self._pending.get(transaction.identity) is transaction

    def _left_ms(self, transaction: Coordinated) -> int:
        return max(1, (transaction.deadline_us - self._host.now_us) // 1_000)

    def _check(
        self, transaction: Coordinated, number: int, checks: list[Check], then: Callable[[Replies], None]
    ) -> None:
        if number == transaction.own:
            self._questions.ask_self(checks, then)
        else:
            self._questions.ask(checks[0].slot, [*checks], self._left_ms(transaction), then)

    def _look_up(
        self, slot: int, principal: str, transaction: str, then: Callable[[Applied | Refused | None], None]
    ) -> None:
        ticket = self._host.ticket()
        self._lookups[ticket] = then
        self._host.effects.append(Lookup(ticket, slot, principal, transaction))

    def _repeated(self, transaction: Coordinated, applied: Applied) -> Reply:
        """The stored outcome of a transaction that was decided before."""
        if applied.op is not Op.DECIDE:
            return _interrupted(transaction.transaction)
        if applied.digest != transaction.digest:
            return refusal(_mismatch(transaction.transaction))
        decision = decision_of(applied.body)
        if decision is None or not decision.is_committed:
            return (decision and decision.refused) or _interrupted(transaction.transaction)
        return Decided(decision.versions, applied.time_us, decision.is_otherwise)


def _check_same(digest: bytes, pending: bytes, transaction: str) -> None:
    if digest != pending:
        raise _mismatch(transaction)


def _mismatch(transaction: str) -> IdempotencyMismatchError:
    return IdempotencyMismatchError(f"transaction {transaction!r} was another one: every transaction needs its own id")


def _interrupted(transaction: str) -> Refused:
    error = RequestBarredError("it was given up: its outcome was asked for before it was decided, or a shard restarted")
    return aborted(transaction, refusal(error))


def _silent() -> Refused:
    return refusal(ShardUnavailableError("another shard did not answer in time"))


def _as_refusal(reply: Reply) -> Refused:
    return reply if isinstance(reply, Refused) else refusal(VersionConflictError(f"unexpected {type(reply).__name__}"))
