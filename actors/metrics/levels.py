"""Hit rates by cache level, over the last minute."""

from __future__ import annotations

from collections import deque

import msgspec

WINDOW_S = 60.0


class Level(msgspec.Struct, frozen=True):
    """One level: "shard" is a shard's memory before its store."""

    level: str
    hits: int
    """Since the start, as are the misses."""
    misses: int
    recent: int
    """Lookups of the last minute, of which `hit_rate` is the share answered here; 0.0 with none."""
    hit_rate: float
    entries: int
    size_bytes: int
    limit_bytes: int


class HitWindow:
    """Makes rates of a minute out of counts since the start. Not thread-safe."""

    def __init__(self, level: str, now_s: float) -> None:
        self._level = level
        self._marks: deque[tuple[float, int, int]] = deque([(now_s, 0, 0)])

    def read(self, hits: int, misses: int, now_s: float, *, entries: int, size_bytes: int, limit_bytes: int) -> Level:
        """The level's figures now. Counts that went back (a memory that began anew) begin a new window."""
        _, last_hits, last_misses = self._marks[-1]
        if hits < last_hits or misses < last_misses:
            self._marks = deque([(now_s, 0, 0)])
        self._marks.append((now_s, hits, misses))
        while len(self._marks) > 1 and self._marks[1][0] <= now_s - WINDOW_S:
            self._marks.popleft()
        _, base_hits, base_misses = self._marks[0]
        recent_hits, recent = hits - base_hits, hits - base_hits + misses - base_misses
        rate = recent_hits / recent if recent else 0.0
        return Level(self._level, hits, misses, recent, rate, entries, size_bytes, limit_bytes)
