"""The clock of a shard: wall-clock time that neither jumps nor stands still, whatever is done to the wall clock."""

from __future__ import annotations

import time

_SLEW = 0.05
"""How fast it follows the wall clock: leases last at most this share longer or shorter while it does."""

_LOOK_EVERY_NS = 1_000_000_000


class SteadyClock:
    """Microseconds since 1970. It runs by the time since boot, sleep included, and is led towards the wall clock.

    Leases run by it: were they run by the wall clock, setting that forward by an hour would end all of them at once.
    """

    def __init__(self) -> None:
        self._boot_ns = _boot_ns()
        self._offset_ns = time.time_ns() - self._boot_ns

    def __repr__(self) -> str:
        return f"<SteadyClock offset_ns={self._offset_ns}>"

    def __call__(self) -> int:
        """The time now."""
        boot_ns = _boot_ns()
        passed_ns = boot_ns - self._boot_ns
        if passed_ns >= _LOOK_EVERY_NS:
            self._boot_ns = boot_ns
            behind_ns = time.time_ns() - boot_ns - self._offset_ns
            most_ns = int(passed_ns * _SLEW)
            self._offset_ns += max(-most_ns, min(most_ns, behind_ns))
        return (boot_ns + self._offset_ns) // 1_000


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
