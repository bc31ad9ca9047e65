"""Processes of this machine, told apart although their ids are used again: by when they started."""

from __future__ import annotations

from pathlib import Path

_START_TIME_FIELD = 19
"""Field 22 of /proc/<pid>/stat, counted from the one after the command's closing bracket."""


def start_time_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none. Tells a reused pid from the old."""
    fields = _fields(pid)
    return None if fields is None else int(fields[_START_TIME_FIELD])


def has_ended(pid: int) -> bool:
    """There is no such process any more, or only what its parent has yet to collect of it."""
    fields = _fields(pid)
    return fields is None or fields[0] in "ZX"


def parent_of(pid: int) -> int | None:
    """The process that started this one, or took it over when that ended; None when there is none."""
    fields = _fields(pid)
    return None if fields is None else int(fields[1])


def name_of(pid: int) -> str:
    """The name of a process's program as the kernel keeps it; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _fields(pid: int) -> list[str] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()
