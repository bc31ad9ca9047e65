"""What a client counts of itself."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Any


class Counters:
    """Calls by operation, errors by code, sendings that were repeated. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._retries = 0

    def called(self, operation: str) -> None:
        """One call of a public operation, such as `agents.get`."""
        with self._lock:
            self._calls[operation] += 1

    def failed(self, code: str) -> None:
        """One operation on one key that ended with an error of this code."""
        with self._lock:
            self._errors[code] += 1

    def retried(self, operations: int) -> None:
        """So many operations are sent again."""
        with self._lock:
            self._retries += operations

    def read(self) -> dict[str, Any]:
        """All counts since the client was made."""
        with self._lock:
            return {"calls": dict(self._calls), "errors": dict(self._errors), "retries": self._retries}
