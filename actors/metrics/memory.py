"""Memory: of this process, and of the machine or container it runs in."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

_STATM = Path("/proc/self/statm")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = "max"


class Memory(msgspec.Struct, frozen=True):
    """`used_bytes` of `total_bytes` are of the container, else of the machine: when they run out, processes end."""

    resident_bytes: int = 0
    used_bytes: int = 0
    total_bytes: int = 0

    @property
    def share(self) -> float:
        """What is used of the whole; 0.0 when that is not known."""
        return self.used_bytes / self.total_bytes if self.total_bytes else 0.0


def read_memory() -> Memory:
    """Now. Takes some 50 µs."""
    used_bytes, total_bytes = _container() or _machine()
    return Memory(resident_bytes(), used_bytes, total_bytes)


def resident_bytes() -> int:
    """Of this process."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _machine() -> tuple[int, int]:
    fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    total_kib, available_kib = (int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return (total_kib - available_kib) * 1024, total_kib * 1024


def _container() -> tuple[int, int] | None:
    """Of a cgroup (v2) that is bounded below the machine's memory. File caches it could drop are not in use."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        current_bytes = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if limit == _UNLIMITED:
        return None
    return max(0, current_bytes - int(stat.get("inactive_file", 0))), int(limit)
