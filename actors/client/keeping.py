"""Keeping leases alive in the background, for asyncio and for threads."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import count

from lightning_state.actors.errors import LightningStateError


class AsyncKeeper:
    """Calls each renewal again and again, in a task of its own."""

    def __init__(self) -> None:
        self._tasks: dict[object, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<AsyncKeeper leases={len(self._tasks)}>"

    def keep(self, lease: object, renew: Callable[[], Awaitable[bool]], every_s: float) -> None:
        """Await `renew` every so often until it says False, or `drop`."""
        self._tasks[lease] = asyncio.get_running_loop().create_task(self._renewing(lease, renew, every_s))

    def drop(self, lease: object) -> None:
        """Renew it no longer. Harmless when it is not kept."""
        task = self._tasks.pop(lease, None)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """Renew nothing any more."""
        for lease in list(self._tasks):
            self.drop(lease)

    async def _renewing(self, lease: object, renew: Callable[[], Awaitable[bool]], every_s: float) -> None:
        goes_on = True
        while goes_on:
            await asyncio.sleep(every_s)
            with contextlib.suppress(LightningStateError):  # what could not be asked now is asked the next time
                goes_on = await renew()
        self._tasks.pop(lease, None)


class Keeper:
    """Calls each renewal again and again, all in one thread, which runs while there is something to renew."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kept: dict[object, tuple[Callable[[], bool], float]] = {}
        self._due: list[tuple[float, int, object]] = []
        self._numbers = count()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Keeper leases={len(self._kept)}>"

    def keep(self, lease: object, renew: Callable[[], bool], every_s: float) -> None:
        """Call `renew` every so often until it says False, or `drop`."""
        with self._changed:
            self._kept[lease] = renew, every_s
            self._schedule(lease, every_s)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lightning-state-leases", daemon=True)
                self._thread.start()
            self._changed.notify()

    def drop(self, lease: object) -> None:
        """Renew it no longer. Harmless when it is not kept."""
        with self._changed:
            self._kept.pop(lease, None)
            self._changed.notify()

    def close(self) -> None:
        """Renew nothing any more."""
        with self._changed:
            self._kept.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._kept and (not self._due or self._due[0][0] > time.monotonic()):
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if not self._kept:
                    self._due.clear()
                    self._thread = None
                    return
                _, _, lease = heapq.heappop(self._due)
                renew, every_s = self._kept.get(lease, (None, 0.0))
            if renew is None:
                continue
            goes_on = True
            with contextlib.suppress(LightningStateError):  # what could not be asked now is asked the next time
                goes_on = renew()
            with self._changed:
                if goes_on and lease in self._kept:
                    self._schedule(lease, every_s)
                else:
                    self._kept.pop(lease, None)

    def _schedule(self, lease: object, every_s: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + every_s, next(self._numbers), lease))
