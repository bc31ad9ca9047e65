"""What a client counts of itself."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Any

import msgspec

from lightning_state.actors.metrics.shard import now
from lightning_state.actors.metrics.timings import Timings


class Counters:
    """Calls and latencies by operation, errors by code, sendings that were repeated. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._retries = 0
        self._timings = Timings(now())

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

    def asked(self, operation: str, outcome: str, began_s: float) -> None:
        """The service was asked for an operation at `began_s`, by `metrics.shard.now`, and has just answered."""
        now_s = now()
        with self._lock:
            self._timings.observe(operation, outcome, now_s - began_s, now_s)

    def read(self) -> dict[str, Any]:
        """Counts since the client was made, and latencies of the last minute: see `Timing`."""
        with self._lock:
            return {
                "calls": dict(self._calls),
                "errors": dict(self._errors),
                "retries": self._retries,
                "latencies": msgspec.to_builtins(self._timings.read(now())),
            }
