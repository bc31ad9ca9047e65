"""Ownership of a store file: an exclusive flock held for the store's life (C9).

Obtaining it is the proof that the predecessor is gone. The holder writes its pid and start time into the lock file, so
that a successor can end a holder that is stopped and would never let go.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from lightning_state.actors.errors import DataDirectoryError, StoreUnavailableError
from lightning_state.actors.processes import start_time_ticks
from lightning_state.actors.store.sqlite.translation import translated

_POLL_S = 0.01
_GONE_WITHIN_S = 5.0
"""A killed process leaves its locks when the kernel has taken it apart; slow only with much memory or a stuck disk."""


def kill_holder(pid: int, started_ticks: int) -> bool:
    """SIGKILL the process of this pid if it is the one that started then; False when that one is gone already.

    The process is pinned before its start time is read, so that a pid reused in between is never hit.
    """
    try:
        pinned = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start_time_ticks(pid) != started_ticks:
            return False
        signal.pidfd_send_signal(pinned, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(pinned)
    return True


def check_free(path: Path) -> None:
    """Raises DataDirectoryError when someone holds this lock file right now; a missing one is free."""
    if not path.exists():
        return
    with held(path):
        pass


@contextmanager
def held(path: Path) -> Generator[None]:
    """Hold this lock file inside. Raises DataDirectoryError when someone else holds it."""
    ownership = Ownership(path)
    ownership.take(takeover_after_s=None)
    try:
        yield
    finally:
        ownership.release()


class Ownership:
    """The lock file of one store file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self, *, takeover_after_s: float | None) -> None:
        """Hold the lock, or raise.

        None: raises DataDirectoryError at once when someone else holds it. Otherwise waits so long, then ends the
        holder by SIGKILL and takes the lock over; raises StoreUnavailableError when even that did not free it.
        """
        with translated(f"lock {self._path.name}"):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._wait(takeover_after_s)
                self._write_holder(f"{os.getpid()} {start_time_ticks(os.getpid())}\n")
            except BaseException:  # whatever it was, it goes on upwards; the descriptor must not stay open
                os.close(self._descriptor)
                self._descriptor = -1
                raise

    def holder(self) -> tuple[int, int] | None:
        """(pid, start time) written by the last holder, None when it let go in good order."""
        parts = os.pread(self._descriptor, 64, 0).split()
        known = len(parts) == 2 and all(part.isdigit() for part in parts)  # noqa: PLR2004  # pid and start time
        return (int(parts[0]), int(parts[1])) if known else None

    def release(self) -> None:
        """Let go; safe to call when nothing is held."""
        if self._descriptor >= 0:
            self._write_holder("")
            os.close(self._descriptor)
            self._descriptor = -1

    def _wait(self, takeover_after_s: float | None) -> None:
        if self._locked():
            return
        if takeover_after_s is None:
            raise self._in_use()
        if self._locked_within(takeover_after_s):
            return
        holder = self.holder()
        if holder is None or holder[0] == os.getpid():
            raise self._in_use()
        kill_holder(*holder)
        if not self._locked_within(_GONE_WITHIN_S):
            raise StoreUnavailableError(f"{self._path} is held by process {holder[0]}, which does not end: end it")

    def _in_use(self) -> DataDirectoryError:
        holder = self.holder()
        who = f"process {holder[0]}" if holder else "another process"
        return DataDirectoryError(
            f"{self._path} is in use by {who}: stop that service or name another data_dir",
            holder_pid=holder[0] if holder else None,
        )

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _locked_within(self, wait_s: float) -> bool:
        until = time.monotonic() + wait_s
        while not self._locked():
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)
        return True

    def _write_holder(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)
