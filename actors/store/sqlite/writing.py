"""The connection that writes: transactions whose failure says whether anything can have been written."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import apsw

from lightning_state.actors.errors import StoreError
from lightning_state.actors.store.protocol import CommitUnknownError
from lightning_state.actors.store.sqlite.translation import translate


class Writing:
    """A writing connection. After an error of COMMIT, or of a sync, it is `broken` and only good for closing."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.broken: StoreError | None = None
        self.wal_pages = 0
        connection.set_wal_hook(self._grown)

    @contextmanager
    def transaction(self, doing: str) -> Generator[apsw.Connection]:
        """BEGIN IMMEDIATE, the body, COMMIT.

        An error before COMMIT rolls back and is raised as the store's own: nothing was written. An error of COMMIT, or
        of the rollback, is CommitUnknownError.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
        except (apsw.Error, OSError) as error:
            self._roll_back(doing)
            raise translate(error, doing) from error
        except BaseException:  # refusals and interrupts alike leave no half transaction behind
            self._roll_back(doing)
            raise
        try:
            self.connection.execute("COMMIT")
        except apsw.Error as error:
            raise self.breaks(error, doing) from error

    def checkpoint(self) -> None:
        """Move what the WAL holds into the file, as far as no reader needs it."""
        try:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self.wal_pages = 0  # until the next commit says how many are left
        except (apsw.BusyError, apsw.FullError) as error:
            raise translate(error, "checkpoint") from error
        except apsw.Error as error:
            raise self.breaks(error, "checkpoint") from error

    def breaks(self, error: Exception, doing: str) -> CommitUnknownError:
        """Remember that this connection cannot be trusted any more, and the error that says so."""
        broken = CommitUnknownError(f"{doing}: {error}: close the store, open it again and take a new epoch")
        self.broken = broken
        return broken

    def close(self) -> None:
        """Close; a broken connection leaves the WAL as it is, for the next open to recover from."""
        if self.broken is not None:
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.connection.close()

    def _roll_back(self, doing: str) -> None:
        if not self.connection.in_transaction:
            return
        try:
            self.connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise self.breaks(error, doing) from error

    def _grown(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK
