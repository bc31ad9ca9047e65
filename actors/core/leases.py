"""The shard's side of locks: Acquire and Release go through their key's queue as writes do, and wait beside it."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from lightning_state.actors.core.effects import Effect, Wake
from lightning_state.actors.core.grant import Grant
from lightning_state.actors.core.locks import Locks
from lightning_state.actors.core.messages import Leased, Pending, Release, Released, Reply, Write
from lightning_state.actors.core.operation import Operation
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.replies import Slot
from lightning_state.actors.core.rows import JournalRow
from lightning_state.actors.errors import LightningStateError


class Host(Protocol):
    """What leases use of their shard."""

    now_us: int
    slots: dict[int, Slot]
    queues: dict[tuple[int, str], deque[Operation]]
    next: deque[Operation]
    ready: deque[Operation]
    effects: list[Effect]

    def finish(self, operation: Operation, reply: Reply, /) -> None:
        """Answer everybody who waits for an operation at the head of its queue, and let the next one begin."""
        ...

    def answer(self, operation: Operation, reply: Reply, /) -> None:
        """Answer everybody who waits for an operation that is in no queue."""
        ...

    def leave_queue(self, operation: Operation, /) -> None:
        """Let the key's next operation begin; this one goes on outside of the queue."""
        ...

    def respond(self, call: int, index: int, reply: Reply, /) -> None:
        """Answer one request."""
        ...


class Leases:
    """What a shard does about locks; `Locks` decides."""

    def __init__(self, shard: Host, key_queue: int) -> None:
        self.locks = Locks(key_queue)
        self._shard = shard
        self._wake_us: int | None = None

    def __repr__(self) -> str:
        return repr(self.locks)

    def prepare(self, operation: Operation) -> None:
        """An Acquire or Release is at the head of its key's queue."""
        shard = self._shard
        try:
            decided = self.locks.decide(operation, shard.now_us, shard.slots[operation.request.slot].epoch)
        except LightningStateError as error:
            shard.finish(operation, refusal(error))
            return
        if isinstance(decided, Grant):
            operation.grant = decided
            shard.ready.append(operation)
        elif decided is not None:
            shard.finish(operation, decided)
        else:
            self.locks.set_alarm(operation.place, shard.now_us)
            shard.leave_queue(operation)  # others go on, the holder first of all

    def restore(self, row: JournalRow) -> None:
        """Take over a lease that an earlier owner granted."""
        self.locks.restore(row, self._shard.now_us)
        self.locks.set_alarm((row.slot, row.key), self._shard.now_us)

    def check(self, operation: Operation, write: Write) -> None:
        """Raises as `Locks.check`."""
        self.locks.check(operation.place, write.token, self._shard.now_us)

    def still_admits(self, operation: Operation) -> bool:
        """Whether a write made under a lease may be committed: that may have run out while VERL looked at it (C6)."""
        request = operation.request
        if not isinstance(request, Write) or not request.token:
            return True
        if operation.part is not None and operation.part.is_promised:
            return True  # nobody could be granted the lease since: the key is held
        try:
            self.check(operation, request)
        except LightningStateError as error:
            self._shard.finish(operation, refusal(error))
            return False
        return True

    def applied(self, operation: Operation, grant: Grant) -> None:
        """The row of an Acquire or Release is durable."""
        request = operation.request
        unlocked = request if isinstance(request, Release) else None
        self.locks.committed(operation.place, grant, self._shard.now_us, unlocked=unlocked)
        self._serve_next(operation.place)

    def result(self, operation: Operation) -> Reply:
        """The reply to an Acquire or Release whose row is durable."""
        request = operation.request
        if isinstance(request, Release):
            return Released(request.slot, was_held=True)
        epoch = self._shard.slots[request.slot].epoch
        return self.locks.leased(operation.place, epoch, self._shard.now_us)

    def renew(self, slot: int, key: str, token: int) -> Leased:
        """Start a lease's time anew. Raises LockLostError."""
        return self.locks.renew((slot, key), token, self._shard.slots[slot].epoch, self._shard.now_us)

    def woken(self) -> None:
        """It is time to answer those who waited long enough, and to serve those whose turn has come."""
        self._wake_us = None
        for place in self.locks.due(self._shard.now_us):
            self._serve_next(place)

    def set_alarm(self) -> None:
        """Ask to be woken when something has to be done that nobody asks for."""
        at_us = self.locks.wake_us()
        if at_us is not None and (self._wake_us is None or at_us < self._wake_us):
            self._wake_us = at_us
            self._shard.effects.append(Wake(at_us))

    def clear(self) -> None:
        """Own nothing any more."""
        self.locks.clear()
        self._wake_us = None

    def _serve_next(self, place: tuple[int, str]) -> None:
        """Answer those who waited long enough; let the next one have its turn, if the lease is free."""
        shard = self._shard
        for operation, error in self.locks.end_waits(place, shard.now_us):
            if error is not None:
                shard.answer(operation, refusal(error))
                continue
            for waiter in operation.waiters:
                shard.respond(waiter.call, waiter.index, Pending())
            operation.waiters.clear()
        operation = self.locks.next_turn(place, shard.now_us)
        self.locks.set_alarm(place, shard.now_us)
        if operation is None:
            return
        queue = shard.queues.get(place)
        if queue is None:
            shard.queues[place] = deque([operation])
            shard.next.append(operation)
        else:
            queue.insert(1, operation)  # behind what is under way, before all who came later
