"""The one place where errors of SQLite and of the file system become the store's own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import apsw

from lightning_state.actors.errors import StoreCorruptError, StoreError, StoreUnavailableError

_DAMAGE = {
    apsw.SQLITE_IOERR_DATA,
    apsw.SQLITE_IOERR_CORRUPTFS,
    apsw.SQLITE_IOERR_SHORT_READ,
}


def translate(error: Exception, doing: str) -> StoreError:
    """The store's error for what SQLite or the system reported while `doing`."""
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreCorruptError(f"{doing}: the file is damaged ({error}): restore it from a backup")
    if isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _DAMAGE:
        return StoreCorruptError(f"{doing}: a page has a wrong checksum or is cut off: restore it from a backup")
    if isinstance(error, apsw.SQLError):
        return StoreCorruptError(f"{doing}: the file lacks what this version wrote ({error}): restore it")
    if isinstance(error, apsw.FullError):
        return StoreUnavailableError(f"{doing}: the disk is full: free space and try again")
    return StoreUnavailableError(f"{doing}: {error}")


@contextmanager
def translated(doing: str) -> Generator[None]:
    """Raise the store's own error for whatever SQLite or the system raises inside."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise translate(error, doing) from error
