"""Leases of keys: held by a `with` block, kept alive in the background, released at its end (C6)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from lightning_state.actors.client._async.calls import AsyncCalls
from lightning_state.actors.client.decoding import unexpected
from lightning_state.actors.client.fencing import holder
from lightning_state.actors.core.checks import check_key
from lightning_state.actors.core.messages import Leased, Released, Reply
from lightning_state.actors.core.session import Operation
from lightning_state.actors.errors import InvalidStateError, LightningStateError, LockLostError

_RENEWALS = 3
"""In a lease's time to live: two of them may fail."""

_RENEW_WITHIN_S = 5.0
_RELEASE_WITHIN_S = 5.0


class AsyncLock:
    """A lease of one key. Made by `client.lock`; `token` goes with everything written under it (`lock=`).

    A lease that was lost (its holder was stopped for longer than its time to live, say) is found at the latest by the
    next write under it, which is refused. No claim is made that two holders never both believe they hold it: the
    token is what keeps the earlier one from writing.
    """

    def __init__(
        self, calls: AsyncCalls, category: str, key: str, *, ttl_s: float, wait_s: float, owner: str | None
    ) -> None:
        self.category = category
        self.key = key
        self.owner = owner
        """Who holds it, as others see it; None: the client and the task or thread that acquires it."""
        self.ttl_s = ttl_s
        self.wait_s = wait_s
        self.is_lost = False
        """Whether the owner of the key said that the lease is gone."""
        self._calls = calls
        self._token = 0
        self._hold = ""

    def __repr__(self) -> str:
        state = "lost" if self.is_lost else f"token={self._token}" if self._token else "not held"
        return f"<{type(self).__name__} {self.category}/{self.key} {state}>"

    @property
    def token(self) -> int:
        """The fencing token. Raises LockLostError when the lease is not held."""
        if self.is_lost or not self._token:
            raise LockLostError(f"the lock of {self.category}/{self.key} is not held")
        return self._token

    def token_for(self, category: str, key: str) -> int:
        """The token for a write of this key. Raises LockLostError, and InvalidStateError for another key."""
        if (category, key) != (self.category, self.key):
            raise InvalidStateError(f"the lock is of {self.category}/{self.key}, the write of {category}/{key}")
        return self.token

    async def __aenter__(self) -> Self:
        return await self.acquire()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.release()
        except LightningStateError:
            if exc is None:  # what ended the block counts for more
                raise

    async def acquire(self) -> Self:
        """Wait for the lease, in turn, for `wait_s`. Its holder may acquire it again, under the same token.

        Raises LockTimeoutError, or LockedError at once when `wait_s` is 0.
        """
        self._calls.counters.called("lock")
        session = await self._calls.open(self._calls.deadline(None))
        check_key(self.key, self._calls.limits)
        operation = session.lock(
            self.category,
            self.key,
            f"{session.name}/{holder()}" if self.owner is None else self.owner,
            ttl_s=self.ttl_s,
            wait_s=self.wait_s,
            now_s=time.monotonic(),
            now_ms=time.time_ns() // 1_000_000,
        )
        reply = await self._run(operation, "lock")
        if not isinstance(reply, Leased):
            raise unexpected(reply)
        self.is_lost = False
        self._token, self._hold = reply.token, operation.request_id
        self._calls.keeper.keep(self, self._renew, self.ttl_s / _RENEWALS)
        return self

    async def release(self) -> None:
        """Let the next one have it. Raises LockLostError when it was lost meanwhile."""
        self._calls.keeper.drop(self)
        token, self._token = self._token, 0
        if not token:
            return
        session = await self._calls.open(self._calls.deadline(None))
        operation = session.unlock(
            self.category,
            self.key,
            token,
            self._hold,
            deadline_s=time.monotonic() + _RELEASE_WITHIN_S,
            now_ms=time.time_ns() // 1_000_000,
        )
        reply = await self._run(operation, "unlock")
        if not isinstance(reply, Released):
            raise unexpected(reply)
        # A release that was sent more than once may have worked the first time.
        if not reply.was_held and operation.tries == 1:
            raise LockLostError(f"the lock of {self.category}/{self.key} was lost while it was believed to be held")

    async def _renew(self) -> bool:
        """Start its time anew; False: it is lost."""
        token = self._token
        session = await self._calls.open(self._calls.deadline(None))
        operation = session.renew(self.category, self.key, token, time.monotonic() + min(_RENEW_WITHIN_S, self.ttl_s))
        try:
            await self._run(operation, "renew")
        except LockLostError:
            self.is_lost = self._token == token
            return False
        return True

    async def _run(self, operation: Operation, name: str) -> Reply:
        outcomes = await self._calls.run(await self._calls.open(operation.deadline_s), [operation], name)
        if isinstance(outcomes[0], LightningStateError):
            raise outcomes[0]
        return outcomes[0]


class AsyncLocks:
    """Leases of several keys at once. Made by `client.lock_all`; acquired in one order everywhere: no deadlock."""

    def __init__(self, locks: Iterable[AsyncLock]) -> None:
        self._locks = {(lock.category, lock.key): lock for lock in locks}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {list(self._locks.values())!r}>"

    def token_for(self, category: str, key: str) -> int:
        """The token for a write of this key; 0 when it is none of the locked ones. Raises LockLostError."""
        lock = self._locks.get((category, key))
        return 0 if lock is None else lock.token

    async def __aenter__(self) -> Self:
        held: list[AsyncLock] = []
        try:
            for _, lock in sorted(self._locks.items()):
                held.append(await lock.acquire())
        except BaseException:  # whatever it was, it goes on upwards; nothing stays locked
            await _release(held)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lost = await _release([lock for _, lock in sorted(self._locks.items())])
        if lost is not None and exc is None:
            raise lost


async def _release(locks: list[AsyncLock]) -> LightningStateError | None:
    """Release all of them, the last one first; the first error."""
    first: LightningStateError | None = None
    for lock in reversed(locks):
        try:
            await lock.release()
        except LightningStateError as error:
            first = first or error
    return first
