"""A thread that works for an event loop: half the cost of an executor, which counts when a write waits for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

Finished = Callable[[Any, BaseException | None], None]


class StoreThread:
    """Does one piece of work after the other, in the order given; results come back on the loop it was made on."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], Finished] | None] = queue.SimpleQueue()
        # A daemon: work that hangs, on a disk that does not answer, must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def __repr__(self) -> str:
        return f"<StoreThread {self._thread.name} waiting={self._work.qsize()}>"

    def begin(self, work: Callable[[], Any], finished: Finished) -> None:
        """Do it; `finished(result, error)` is called on the loop."""
        if not self._started:
            self._started = True
            self._thread.start()
        self._work.put((work, finished))

    async def do(self, work: Callable[[], Any]) -> Any:
        """Do it and wait for its result; raises what it raised."""
        done: asyncio.Future[Any] = self._loop.create_future()

        def finished(result: Any, error: BaseException | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)

        self.begin(work, finished)
        return await done

    def end(self) -> None:
        """End after the work given so far."""
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, finished = item
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001  # whatever it was, it belongs to whoever asked for the work
                error = raised
            try:
                self._loop.call_soon_threadsafe(finished, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del item, work, finished, result, error  # no piece of work outlives itself here
