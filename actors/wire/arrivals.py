"""Has anything arrived? Asked before every answer from memory, so it must cost next to nothing."""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress


class Arrivals:
    """Asks a fixed set of sockets at once, from any thread. One that is closed meanwhile leaves it by itself."""

    def __init__(self, sockets: Iterable[int] = ()) -> None:
        """`sockets`: numbers of open ones; those closed a moment ago (-1, or a number of nothing) are left out."""
        numbers = [number for number in sockets if number >= 0]
        self._is_empty = not numbers
        if sys.platform == "linux":
            # Unlike a poll object, one epoll may be asked by several threads at once.
            self._epoll = select.epoll()
            for number in numbers:
                with suppress(OSError):  # another thread has closed it since; it then asks for a new set without it
                    self._epoll.register(number, select.EPOLLIN)
        else:
            self._lock = threading.Lock()
            self._poll = select.poll()
            for number in numbers:
                self._poll.register(number, select.POLLIN)

    def __call__(self) -> bool:
        """Whether one of them is readable now."""
        if self._is_empty:
            return False
        if sys.platform == "linux":
            return bool(self._epoll.poll(0, 1))
        with self._lock:
            return bool(self._poll.poll(0))
