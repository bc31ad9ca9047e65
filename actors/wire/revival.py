"""When to try again to reach a channel that is down. No clock here."""

from __future__ import annotations

FIRST_S = 0.05
LONGEST_S = 2.0

CONNECT_S = 1.0
"""A connection that is not welcomed by then is not there."""

PING_S = 1.0
SILENT_S = 3.0
"""A channel that says nothing for this long, though pinged every PING_S, is lost (C8)."""


class Revival:
    """One shard's. An address not tried yet is tried at once, then after growing delays."""

    __slots__ = ("_delay_s", "_next_s", "_tried")

    def __init__(self) -> None:
        self._tried: tuple[str, int] | None = None
        self._delay_s = 0.0
        self._next_s = 0.0

    def is_new(self, address: tuple[str, int]) -> bool:
        """Whether this (endpoint, epoch) was not tried yet."""
        return address != self._tried

    def is_due(self, now_s: float) -> bool:
        """Whether to try now."""
        return now_s >= self._next_s

    def tries(self, address: tuple[str, int], now_s: float) -> None:
        """An attempt begins; the next one is due after a delay, longer each time."""
        if self.is_new(address):
            self._tried = address
            self._delay_s = 0.0
        self._delay_s = min(max(2 * self._delay_s, FIRST_S), LONGEST_S)
        self._next_s = now_s + self._delay_s

    def came_up(self) -> None:
        """The channel is there: when it breaks, it is tried again at once."""
        self._tried = None
        self._delay_s = 0.0
        self._next_s = 0.0
