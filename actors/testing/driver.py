"""Drives one pure Shard by hand: every effect waits until the test answers it, in the order the test likes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from lightning_state.actors.category import AGENTS, RESEARCH, Category
from lightning_state.actors.core.effects import (
    Commit,
    Effect,
    Invalidate,
    Load,
    Lookup,
    Notify,
    ReadHistory,
    Recover,
    Respond,
    Scan,
    Validate,
    Wake,
)
from lightning_state.actors.core.messages import (
    ANY,
    PROTOCOL,
    Acquire,
    Frame,
    Get,
    Refused,
    Release,
    Reply,
    Request,
    Resolve,
    Write,
)
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.registered import Registered
from lightning_state.actors.core.rows import Applied, Entry, Op
from lightning_state.actors.core.shard import Shard
from lightning_state.actors.core.slots import slot_of, slots_of_category
from lightning_state.actors.errors import StoreUnavailableError
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.store import SimulatedStore

Waiting = Load | Lookup | Scan | ReadHistory | Validate | Commit
"""Effects that expect an answer."""

W = TypeVar("W", Load, Lookup, Scan, ReadHistory, Validate, Commit)

UNAVAILABLE = refusal(StoreUnavailableError("the store cannot be reached"))


class ShardDriver:
    """A shard that owns every slot of the given categories, and a store that hears of commits only when told.

    `log` has the effects that expect no answer, in order; `waiting` those that do and have none yet.
    """

    def __init__(
        self,
        *,
        categories: Sequence[Category[Any]] = (AGENTS, RESEARCH),
        slots: int = 1,
        limits: Limits | None = None,
        floor: int = 0,
    ) -> None:
        self.shard = Shard(limits or Limits())
        self.store = SimulatedStore()
        self.epoch = 1
        self.now_us = 1_000_000
        self.log: list[Invalidate | Notify | Respond | Recover | Wake] = []
        self.waiting: list[Waiting] = []
        self._slots = slots
        self._ids = {category.name: number for number, category in enumerate(categories)}
        for number, category in enumerate(categories):
            self.shard.register(Registered(number, category, slots))
        self.adopt(floor=floor)
        self._calls = 0
        self._numbers = 0

    def __repr__(self) -> str:
        return f"<ShardDriver {self.shard!r} waiting={[type(effect).__name__ for effect in self.waiting]}>"

    def adopt(self, *, floor: int = 0) -> None:
        """Own all slots under the driver's epoch, as the store knows them."""
        slots = [slot for number in self._ids.values() for slot in slots_of_category(number, self._slots)]
        heads = self.store.acquire(slots, self.epoch, compact=False)
        raised = [msgspec.structs.replace(head, floor=max(floor, head.floor)) for head in heads]
        self.shard.adopt(raised, self.store.held(slots), now_us=self.now_us)

    def recover(self) -> None:
        """Take the next epoch after the shard has disowned everything."""
        self.epoch += 1
        self.adopt()

    # -- requests ---

    def slot(self, key: str, category: str = "agents") -> int:
        """The slot of a key."""
        return slot_of(self._ids[category], key, self._slots)

    def get(self, key: str, category: str = "agents") -> Get:
        """A read."""
        return Get(self.slot(key, category), key)

    def write(
        self,
        key: str,
        op: Op = Op.SET,
        body: bytes | None = None,
        expected: int = ANY,
        *,
        request_id: str | None = None,
        seq: int | None = None,
        fresh: bool | None = None,
        category: str = "agents",
        token: int = 0,
    ) -> Write:
        """A write with the next number and, unless given, an id of its own; with a given id it is not fresh."""
        self._numbers = max(self._numbers + 1, seq or 0)
        number = self._numbers if seq is None else seq
        return Write(
            slot=self.slot(key, category),
            epoch=self.epoch,
            key=key,
            op=op,
            body=agent(key) if body is None else body,
            expected=expected,
            request_id=request_id or f"r{number}",
            seq=number,
            fresh=request_id is None if fresh is None else fresh,
            token=token,
        )

    def lock(
        self,
        key: str,
        owner: str,
        *,
        ttl_ms: int = 10_000,
        wait_ms: int = 60_000,
        request_id: str | None = None,
        seq: int | None = None,
    ) -> Acquire:
        """A request for a lease, with the next number and, unless given, an id of its own."""
        self._numbers = max(self._numbers + 1, seq or 0)
        number = self._numbers if seq is None else seq
        return Acquire(self.slot(key), self.epoch, key, owner, ttl_ms, wait_ms, request_id or f"l{number}", number)

    def unlock(self, lock: Acquire, token: int) -> Release:
        """The release of what a request acquired."""
        self._numbers += 1
        hold, number = lock.request_id, self._numbers
        return Release(lock.slot, self.epoch, lock.key, token, hold, f"u{number}", number)

    def resolve(self, key: str, request_id: str) -> Resolve:
        """A question for the outcome of a request."""
        self._numbers += 1
        return Resolve(self.slot(key), self.epoch, key, request_id, self._numbers)

    def send(self, *requests: Request, session: str = "s", floor: int = 0, principal: str = "p") -> int:
        """Deliver a frame; returns its call number."""
        self._calls += 1
        frame = Frame(PROTOCOL, session, floor, principal, list(requests))
        self.take(self.shard.receive(self._calls, frame, self.now_us))
        return self._calls

    # -- answers ---

    def take(self, effects: list[Effect]) -> None:
        """Sort effects into those that wait for an answer and the rest."""
        for effect in effects:
            if isinstance(effect, Load | Lookup | Scan | ReadHistory | Validate | Commit):
                self.waiting.append(effect)
            else:
                self.log.append(effect)

    def next(self, kind: type[W]) -> W:
        """The oldest effect of this kind that waits, to be answered now. Raises LookupError when none does."""
        for effect in self.waiting:
            if isinstance(effect, kind):
                self.waiting.remove(effect)
                return effect
        raise LookupError(f"no {kind.__name__} is waiting: {self!r}")

    def load(self, entry: Entry | None = None) -> None:
        """Answer the oldest Load."""
        self.take(self.shard.loaded(self.next(Load).ticket, entry, self.now_us))

    def look_up(self, applied: Applied | None = None) -> None:
        """Answer the oldest Lookup."""
        self.take(self.shard.looked_up(self.next(Lookup).ticket, applied, self.now_us))

    def scan(self, *entries: Entry) -> None:
        """Answer the oldest Scan."""
        self.take(self.shard.scanned(self.next(Scan).ticket, entries, self.now_us))

    def read_history(self) -> None:
        """Answer the oldest ReadHistory from the store."""
        asked = self.next(ReadHistory)
        rows = self.store.history(asked.slot, asked.key, after_version=asked.after_version, limit=asked.limit)
        self.take(self.shard.history_read(asked.ticket, rows, self.now_us))

    def fail(self, kind: type[W], refused: Refused = UNAVAILABLE) -> None:
        """Let the oldest Load, Lookup or Scan fail."""
        self.take(self.shard.load_failed(self.next(kind).ticket, refused, self.now_us))

    def judge(self, refused: Refused | None = None) -> None:
        """Answer the oldest Validate; None admits."""
        self.take(self.shard.judged(self.next(Validate).ticket, refused, self.now_us))

    def commit(self) -> Commit:
        """Carry the commit out and report success."""
        effect = self.next(Commit)
        self.store.append(effect.rows)
        self.take(self.shard.committed(effect.ticket, self.now_us))
        return effect

    def refuse_commit(self, refused: Refused = UNAVAILABLE) -> None:
        """Report an error before COMMIT."""
        self.take(self.shard.commit_refused(self.next(Commit).ticket, refused, self.now_us))

    def lose_commit(self, *, written: bool) -> None:
        """Report an error of COMMIT, which was carried out or was not."""
        effect = self.next(Commit)
        if written:
            self.store.append(effect.rows)
        self.take(self.shard.commit_unknown(effect.ticket))

    def settle(self) -> None:
        """Answer everything from the store, verdicts with yes, until nothing waits."""
        while self.waiting:
            effect = self.waiting[0]
            if isinstance(effect, Load):
                self.load(self.store.load(effect.slot, effect.key))
            elif isinstance(effect, Lookup):
                self.look_up(self.store.applied(effect.slot, effect.principal, effect.request_id))
            elif isinstance(effect, ReadHistory):
                self.read_history()
            elif isinstance(effect, Scan):
                self.scan(*self.store.scan(effect.request, effect.size_bytes))
            elif isinstance(effect, Validate):
                self.judge()
            else:
                self.commit()

    def ask(self, request: Request, *, floor: int = 0, principal: str = "p") -> Reply:
        """Send one request, settle everything, and return its reply."""
        call = self.send(request, floor=floor, principal=principal)
        self.settle()
        reply = self.reply(call)
        if reply is None:
            raise LookupError(f"no reply: {self!r}")
        return reply

    def reply(self, call: int, index: int = 0) -> Reply | None:
        """The reply to a request, None while there is none. Raises LookupError when there are several."""
        found = [e.reply for e in self.log if isinstance(e, Respond) and (e.call, e.index) == (call, index)]
        if len(found) > 1:
            raise LookupError(f"answered {len(found)} times: {found}")
        return found[0] if found else None

    def evict(self) -> None:
        """Forget every hot entry."""
        self.shard.hot.clear()


def agent(key: str, status: str = "Ready", kind: str = "worker") -> bytes:
    """The body of an agent state."""
    return msgspec.json.encode({"agentId": key, "agentType": kind, "status": status})
