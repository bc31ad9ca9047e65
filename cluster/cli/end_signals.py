"""Ctrl-C and SIGTERM as KeyboardInterrupt, put off while something must not be left half done."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class EndSignals:
    """From `install` on, either signal raises KeyboardInterrupt in the main thread."""

    def __init__(self) -> None:
        self._asked = False
        self._is_deferred = False

    def install(self) -> None:
        """Take both signals; again after something (Ray) has put its own handlers in place."""
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    @contextmanager
    def deferred(self) -> Generator[None]:
        """A signal that comes inside the block is raised at its end: half a Ray would leave processes behind."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
            self.install()
        if self._asked:
            raise KeyboardInterrupt

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if not self._is_deferred:
            raise KeyboardInterrupt
