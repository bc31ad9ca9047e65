"""What runs on this machine, read from /proc: whose child, still there, stopped."""

from __future__ import annotations

from pathlib import Path


def parents() -> dict[int, int]:
    """Every process and its parent; processes that end meanwhile are left out."""
    found: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        found[int(stat.parent.name)] = int(fields[1])
    return found


def descendants(pid: int) -> set[int]:
    """Children of a process, their children, and so on."""
    parent = parents()
    family = {pid}
    while more := {child for child, above in parent.items() if above in family} - family:
        family |= more
    return family - {pid}


def is_alive(pid: int) -> bool:
    """There, and not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
