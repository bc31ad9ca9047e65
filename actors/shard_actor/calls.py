"""Frames being answered: replies gather until all are there or the caller has waited long enough."""

from __future__ import annotations

import asyncio

from lightning_state.actors.core.messages import Pending, Replies, Reply

ANSWER_WITHIN_S = 1.0
"""A frame is answered within this time, with Pending for what is not decided: no caller's slot is held for longer."""


class Call:
    """One frame on its way to its replies."""

    __slots__ = ("_left", "_replies", "done")

    def __init__(self, size: int) -> None:
        self._replies: list[Reply | None] = [None] * size
        self._left = size
        self.done: asyncio.Future[None] | None = None

    def answer(self, index: int, reply: Reply) -> None:
        """Set the reply to one request, and wake the waiter with the last of them."""
        if self._replies[index] is None:
            self._left -= 1
        self._replies[index] = reply
        if self._left == 0 and self.done is not None and not self.done.done():
            self.done.set_result(None)

    async def replies(self) -> Replies:
        """All replies, after at most ANSWER_WITHIN_S."""
        if self._left:
            loop = asyncio.get_running_loop()
            self.done = loop.create_future()
            timer = loop.call_later(ANSWER_WITHIN_S, _wake, self.done)
            try:
                await self.done
            finally:
                timer.cancel()
        return Replies([Pending() if reply is None else reply for reply in self._replies])


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
