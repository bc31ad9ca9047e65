"""How other processes of this user join the Ray a service runs on: its address and auth mode, one small file a service.

Joining with another auth mode than the cluster's fails only after 20 s and with a misleading error, so whoever starts a
service writes both down, and `connect()` and the command line read them.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from lightning_state.actors.processes import has_ended, start_time_ticks

_DAMAGE = (OSError, msgspec.DecodeError, UnicodeDecodeError)
"""What reading such a file may raise; a ValidationError is a DecodeError."""


class RayAccess(msgspec.Struct, frozen=True):
    """Where a service started by this user runs."""

    service: str
    address: str
    auth_mode: str
    pid: int
    """The process that started it; when it is gone, so is the service."""
    started_ticks: int
    """When that process started: in a container, or after a reboot, its id is soon another's."""
    data_dir: str
    is_command: bool = False
    """That process does nothing else (`lightning-state up`): stopping the service is ending it."""


def access_file(service: str) -> Path:
    """`$XDG_STATE_HOME/lightning-state/<service>.json`, by default below ~/.local/state."""
    state_home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state_home) / "lightning-state" / f"{service}.json"


def write_access(access: RayAccess) -> None:
    """Publish how to join, for this user only."""
    file = access_file(access.service)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_bytes(msgspec.json.encode(access))
    partial.chmod(0o600)
    partial.replace(file)


def read_access(service: str) -> RayAccess | None:
    """How to join a service of this user that is still running; None when none is known."""
    try:
        access = msgspec.json.decode(access_file(service).read_bytes(), type=RayAccess)
    except _DAMAGE:
        return None
    is_there = start_time_ticks(access.pid) == access.started_ticks and not has_ended(access.pid)
    return access if is_there else None


def forget_access(service: str) -> None:
    """Remove what `write_access` published, if this process did."""
    access = read_access(service)
    if access is not None and access.pid == os.getpid():
        access_file(service).unlink(missing_ok=True)
