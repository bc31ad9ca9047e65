"""Connections to one SQLite file: checked pages, WAL, every commit synced.

Each page carries a checksum (SQLite's own checksum VFS) that is verified when it is read: a row checksum can tell that
a row is wrong, only a page checksum can tell that a row is missing.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import apsw
import apsw.sqlite_extra

from lightning_state.actors.errors import DataDirectoryError, StoreCorruptError
from lightning_state.actors.store.sqlite.statements import migrations
from lightning_state.actors.store.sqlite.translation import translated

CHECKED_VFS = "cksmvfs"
"""The VFS that adds and verifies page checksums. A file made under another VFS has none, and stays with that one."""

_APPLICATION_ID = 0x4C535431
"""Written into the file's header, "LST1": says that the file is ours before anything is read from it."""
_CHECKSUM_BYTES = 8
_BUSY_TIMEOUT_MS = 2000
"""Ownership by flock leaves nobody to wait for but a predecessor that is being killed."""
_WRITING_CACHE_KIB = 128 * 1024
"""Holds the projections of a million keys, whose pages are visited at random."""
_READING_CACHE_KIB = 32 * 1024


@cache
def load_checked_vfs() -> None:
    """Register the checksum VFS for this process. Raises DataDirectoryError when this build of apsw lacks it."""
    connection = apsw.Connection(":memory:", vfs="unix")
    try:
        apsw.sqlite_extra.load(connection, "cksumvfs")
    except (apsw.Error, apsw.sqlite_extra.NotAvailable) as error:
        raise DataDirectoryError(
            f"the checksum VFS of SQLite cannot be loaded ({error}): install apsw from its wheel, not from source"
        ) from error
    finally:
        connection.close()


def _tune(connection: apsw.Connection, cache_kib: int = _WRITING_CACHE_KIB) -> None:
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    # Without the stable-plan guarantee SQLite plans a join again whenever its parameters change: 16 µs a load, not 3.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for pragma in (
        "synchronous = FULL",
        "wal_autocheckpoint = 0",  # a failed sync in it would go unseen: the store checkpoints itself
        f"cache_size = -{cache_kib}",
        "cell_size_check = ON",
        "trusted_schema = OFF",
        "temp_store = MEMORY",
    ):
        connection.pragma(*[part.strip() for part in pragma.split("=")])


def create_file(path: Path, kind: str, vfs: str = CHECKED_VFS) -> apsw.Connection:
    """A new file with the newest schema of its kind; the caller fills it in and closes. Never overwrites."""
    load_checked_vfs()
    if path.exists():
        raise DataDirectoryError(f"{path} exists already and is not overwritten")
    with translated(f"create {path.name}"):
        # Only its owner reads what agents store; SQLite gives -wal and -shm the mode of the file itself.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs=vfs)
        connection.reserve_bytes("main", _CHECKSUM_BYTES)
        connection.pragma("application_id", _APPLICATION_ID)
        connection.pragma("journal_mode", "wal")
        _tune(connection)
        _migrate(connection, path, kind)
        return connection


def open_file(path: Path, kind: str, vfs: str = CHECKED_VFS) -> apsw.Connection:
    """A connection that writes, to an existing file of this kind, migrated to the newest schema.

    Raises StoreCorruptError for a missing, empty or foreign file, DataDirectoryError for one of a newer version.
    """
    load_checked_vfs()
    with translated(f"open {path.name}"):
        if not path.exists() or path.stat().st_size == 0:
            raise StoreCorruptError(f"{path} is missing or empty: restore it from a backup")
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        try:
            _tune(connection)
            if connection.pragma("application_id") != _APPLICATION_ID:
                raise StoreCorruptError(f"{path} is not a file of this service: restore it from a backup")
            if connection.reserve_bytes("main", -1) != _CHECKSUM_BYTES:
                raise StoreCorruptError(f"{path} lost its page checksums: restore it from a backup")
            if connection.pragma("journal_mode") != "wal":
                raise StoreCorruptError(f"{path} is not in WAL mode any more: restore it from a backup")
            _migrate(connection, path, kind)
        except BaseException:  # whatever it was, it goes on upwards; the connection must not stay open
            connection.close()
            raise
        return connection


def open_reading(path: Path, vfs: str = CHECKED_VFS) -> apsw.Connection:
    """A connection that only reads, beside an open one that writes."""
    with translated(f"open {path.name}"):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        _tune(connection, _READING_CACHE_KIB)
        connection.pragma("query_only", 1)
        return connection


def _migrate(connection: apsw.Connection, path: Path, kind: str) -> None:
    scripts = migrations(kind)
    version = int(connection.pragma("user_version"))
    if version > len(scripts):
        raise DataDirectoryError(
            f"{path} was written by a newer version (schema {version}, this one knows {len(scripts)}): upgrade"
        )
    for number in range(version + 1, len(scripts) + 1):
        connection.execute("BEGIN IMMEDIATE")
        for _ in connection.execute(scripts[number - 1]):
            pass
        connection.pragma("user_version", number)
        connection.execute("COMMIT")
