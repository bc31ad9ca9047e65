"""One client session's decisions: write numbers, request ids, what to do with each answer, what is unknown at the end.

Pure: time and randomness are arguments, sending and waiting are the caller's. For every operation the caller runs

    operation = session.write(...)                             # or read, listing, resolve
    loop: shard, request = session.send(operation, now_s)      # routed by the newest map
          frame = session.frame([request, ...])                # built at the moment of sending: it carries the floor
          decision = session.answered(operation, reply or Lost, now_s, roll)
    until the decision is Done or Failed; in any case, cancellation included: session.end(operation)

Times: `now_s` and `deadline_s` are seconds of any one monotonic clock, `now_ms` is wall-clock milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lightning_state.actors.core.checks import (
    check_expected,
    check_index_value,
    check_lease,
    check_limit,
    check_request_id,
)
from lightning_state.actors.core.messages import (
    PROTOCOL,
    Acquire,
    Frame,
    Get,
    History,
    List,
    Pending,
    Recall,
    Refused,
    Release,
    Renew,
    Reply,
    Request,
    Resolve,
    Write,
)
from lightning_state.actors.core.request_ids import generated_id
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.service_map import ServiceMap
from lightning_state.actors.core.slots import index_of_slot, slot_of
from lightning_state.actors.errors import (
    ClientClosedError,
    DeadlineExceededError,
    LightningStateError,
    OutcomeUnknownError,
    ProtocolError,
    ServiceNotFoundError,
    UnknownCategoryError,
    error_from_code,
)

MOVED = frozenset({"not_owner", "fenced", "shard_unavailable"})
"""Refusals that a newer map may cure: retried under the same id and number until the deadline. Shards
never remember them as the answer to a number."""

BUSY = frozenset({"overloaded", "store_unavailable"})
"""Refusals that time may cure: retried under the same id, with a new number, a few times."""

SETTLING = frozenset(
    {
        "version_conflict",
        "not_found",
        "invalid_transition",
        "invalid_state",
        "invalid_key",
        "too_large",
        "too_deep",
        "validation_failed",
        "validation_unavailable",
        "idempotency_mismatch",
        "request_barred",
        "locked",
        "lock_lost",
        "stale_fencing_token",
    }
)
"""Refusals made with the request id looked up, or true of every sending alike: they tell that an earlier sending of
this write was not applied either. Any other refusal says so only of the sending it answers."""


NUMBERED = (Write, Resolve, Acquire, Release)
"""Requests that change something: a session numbers them (C5)."""

LOCK_ANSWER_S = 10.0
"""How much longer than its wait an Acquire has until it must be answered: a shard may restart meanwhile."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how fast an operation is tried again. Delays double from `first_s` to `longest_s`, with jitter."""

    first_s: float = 0.01
    longest_s: float = 0.5
    most: int = 200
    """Sendings that were lost or went to a wrong owner."""
    most_busy: int = 6
    """Answers of an overloaded service."""


class Lost(msgspec.Struct, frozen=True):
    """What a transport says of a request that got no reply. `sent` False: it provably never left this process."""

    sent: bool
    code: str
    message: str


Answer = Reply | Lost


class Done(msgspec.Struct, frozen=True):
    """The operation is over; this is its reply."""

    reply: Reply


class Again(msgspec.Struct, frozen=True):
    """Send again after `delay_s`; `refresh`: with a newly fetched map."""

    delay_s: float
    refresh: bool


class Failed(msgspec.Struct, frozen=True):
    """The operation is over with this error."""

    error: LightningStateError


Decision = Done | Again | Failed


def _ignore(_: ServiceMap) -> None:
    pass


class Operation(msgspec.Struct, eq=False):
    """One operation under way. Only the session changes it."""

    category: str
    key: str
    template: Request
    deadline_s: float
    shard: int | None = None
    """Where a list goes; the others follow their slot."""
    tries: int = 0
    busy: int = 0
    doubtful: bool = False
    """A sending of this write may have been, or may yet be, applied without our having been told."""
    trouble: str = ""
    """The last reason it was not answered, for messages."""
    wait_until_s: float = 0.0
    """Until when an Acquire waits for its turn."""

    @property
    def seq(self) -> int:
        """The session's number of this operation; 0 for those that change nothing."""
        return self.template.seq if isinstance(self.template, NUMBERED) else 0

    @property
    def request_id(self) -> str:
        """What this operation can be repeated or asked about under; empty for those that change nothing."""
        return self.template.request_id if isinstance(self.template, NUMBERED) else ""


@dataclass(slots=True, eq=False)
class Session:
    """One client's session. Give it a lock as `guard` when several threads use it."""

    name: str
    """Unique among all sessions of the service."""
    map: ServiceMap
    principal: str = ""
    retries: Retries = field(default_factory=Retries)
    guard: AbstractContextManager[Any] = field(default_factory=nullcontext[None])
    on_learn: Callable[[ServiceMap], None] = _ignore
    """Hears of every newer map."""
    _next: int = 1
    _open: dict[int, None] = field(default_factory=dict[int, None])
    # Insertion order is the order of the numbers, so the first one is the lowest.

    def __repr__(self) -> str:
        return f"<Session {self.name} next={self._next} open={len(self._open)} map={self.map.version}>"

    def learn(self, newer: ServiceMap) -> None:
        """Use this map, unless the one in use is newer (answers of the directory may overtake each other)."""
        if newer.service_id != self.map.service_id or newer.version >= self.map.version:
            self.map = newer
            self.on_learn(newer)

    def read(self, category: str, key: str, deadline_s: float) -> Operation:
        """Begin a read of a key. Raises UnknownCategoryError when the map does not have the category."""
        return Operation(category, key, Get(self._slot(category, key), key), deadline_s)

    def history(self, category: str, key: str, after_version: int, limit: int, deadline_s: float) -> Operation:
        """Begin reading a key's retained versions after one of them."""
        check_limit(limit)
        check_expected(after_version)
        return Operation(category, key, History(self._slot(category, key), key, after_version, limit), deadline_s)

    def listing(self, category: str, shard: int, request: List, deadline_s: float) -> Operation:
        """Begin one shard's part of a list. Raises InvalidStateError for a limit or an index value that cannot be."""
        check_limit(request.limit)
        check_index_value(request.value)
        return Operation(category, request.after, request, deadline_s, shard=shard)

    def write(
        self,
        category: str,
        key: str,
        op: Op,
        body: bytes,
        expected: int,
        *,
        deadline_s: float,
        now_ms: int,
        request_id: str | None = None,
        intent: bytes = b"",
        token: int = 0,
    ) -> Operation:
        """Begin a write, under a lock's `token` if there is one. Without a `request_id` it gets a unique, sortable one.

        A caller's own id may have been used before, so only a generated one is ever sent as fresh. What would make a
        frame unreadable is refused here, by InvalidStateError: others' requests travel in it as well.
        """
        slot = self._slot(category, key)
        check_expected(expected)
        if request_id is not None:
            check_request_id(request_id)
        seq = self._number()
        name = request_id or generated_id(now_ms, self.name, seq)
        template = Write(slot, 0, key, op, body, expected, name, seq, request_id is None, intent=intent, token=token)
        return Operation(category, key, template, deadline_s)

    def resolve(self, category: str, key: str, request_id: str, deadline_s: float) -> Operation:
        """Begin asking whether a write was applied; if it was not, it never will be."""
        slot = self._slot(category, key)
        check_request_id(request_id)
        return Operation(category, key, Resolve(slot, 0, key, request_id, self._number()), deadline_s)

    def lock(
        self, category: str, key: str, owner: str, *, ttl_s: float, wait_s: float, now_s: float, now_ms: int
    ) -> Operation:
        """Begin acquiring a lease. It waits for its turn until `now_s + wait_s`; its own deadline is ANSWER_S later."""
        slot = self._slot(category, key)
        check_lease(owner, ttl_s, wait_s)
        seq = self._number()
        template = Acquire(slot, 0, key, owner, int(ttl_s * 1000), 0, generated_id(now_ms, self.name, seq), seq)
        until_s = now_s + wait_s
        return Operation(category, key, template, until_s + LOCK_ANSWER_S, wait_until_s=until_s)

    def unlock(self, category: str, key: str, token: int, hold: str, *, deadline_s: float, now_ms: int) -> Operation:
        """Begin releasing what the Acquire with the request id `hold` acquired."""
        seq = self._number()
        name = generated_id(now_ms, self.name, seq)
        return Operation(category, key, Release(self._slot(category, key), 0, key, token, hold, name, seq), deadline_s)

    def renew(self, category: str, key: str, token: int, deadline_s: float) -> Operation:
        """Begin starting a lease's time anew."""
        return Operation(category, key, Renew(self._slot(category, key), 0, key, token), deadline_s)

    def recall(  # noqa: PLR0917  # a write's own parameters, in their order
        self, category: str, key: str, op: Op, intent: bytes, request_id: str, deadline_s: float
    ) -> Operation:
        """Begin asking what a write did, or else what is stored: for a write that depends on what is."""
        slot = self._slot(category, key)
        check_request_id(request_id)
        return Operation(category, key, Recall(slot, key, op, intent, request_id), deadline_s)

    def route(self, operation: Operation) -> tuple[int, int]:
        """(slot, shard) that an operation on a key is for, by the map in use. Raises ProtocolError for a list."""
        template = operation.template
        if isinstance(template, List):
            raise ProtocolError("a list is of many slots")
        return template.slot, self.map.categories[operation.category].owners[index_of_slot(template.slot)]

    def send(self, operation: Operation, now_s: float) -> tuple[int, Request]:
        """The shard to ask now, and the request for it."""
        template = operation.template
        again = operation.tries > 0
        operation.tries += 1
        if isinstance(template, List):
            return operation.shard or 0, template
        shard = self.map.categories[operation.category].owners[index_of_slot(template.slot)]
        if isinstance(template, (Get, Recall, History)):
            return shard, template
        epoch = self.epoch(shard)
        if isinstance(template, Write):
            timeout_ms = max(1, int((operation.deadline_s - now_s) * 1000))
            fresh = template.fresh and not again
            return shard, msgspec.structs.replace(template, epoch=epoch, timeout_ms=timeout_ms, fresh=fresh)
        if isinstance(template, Acquire):
            wait_ms = max(0, int((operation.wait_until_s - now_s) * 1000))
            return shard, msgspec.structs.replace(template, epoch=epoch, wait_ms=wait_ms)
        return shard, msgspec.structs.replace(template, epoch=epoch)

    def frame(self, requests: list[Request]) -> Frame:
        """The frame that carries these requests now."""
        with self.guard:
            floor = next(iter(self._open), self._next)
        return Frame(PROTOCOL, self.name, floor, self.principal, requests)

    def answered(self, operation: Operation, answer: Answer, now_s: float, roll: float) -> Decision:
        """What to do with an answer. `roll` is a random number in [0, 1) for the jitter of a delay."""
        if not isinstance(answer, (Refused, Lost, Pending)):
            return Done(answer)
        if isinstance(answer, Pending):
            operation.doubtful = isinstance(operation.template, Write)
            operation.trouble = "the service is still deciding"
            return self._again(operation, 0.0, now_s, refresh=False)
        if isinstance(answer, Lost):
            return self._lost(operation, answer, now_s, roll)
        if answer.maybe:
            return self._lost(operation, Lost(True, answer.code, answer.message), now_s, roll)
        if answer.code in MOVED:
            return self._lost(operation, Lost(False, answer.code, answer.message), now_s, roll)
        if answer.code in BUSY:
            return self._busy(operation, answer, now_s, roll)
        error = error_from_code(answer.code, answer.message, answer.details)
        if answer.code in SETTLING:
            return Failed(error)
        operation.trouble = answer.message
        return self._given_up(operation, error)

    def end(self, operation: Operation) -> None:
        """Its fate is settled, or nobody waits for it any more: the floor may pass it. May be called repeatedly.

        A sending still under way is refused once a later frame has told the shard the new floor; before that it may
        be applied, which is what "unknown" meant to whoever gave up.
        """
        if seq := operation.seq:
            with self.guard:
                self._open.pop(seq, None)

    def _lost(self, operation: Operation, lost: Lost, now_s: float, roll: float) -> Decision:
        operation.doubtful |= lost.sent and isinstance(operation.template, Write)
        operation.trouble = lost.message
        if lost.code == ServiceNotFoundError.code and not operation.doubtful:
            return Failed(ServiceNotFoundError(lost.message))
        if lost.code == ClientClosedError.code:
            return self._given_up(operation, ClientClosedError(lost.message))
        if operation.tries >= self.retries.most:
            return self._given_up(operation, error_from_code(lost.code, lost.message))
        return self._again(operation, self._delay(operation.tries, roll), now_s, refresh=True)

    def _busy(self, operation: Operation, refused: Refused, now_s: float, roll: float) -> Decision:
        operation.busy += 1
        operation.trouble = refused.message
        error = error_from_code(refused.code, refused.message, refused.details)
        delay_s = max(self._delay(operation.busy, roll), float(refused.details.get("retry_after_s", 0.0)))
        if operation.busy >= self.retries.most_busy or now_s + delay_s >= operation.deadline_s:
            return self._given_up(operation, error)
        self._renumber(operation)
        return self._again(operation, delay_s, now_s, refresh=False)

    def _again(self, operation: Operation, delay_s: float, now_s: float, *, refresh: bool) -> Decision:
        if now_s + delay_s < operation.deadline_s:
            return Again(delay_s, refresh)
        details = {"category": operation.category, "key": operation.key}
        reason = f": {operation.trouble}" if operation.trouble else ""
        return self._given_up(
            operation,
            DeadlineExceededError(
                f"the deadline passed before {operation.category}/{operation.key} was answered{reason}", **details
            ),
        )

    def _given_up(self, operation: Operation, error: LightningStateError) -> Failed:
        """The error of an operation that is not tried again: `error`, unless a write's fate is unknown."""
        template = operation.template
        if not (operation.doubtful and isinstance(template, Write)):
            return Failed(error)
        return Failed(
            OutcomeUnknownError(
                f"the write of {operation.category}/{operation.key} may or may not have happened "
                f"({operation.trouble}): repeat it under the same request_id, or ask with resolve()",
                request_id=template.request_id,
                category=operation.category,
                key=operation.key,
            )
        )

    def _delay(self, tries: int, roll: float) -> float:
        """Exponential, with jitter over the upper half: callers that failed together come back apart."""
        longest = min(self.retries.first_s * 2 ** min(tries - 1, 30), self.retries.longest_s)
        return longest * (0.5 + 0.5 * roll)

    def _number(self) -> int:
        with self.guard:
            seq = self._next
            self._next += 1
            self._open[seq] = None
        return seq

    def _renumber(self, operation: Operation) -> None:
        """A shard's refusal is its final answer to a number: the next try needs a new one, under the same id."""
        template = operation.template
        if isinstance(template, NUMBERED):
            self.end(operation)
            operation.template = msgspec.structs.replace(template, seq=self._number())

    def _slot(self, category: str, key: str) -> int:
        info = self.map.categories.get(category)
        if info is None:
            raise UnknownCategoryError(f"category {category!r} is not registered at service {self.map.service!r}")
        return slot_of(info.id, key, len(info.owners))

    def epoch(self, shard: int) -> int:
        """That of a shard's newest owner, by the map in use; 0 before the first."""
        shards = self.map.shards
        # The directory lists them by number: no search for every write.
        if shard < len(shards) and shards[shard].number == shard:
            return shards[shard].epoch
        return next((info.epoch for info in shards if info.number == shard), 0)
