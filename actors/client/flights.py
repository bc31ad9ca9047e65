"""A read under way that others wait for instead of asking the owner too: for asyncio and for threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any


class AsyncFlight:
    """One read's answer, for the tasks that join it."""

    def __init__(self) -> None:
        self.has_landed = False
        self.value: Any = None
        """What was answered, once it has landed."""
        self._over = asyncio.Event()

    def land(self, value: Any) -> None:
        """The read was answered."""
        self.value = value
        self.has_landed = True

    def end(self) -> None:
        """The read is over, answered or not."""
        self._over.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until the read is over; whether it was answered in that time."""
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                await self._over.wait()
        except TimeoutError:
            return False
        return self.has_landed


class Flight:
    """One read's answer, for the threads that join it."""

    def __init__(self) -> None:
        self.has_landed = False
        self.value: Any = None
        """What was answered, once it has landed."""
        self._over = threading.Event()

    def land(self, value: Any) -> None:
        """The read was answered."""
        self.value = value
        self.has_landed = True

    def end(self) -> None:
        """The read is over, answered or not."""
        self._over.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the read is over; whether it was answered in that time."""
        return self._over.wait(max(0.0, timeout_s)) and self.has_landed
