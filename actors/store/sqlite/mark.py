"""The high-water mark: a few bytes beside a file that say how far it got, to notice when it lost its end.

Half a `-wal` file opens without complaint, one acknowledged row shorter. The mark is written in place after every
commit and not synced: after `kill -9` it is exact, after a power loss it may be older than the file, never newer.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from struct import Struct

from lightning_state.actors.errors import StoreCorruptError
from lightning_state.actors.store.sqlite.translation import translated

_FIGURES = Struct(">QQ")
_DIGEST_BYTES = 8


def _encoded(first: int, second: int) -> bytes:
    figures = _FIGURES.pack(first, second)
    return figures + blake2b(figures, digest_size=_DIGEST_BYTES).digest()


class Mark:
    """Two figures that only rise: for a shard the last journal id and the number of acquisitions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    @staticmethod
    def create(path: Path) -> None:
        """A new mark at (0, 0), synced. Refuses to overwrite one."""
        with translated(f"create {path.name}"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, _encoded(0, 0), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def open(self) -> tuple[int, int]:
        """The noted figures. Raises StoreCorruptError when the mark is missing or damaged."""
        with translated(f"open {self._path.name}"):
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise StoreCorruptError(f"{self._path} is missing: restore it with the file it belongs to") from error
            data = os.pread(self._descriptor, 64, 0)
        if len(data) != _FIGURES.size + _DIGEST_BYTES:
            raise StoreCorruptError(f"{self._path} is damaged: restore it with the file it belongs to")
        first, second = _FIGURES.unpack_from(data)
        if data != _encoded(first, second):
            raise StoreCorruptError(f"{self._path} is damaged: restore it with the file it belongs to")
        return first, second

    def note(self, first: int, second: int) -> None:
        """Write the figures in place, without a sync."""
        os.pwrite(self._descriptor, _encoded(first, second), 0)

    def close(self) -> None:
        """Release the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
