"""Has anything arrived? Asked before every answer from memory, so it must cost next to nothing."""

from __future__ import annotations

import errno
import select
import sys
import threading
from collections.abc import Iterable

_CLOSED_MEANWHILE = frozenset({errno.EBADF, errno.EPERM, errno.EEXIST, errno.EINVAL})
"""Another thread has closed it since its number was read, and then asks for a new set: the number is nobody's by now, a
file's, that of another socket of the set, or of the epoll itself."""


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
                self._register(number)
        else:
            self._lock = threading.Lock()
            self._poll = select.poll()
            for number in numbers:
                self._poll.register(number, select.POLLIN)

    def _register(self, number: int) -> None:
        try:
            self._epoll.register(number, select.EPOLLIN)
        except OSError as error:
            if error.errno not in _CLOSED_MEANWHILE:
                raise

    def __call__(self) -> bool:
        """Whether one of them is readable now."""
        if self._is_empty:
            return False
        if sys.platform == "linux":
            return bool(self._epoll.poll(0, 1))
        with self._lock:
            return bool(self._poll.poll(0))
