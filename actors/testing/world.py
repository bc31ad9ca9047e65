"""Simulated time and chance: one seed, one run."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

_START_US = 1_000_000_000_000


class World:
    """A clock that jumps from event to event, and the only source of randomness of a run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)  # noqa: S311  # a run must be repeatable from its seed; nothing here is secret
        self.now_us = _START_US
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._moments = 0

    def __repr__(self) -> str:
        return f"<World seed={self.seed} now={self.now_s:.6f}s events={len(self._events)}>"

    @property
    def now_s(self) -> float:
        """Seconds since the run began."""
        return (self.now_us - _START_US) / 1e6

    def moment(self) -> int:
        """A number greater than every one given before: the real-time order of what happened."""
        self._moments += 1
        return self._moments

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def after(self, delay_us: int, act: Callable[..., None], *arguments: Any) -> None:
        """Call `act` so much later. Events of the same instant happen in the order they were asked for."""
        heappush(self._events, (self.now_us + delay_us, self.moment(), act, arguments))

    def step(self) -> bool:
        """Let the next event happen. False when nothing is left to happen."""
        if not self._events:
            return False
        self.now_us, _, act, arguments = heappop(self._events)
        act(*arguments)
        return True
