"""Leases of keys with fencing tokens (C6): who holds a key, who waits for it, which token admits a write.

Pure, as the shard around it. Times are microseconds of the owner's clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

import msgspec

from lightning_state.actors.core.grant import Grant, grant_of, token_of
from lightning_state.actors.core.messages import Acquire, Leased, Release, Released
from lightning_state.actors.core.operation import Operation
from lightning_state.actors.core.rows import JournalRow
from lightning_state.actors.errors import (
    LockedError,
    LockLostError,
    LockTimeoutError,
    OverloadedError,
    StaleFencingTokenError,
)

ASK_AGAIN_US = 1_000_000
"""A waiter is told "pending" this long after it asked, and asks again: so it is known to be there still."""

GONE_US = 3_000_000
"""A waiter that has not asked for this long is gone: it is not granted what nobody would use (trap 5)."""

_RELEASED_MOST = 4_096

Place = tuple[int, str]
"""(slot, key)."""


@dataclass(slots=True)
class _Waiting:
    operation: Operation
    until_us: int
    asked_us: int
    was_told: bool = False
    """It was told "pending" since it asked."""

    @property
    def due_us(self) -> int:
        """When it is to be answered next."""
        return min(self.until_us, self.asked_us + (GONE_US if self.was_told else ASK_AGAIN_US))


@dataclass(slots=True)
class _Locked:
    """One key that is leased or waited for."""

    grant: Grant | None = None
    expires_us: int = 0
    waiters: deque[_Waiting] = field(default_factory=deque[_Waiting])
    alarm_us: int = 0
    """When `due` will name this key; 0: not at all."""
    chosen: Operation | None = None
    """The waiter whose turn it is: it goes before everybody who comes now."""


class HeldLock(msgspec.Struct, frozen=True):
    """A lease, for people to look at."""

    slot: int
    key: str
    owner: str
    """Empty: nobody holds it, somebody waits."""
    token: int
    remaining_ms: int
    waiters: list[str]
    """Owners, in the order in which they will be served."""


class Locks:
    """All leases of one shard."""

    def __init__(self, key_queue: int) -> None:
        self._places: dict[Place, _Locked] = {}
        self._released: OrderedDict[tuple[int, str], None] = OrderedDict()
        # The last (token, hold) released: whoever repeats such a release is told that it worked.
        self._alarms: list[tuple[int, Place]] = []
        # A heap. One that comes too early, after a renewal, is set anew.
        self._generation = 0
        self._key_queue = key_queue

    def __repr__(self) -> str:
        return f"<Locks keys={len(self._places)} waiting={self.waiting}>"

    @property
    def held(self) -> int:
        """Leases that were granted and not released; some may have run out."""
        return sum(locked.grant is not None for locked in self._places.values())

    @property
    def waiting(self) -> int:
        """Requests that wait for a lease."""
        return sum(len(locked.waiters) + (locked.chosen is not None) for locked in self._places.values())

    def restore(self, row: JournalRow, now_us: int) -> None:
        """Take over a lease that an earlier owner granted; its full time to live starts again."""
        grant = grant_of(row)
        locked = self._places.setdefault((row.slot, row.key), _Locked())
        locked.grant, locked.expires_us = grant, now_us + grant.ttl_ms * 1_000

    def check(self, place: Place, token: int, now_us: int) -> None:
        """Whether a write with this token (0: none) may go on.

        Raises LockedError, StaleFencingTokenError for the token of an earlier grant, or LockLostError.
        """
        locked = self._places.get(place)
        grant = self._current(locked, now_us)
        if locked is None or grant is None:
            if token:
                raise LockLostError(f"the lease of {place[1]!r} has run out or was released: nothing was written")
        elif not token:
            raise _locked(place[1], grant, locked.expires_us, now_us)
        elif token != grant.token:
            raise StaleFencingTokenError(
                f"{place[1]!r} was granted to {grant.owner!r} under a newer token: nothing was written"
            )

    def decide(self, operation: Operation, now_us: int, epoch: int) -> Leased | Released | Grant | None:
        """What an Acquire or Release at the head of its key's queue comes to.

        A reply when nothing changes; the Grant to commit, without holds when the lease ends; None: it waits. Raises
        LockedError, LockTimeoutError, LockLostError or OverloadedError.
        """
        request = operation.request
        if isinstance(request, Release):
            return self._release(request, now_us)
        assert isinstance(request, Acquire)  # noqa: S101  # nothing else is given to it
        locked = self._places.setdefault(operation.place, _Locked())
        is_turn = locked.chosen is operation
        if is_turn:
            locked.chosen = None
        grant = self._current(locked, now_us)
        if grant is not None and request.request_id in grant.holds:
            return grant.leased(request.slot, epoch, locked.expires_us - now_us)
        if grant is not None and grant.owner == request.owner:
            return msgspec.structs.replace(grant, holds=[*grant.holds, request.request_id])
        if grant is None and (is_turn or not (locked.waiters or locked.chosen)):
            self._generation += 1
            return Grant(request.owner, request.ttl_ms, token_of(epoch, self._generation), [request.request_id])
        self._wait(operation, request, locked, grant, now_us)
        return None

    def committed(self, place: Place, grant: Grant, now_us: int, *, unlocked: Release | None = None) -> None:
        """The grant that `decide` gave is durable."""
        locked = self._places.setdefault(place, _Locked())
        if unlocked is not None:
            self._released[unlocked.token, unlocked.hold] = None
            if len(self._released) > _RELEASED_MOST:
                self._released.popitem(last=False)
        else:
            locked.expires_us = now_us + grant.ttl_ms * 1_000
        locked.grant = grant if grant.holds else None

    def leased(self, place: Place, epoch: int, now_us: int) -> Leased:
        """The reply to whoever acquired the lease just now."""
        locked = self._places[place]
        assert locked.grant is not None  # noqa: S101  # it was committed just now
        return locked.grant.leased(place[0], epoch, locked.expires_us - now_us)

    def renew(self, place: Place, token: int, epoch: int, now_us: int) -> Leased:
        """Start a lease's time anew. Raises LockLostError when it is not held under this token any more."""
        locked = self._places.get(place)
        grant = self._current(locked, now_us)
        if locked is None or grant is None or grant.token != token:
            raise LockLostError(f"the lease of {place[1]!r} has run out: another may hold it")
        locked.expires_us = now_us + grant.ttl_ms * 1_000
        return grant.leased(place[0], epoch, locked.expires_us - now_us)

    def asked_again(self, operation: Operation, now_us: int) -> None:
        """Whoever waits by this operation is there still."""
        locked = self._places.get(operation.place)
        for waiting in locked.waiters if locked is not None else ():
            if waiting.operation is operation:
                waiting.asked_us, waiting.was_told = now_us, False

    def next_turn(self, place: Place, now_us: int) -> Operation | None:
        """The waiter to be served now, in the order they came; None while the lease is held or nobody waits."""
        locked = self._places.get(place)
        if locked is None or locked.chosen is not None or self._current(locked, now_us) is not None:
            return None
        if not locked.waiters:
            del self._places[place]  # a lease that has run out leaves nothing behind
            return None
        locked.chosen = locked.waiters.popleft().operation
        return locked.chosen

    def end_waits(self, place: Place, now_us: int) -> Iterator[tuple[Operation, LockTimeoutError | None]]:
        """Waiters to be answered now: with an error when their time is over or they are gone; None: ask again."""
        locked = self._places.get(place)
        if locked is not None:
            for waiting in list(locked.waiters):
                if waiting.until_us <= now_us or waiting.asked_us + GONE_US <= now_us:
                    locked.waiters.remove(waiting)
                    yield waiting.operation, LockTimeoutError(f"{place[1]!r} was not free in time: nothing is locked")
                elif waiting.due_us <= now_us:
                    waiting.was_told = True
                    yield waiting.operation, None

    def due(self, now_us: int) -> list[Place]:
        """The keys at which something is to be done now that nobody asks for."""
        places: list[Place] = []
        while self._alarms and self._alarms[0][0] <= now_us:
            _, place = heappop(self._alarms)
            if (locked := self._places.get(place)) is not None:
                locked.alarm_us = 0
                places.append(place)
        return places

    def wake_us(self) -> int | None:
        """When `due` is to be asked next; None: there is no need to."""
        return self._alarms[0][0] if self._alarms else None

    def set_alarm(self, place: Place, now_us: int) -> None:
        """See to it that `due` names this key when its lease ends or one of its waiters is to be answered."""
        locked = self._places.get(place)
        if locked is None:
            return
        times = [waiting.due_us for waiting in locked.waiters]
        if locked.grant is not None:
            times.append(locked.expires_us)
        at_us = max(min(times, default=0), now_us + 1)
        if times and not 0 < locked.alarm_us <= at_us:
            locked.alarm_us = at_us
            heappush(self._alarms, (at_us, place))

    def waiters(self) -> Iterable[Operation]:
        """Every operation that waits and is in no queue."""
        return [waiting.operation for locked in self._places.values() for waiting in locked.waiters]

    def clear(self) -> None:
        """Forget everything: the next owner finds the leases in the store."""
        self._places.clear()
        self._released.clear()
        self._alarms.clear()

    def look(self, now_us: int) -> list[HeldLock]:
        """All leases and waiters."""
        return [
            HeldLock(
                slot,
                key,
                grant.owner if grant is not None else "",
                grant.token if grant is not None else 0,
                (locked.expires_us - now_us) // 1_000 if grant is not None else 0,
                [_owner_of(waiting.operation) for waiting in locked.waiters],
            )
            for (slot, key), locked in self._places.items()
            if (grant := self._current(locked, now_us)) is not None or locked.waiters
        ]

    # -- small parts ---

    @staticmethod
    def _current(locked: _Locked | None, now_us: int) -> Grant | None:
        return locked.grant if locked is not None and locked.expires_us > now_us else None

    def _release(self, request: Release, now_us: int) -> Grant | Released:
        locked = self._places.get((request.slot, request.key))
        grant = self._current(locked, now_us)
        if grant is None or grant.token != request.token or request.hold not in grant.holds:
            return Released(request.slot, was_held=(request.token, request.hold) in self._released)
        return msgspec.structs.replace(grant, holds=[hold for hold in grant.holds if hold != request.hold])

    def _wait(self, operation: Operation, request: Acquire, locked: _Locked, grant: Grant | None, now_us: int) -> None:
        if request.wait_ms <= 0:
            if grant is None:
                raise LockedError(f"others wait for {request.key!r} already", holder="", remaining_s=0.0)
            raise _locked(request.key, grant, locked.expires_us, now_us)
        if len(locked.waiters) >= self._key_queue:
            raise OverloadedError(f"too many wait for the lock of {request.key!r}", retry_after_s=1.0)
        locked.waiters.append(_Waiting(operation, now_us + request.wait_ms * 1_000, now_us))


def _owner_of(operation: Operation) -> str:
    return operation.request.owner if isinstance(operation.request, Acquire) else ""


def _locked(key: str, grant: Grant, expires_us: int, now_us: int) -> LockedError:
    remaining_s = max(0.0, (expires_us - now_us) / 1e6)
    return LockedError(
        f"{key!r} is locked by {grant.owner!r} for {remaining_s:.1f} s more: wait, or write with its lock",
        holder=grant.owner,
        remaining_s=remaining_s,
    )
