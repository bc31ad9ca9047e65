"""SqliteStore: one shard's journal and projections in one SQLite file, owned by whoever holds its lock."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from lightning_state.actors.core.listing import SCAN_BYTES
from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import Applied, Entry, JournalRow, SlotHead
from lightning_state.actors.errors import (
    DataDirectoryError,
    FencedError,
    StoreCorruptError,
    StoreUnavailableError,
)
from lightning_state.actors.store.protocol import CommitUnknownError, StoreStatus
from lightning_state.actors.store.sqlite.connection import CHECKED_VFS, open_file, open_reading
from lightning_state.actors.store.sqlite.files import SHARD, shard_path
from lightning_state.actors.store.sqlite.journal import columns_of, row_of
from lightning_state.actors.store.sqlite.mark import Mark
from lightning_state.actors.store.sqlite.overlay import Overlay
from lightning_state.actors.store.sqlite.ownership import Ownership
from lightning_state.actors.store.sqlite.projection import project_batch
from lightning_state.actors.store.sqlite.reading import Reading
from lightning_state.actors.store.sqlite.statements import queries
from lightning_state.actors.store.sqlite.translation import translated
from lightning_state.actors.store.sqlite.writing import Writing

_PROJECT_AT_ONCE_ROWS = 16384
"""What a commit projects when the tail is full: with a million keys every other row then finds its page written
already. Takes 0.1 s with few keys, 0.3 s with a million; who projects when idle never waits for it."""
_WAL_MOST_PAGES = 32768
"""128 MiB: a page of the journal or of a projection is rewritten many times in the WAL and once in the file."""


class SqliteStore:
    """`Store` on one SQLite file, `shard-<n>.db`, made before by `create_shard_file`.

    `takeover_after_s`: None refuses at once while someone else holds the file; a number waits so long and then ends
    the holder. `free_space_least_bytes`: commits are refused before they are begun while the disk has less left, since
    an error in the middle of COMMIT is worse than a refusal.
    """

    def __init__(
        self,
        directory: Path,
        shard: int,
        service_id: str,
        *,
        takeover_after_s: float | None = None,
        free_space_least_bytes: int = 32 * 1024 * 1024,
        vfs: str = CHECKED_VFS,
    ) -> None:
        self._directory = directory
        self._shard = shard
        self._service_id = service_id
        self._takeover_after_s = takeover_after_s
        self._free_space_least_bytes = free_space_least_bytes
        self._vfs = vfs
        self._path = shard_path(directory, shard)
        self._ownership = Ownership(shard_path(directory, shard, ".lock"))
        self._mark = Mark(shard_path(directory, shard, ".mark"))
        self._sql = queries("journal")
        self._writing: Writing | None = None
        self._reader: apsw.Connection | None = None
        self._forget()

    def __repr__(self) -> str:
        state = "closed" if self._writing is None else "broken" if self._writing.broken else "open"
        return f"<SqliteStore {self._path} {state} last_id={self._last_id} unprojected={len(self._overlay)}>"

    def open(self) -> None:
        """As `Store.open`: takes the lock, verifies where the journal ends, and projects its tail.

        Raises also DataDirectoryError: held by another process, of another service or shard, or of a newer version.
        """
        if self._writing is not None:
            raise StoreUnavailableError(f"{self._path} is open already")
        self._ownership.take(takeover_after_s=self._takeover_after_s)
        try:
            marked = self._mark.open()
            self._writing = Writing(open_file(self._path, SHARD, self._vfs))
            self._recover(self._writing.connection, marked)
            while self.project(_PROJECT_AT_ONCE_ROWS):
                pass
            self.checkpoint()
            self._reader = open_reading(self._path, self._vfs)
            self._reading = Reading(self._reader, self._overlay)
        except BaseException:  # whatever it was, it goes on upwards; lock and files must not stay held
            self.close()
            raise

    def acquire(self, slots: Iterable[int], epoch: int) -> list[SlotHead]:
        """As `Store.acquire`."""
        wanted = list(slots)
        with self._transaction("acquire") as connection:
            self._learn_epochs(connection)
            for slot in wanted:
                if self._epochs.get(slot, 0) > epoch:
                    raise FencedError(f"slot {slot} is owned under epoch {self._epochs[slot]}, not {epoch}")
            connection.executemany(self._sql["slot_epoch_write"], [(slot, epoch) for slot in wanted])
            acquisitions = connection.execute(self._sql["acquisitions_raise"]).get
        self._acquisitions = acquisitions
        self._epochs.update(dict.fromkeys(wanted, epoch))
        self._note()
        return [SlotHead(slot, epoch, self._revisions.get(slot, 0), self._floors.get(slot, 0)) for slot in wanted]

    def commit(self, rows: Sequence[JournalRow]) -> None:
        """As `Store.commit`: the journal rows and the epoch check, one transaction, one sync."""
        if not rows:
            return
        self._make_room(rows)
        first_id = self._last_id + 1
        with self._transaction("commit") as connection:
            if connection.execute(self._sql["acquisitions_read"]).get != self._acquisitions:
                self._learn_epochs(connection)
            epochs = self._epochs
            for row in rows:
                if epochs.get(row.slot) != row.epoch:
                    raise FencedError(f"slot {row.slot} is not owned under epoch {row.epoch} any more")
            connection.executemany(
                self._sql["journal_append"], map(columns_of, range(first_id, first_id + len(rows)), rows)
            )
        self._last_id += len(rows)
        for row in rows:
            self._revisions[row.slot] = row.revision
        self._overlay.add(first_id, rows)
        self._note()

    def project(self, most: int) -> int:
        """As `Store.project`. Each call is one transaction with one sync: few large ones are cheaper than many."""
        batch = self._overlay.first(most)
        if batch:
            with self._transaction("project") as connection:
                keys_more = project_batch(connection, batch)
            self._keys += keys_more
            self._overlay.drop(len(batch))
        return len(self._overlay)

    def load(self, keys: Sequence[tuple[int, str]]) -> list[Entry | None]:
        """As `Store.load`."""
        with translated("load"):
            return self._opened().load(keys)

    def applied(self, slot: int, principal: str, request_id: str) -> Applied | None:
        """As `Store.applied`."""
        with translated("applied"):
            return self._opened().applied(slot, principal, request_id)

    def scan(self, request: List, size_bytes: int = SCAN_BYTES) -> list[Entry]:
        """As `Store.scan`."""
        with translated("scan"):
            return self._opened().scan(request, size_bytes)

    def history(self, slot: int, key: str, *, after_version: int, limit: int) -> list[JournalRow]:
        """As `Store.history`."""
        with translated("history"):
            return self._opened().history(slot, key, after_version=after_version, limit=limit)

    def held(self, slots: Iterable[int]) -> list[JournalRow]:
        """As `Store.held`: `open` has projected everything, so the projection has all of them."""
        wanted = set(slots)
        with translated("held"):
            found = [row_of(columns) for columns in self._usable().connection.execute(self._sql["held_read"])]
        return [row for row in found if row.slot in wanted]

    def checkpoint(self) -> None:
        """As `Store.checkpoint`. A failed sync breaks the store: CommitUnknownError."""
        self._usable().checkpoint()

    def status(self) -> StoreStatus:
        """As `Store.status`. Asks the file system for two sizes, the database for nothing."""
        size_bytes = 0
        for suffix in (".db", ".db-wal"):
            with translated("status"):
                path = shard_path(self._directory, self._shard, suffix)
                size_bytes += path.stat().st_size if path.exists() else 0
        return StoreStatus(
            journal_rows=self._last_id,
            last_journal_id=self._last_id,
            unprojected_rows=len(self._overlay),
            keys=self._keys,
            size_bytes=size_bytes,
        )

    def close(self) -> None:
        """As `Store.close`; safe to call twice and after a failed open."""
        reader, writing = self._reader, self._writing
        self._reader = self._writing = None
        try:
            with translated("close"):
                if reader is not None:
                    reader.close()
                if writing is not None:
                    writing.close()
        finally:
            self._mark.close()
            self._ownership.release()
            self._forget()

    def _forget(self) -> None:
        self._overlay = Overlay()
        self._reading: Reading | None = None
        self._last_id = 0
        self._acquisitions = 0
        self._keys = 0
        self._epochs: dict[int, int] = {}
        self._revisions: dict[int, int] = {}
        self._floors: dict[int, int] = {}

    def _recover(self, connection: apsw.Connection, marked: tuple[int, int]) -> None:
        with translated(f"open {self._path.name}"):
            described = connection.execute(self._sql["file_read"]).fetchone()
            if described is None:
                raise StoreCorruptError(f"{self._path} does not say whose it is: restore it from a backup")
            service_id, shard, self._acquisitions, projected, self._keys = described
            if (service_id, shard) != (self._service_id, self._shard):
                raise DataDirectoryError(
                    f"{self._path} belongs to shard {shard} of service {service_id}, not to shard {self._shard} of"
                    f" {self._service_id}: name the right data_dir"
                )
            self._last_id = connection.execute(self._sql["journal_last_id"]).get
            if self._last_id < marked[0] or self._acquisitions < marked[1]:
                raise StoreCorruptError(
                    f"{self._path} ends at journal row {self._last_id}, but {marked[0]} were acknowledged:"
                    " its -wal file was lost or cut: restore it from a backup"
                )
            for slot, epoch, revision, floor in connection.execute(self._sql["slots_read"]):
                self._epochs[slot], self._revisions[slot], self._floors[slot] = epoch, revision, floor
            expected = projected
            for columns in connection.execute(self._sql["journal_tail"], (projected,)):
                expected += 1
                if columns[0] != expected:
                    raise StoreCorruptError(f"{self._path} lacks journal row {expected}: restore it from a backup")
                row = row_of(columns)
                self._revisions[row.slot] = row.revision
                self._overlay.add(expected, [row])
            if expected != self._last_id:
                raise StoreCorruptError(f"{self._path} lost journal rows after {self._last_id}: restore it")

    def _learn_epochs(self, connection: apsw.Connection) -> None:
        for slot, epoch, _, _ in connection.execute(self._sql["slots_read"]):
            self._epochs[slot] = epoch
        self._acquisitions = connection.execute(self._sql["acquisitions_read"]).get

    def _make_room(self, rows: Sequence[JournalRow]) -> None:
        """Everything that may be refused is refused here, before anything of the batch is written."""
        writing = self._usable()
        while not self._overlay.has_room(rows):
            self.project(_PROJECT_AT_ONCE_ROWS)
        if writing.wal_pages > _WAL_MOST_PAGES:
            writing.checkpoint()
        with translated("commit"):
            disk = os.statvfs(self._directory)
        if disk.f_bavail * disk.f_frsize < self._free_space_least_bytes:
            raise StoreUnavailableError(f"the disk of {self._directory} is full: free space and try again")

    def _note(self) -> None:
        """The rows are durable, but without the mark their loss would go unseen: such a store is not gone on with."""
        try:
            self._mark.note(self._last_id, self._acquisitions)
        except OSError as error:
            raise self._usable().breaks(error, "mark") from error

    @contextmanager
    def _transaction(self, doing: str) -> Generator[apsw.Connection]:
        with self._usable().transaction(doing) as connection:
            yield connection

    def _usable(self) -> Writing:
        if self._writing is None:
            raise StoreUnavailableError(f"{self._path} is not open")
        if self._writing.broken is not None:
            raise CommitUnknownError(str(self._writing.broken))
        return self._writing

    def _opened(self) -> Reading:
        self._usable()
        if self._reading is None:
            raise StoreUnavailableError(f"{self._path} is not open")
        return self._reading
