"""A circuit breaker that fails honestly: while a server is away, calls are told so at once; nothing is ever made up."""

from __future__ import annotations

from threading import Lock

from lightning_state.actors.errors import ShardUnavailableError

_OPENS_AFTER = 8
_FIRST_S = 0.5
_LONGEST_S = 15.0


class Breaker:
    """Opens after several calls in a row got no answer; then lets one call through after each pause. Thread-safe.

    Pauses double from 0.5 s to 15 s until a call is answered. Any answer, refusals included, closes it. `now_s` is of
    any one monotonic clock.
    """

    def __init__(self, server: str, *, opens_after: int = _OPENS_AFTER) -> None:
        self._server = server
        self._opens_after = opens_after
        self._failures = 0
        self._next_try_s = 0.0
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Breaker {self._server} {'open' if self.is_open else 'closed'} failures={self._failures}>"

    @property
    def is_open(self) -> bool:
        """Whether calls are refused until the next try."""
        return self._failures >= self._opens_after

    def admit(self, now_s: float) -> None:
        """Let a call through, or raise ShardUnavailableError with `retry_after_s`."""
        with self._lock:
            if not self.is_open:
                return
            if now_s < self._next_try_s:
                wait_s = self._next_try_s - now_s
                raise ShardUnavailableError(
                    f"{self._server} did not answer {self._failures} times in a row: next try in {wait_s:.1f} s",
                    retry_after_s=wait_s,
                )
            self._next_try_s = now_s + self._pause_s()  # this one tries; the others wait for its result

    def answered(self) -> None:
        """A call was answered, whatever the answer."""
        with self._lock:
            self._failures = 0

    def failed(self, now_s: float) -> None:
        """A call got no answer."""
        with self._lock:
            self._failures += 1
            if self.is_open:
                self._next_try_s = now_s + self._pause_s()

    def _pause_s(self) -> float:
        return min(_FIRST_S * 2 ** min(self._failures - self._opens_after, 10), _LONGEST_S)
