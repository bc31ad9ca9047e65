"""A shard's files, made by `start()` only: a shard that is restarted elsewhere must find its file or fail (trap 17)."""

from __future__ import annotations

import os
from pathlib import Path

from lightning_state.actors.errors import DataDirectoryError
from lightning_state.actors.store.sqlite.connection import CHECKED_VFS, create_file
from lightning_state.actors.store.sqlite.mark import Mark
from lightning_state.actors.store.sqlite.statements import queries
from lightning_state.actors.store.sqlite.translation import translated

SHARD = "shard"
"""The kind of file: names its migrations."""


def shard_path(directory: Path, shard: int, suffix: str = ".db") -> Path:
    """Where a shard's file, lock (.lock) or mark (.mark) is."""
    return directory / f"shard-{shard}{suffix}"


def create_shard_file(directory: Path, service_id: str, shard: int, *, vfs: str = CHECKED_VFS) -> None:
    """Make an empty, durable file for a shard, with its mark.

    Raises DataDirectoryError when any file of this shard is there already: nothing is ever overwritten.
    """
    for suffix in (".db", ".db-wal", ".mark"):
        if shard_path(directory, shard, suffix).exists():
            raise DataDirectoryError(f"{shard_path(directory, shard, suffix)} exists already and is not overwritten")
    path = shard_path(directory, shard)
    connection = create_file(path, SHARD, vfs)
    with translated(f"create {path.name}"):
        try:
            connection.execute(queries("journal")["file_create"], (service_id, shard))
        finally:
            connection.close()
        Mark.create(shard_path(directory, shard, ".mark"))
        sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, not only what the files contain."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
