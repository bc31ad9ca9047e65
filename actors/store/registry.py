"""Registries: where the directory keeps its small values, on a file of its own or in memory."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import apsw
import msgspec

from lightning_state.actors.errors import DataDirectoryError, StoreCorruptError, StoreUnavailableError
from lightning_state.actors.store.memory import MemoryDisk
from lightning_state.actors.store.protocol import CommitUnknownError
from lightning_state.actors.store.sqlite.connection import CHECKED_VFS, create_file, open_file
from lightning_state.actors.store.sqlite.files import sync_directory
from lightning_state.actors.store.sqlite.mark import Mark
from lightning_state.actors.store.sqlite.ownership import Ownership
from lightning_state.actors.store.sqlite.statements import queries
from lightning_state.actors.store.sqlite.translation import translated
from lightning_state.actors.store.sqlite.writing import Writing

_KIND = "registry"
_CHECKSUM_BYTES = 8


def registry_path(directory: Path, suffix: str = ".db") -> Path:
    """Where the registry's file, lock (.lock) or mark (.mark) is."""
    return directory / f"service{suffix}"


def create_registry(directory: Path, service_id: str) -> None:
    """Make an empty, durable registry file with its mark. Raises DataDirectoryError when one is there already."""
    for suffix in (".db", ".db-wal", ".mark"):
        if registry_path(directory, suffix).exists():
            raise DataDirectoryError(f"{registry_path(directory, suffix)} exists already and is not overwritten")
    connection = create_file(registry_path(directory), _KIND, CHECKED_VFS)
    with translated("create service.db"):
        try:
            connection.execute(queries("registry")["registry_create"], (service_id,))
        finally:
            connection.close()
        Mark.create(registry_path(directory, ".mark"))
        sync_directory(directory)


class SqliteRegistry:
    """`RegistryStore` on `service.db`, made before by `create_registry`; owned, marked and checked like a shard's."""

    def __init__(
        self, directory: Path, service_id: str, *, takeover_after_s: float | None = None, vfs: str = CHECKED_VFS
    ) -> None:
        self._path = registry_path(directory)
        self._service_id = service_id
        self._takeover_after_s = takeover_after_s
        self._vfs = vfs
        self._ownership = Ownership(registry_path(directory, ".lock"))
        self._mark = Mark(registry_path(directory, ".mark"))
        self._sql = queries("registry")
        self._writing: Writing | None = None

    def __repr__(self) -> str:
        state = "closed" if self._writing is None else "broken" if self._writing.broken else "open"
        return f"<SqliteRegistry {self._path} {state}>"

    def open(self) -> None:
        """As `RegistryStore.open`; raises also DataDirectoryError, as `SqliteStore.open`."""
        if self._writing is not None:
            raise StoreUnavailableError(f"{self._path} is open already")
        self._ownership.take(takeover_after_s=self._takeover_after_s)
        try:
            marked, _ = self._mark.open()
            self._writing = Writing(open_file(self._path, _KIND, self._vfs))
            self._verify(self._writing.connection, marked)
            self._writing.checkpoint()
        except BaseException:  # whatever it was, it goes on upwards; lock and files must not stay held
            self.close()
            raise

    def get_all(self) -> Mapping[str, bytes]:
        """As `RegistryStore.get_all`. Raises StoreCorruptError for a value with a wrong checksum."""
        found: dict[str, bytes] = {}
        connection = self._usable().connection
        with translated("read the registry"):
            for name, value, checksum in connection.execute(self._sql["entries_read"]):
                if _checksum_of(name, value) != checksum:
                    raise StoreCorruptError(f"{self._path}: {name!r} has a wrong checksum: restore it from a backup")
                found[name] = value
        return found

    def put(self, values: Mapping[str, bytes]) -> None:
        """As `RegistryStore.put`. After CommitUnknownError only close() is of use."""
        writing = self._usable()
        with writing.transaction("put") as connection:
            connection.executemany(
                self._sql["entry_write"],
                [(name, value, _checksum_of(name, value)) for name, value in values.items()],
            )
            puts = connection.execute(self._sql["registry_count"]).get
        try:
            self._mark.note(puts, 0)
        except OSError as error:
            raise writing.breaks(error, "mark") from error

    def close(self) -> None:
        """As `RegistryStore.close`; safe to call twice and after a failed open."""
        writing, self._writing = self._writing, None
        try:
            if writing is not None:
                with translated("close"):
                    writing.close()
        finally:
            self._mark.close()
            self._ownership.release()

    def _verify(self, connection: apsw.Connection, marked: int) -> None:
        with translated(f"open {self._path.name}"):
            described = connection.execute(self._sql["registry_read"]).fetchone()
        if described is None:
            raise StoreCorruptError(f"{self._path} does not say whose it is: restore it from a backup")
        service_id, puts = described
        if service_id != self._service_id:
            raise DataDirectoryError(
                f"{self._path} belongs to service {service_id}, not to {self._service_id}: name the right data_dir"
            )
        if puts < marked:
            raise StoreCorruptError(
                f"{self._path} holds {puts} changes, but {marked} were acknowledged: its -wal file was lost or cut:"
                " restore it from a backup"
            )

    def _usable(self) -> Writing:
        if self._writing is None:
            raise StoreUnavailableError(f"{self._path} is not open")
        if self._writing.broken is not None:
            raise CommitUnknownError(str(self._writing.broken))
        return self._writing


class MemoryRegistry:
    """`RegistryStore` on a MemoryDisk of its own."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.disk = disk if disk is not None else MemoryDisk()

    def open(self) -> None:
        """As `RegistryStore.open`."""
        if self.disk.owner is not None:
            raise DataDirectoryError("the memory disk is in use by another registry: close that one first")
        self.disk.owner = self

    def get_all(self) -> Mapping[str, bytes]:
        """As `RegistryStore.get_all`."""
        return dict(self._opened().values)

    def put(self, values: Mapping[str, bytes]) -> None:
        """As `RegistryStore.put`."""
        self._opened().values.update(values)

    def close(self) -> None:
        """As `RegistryStore.close`; safe to call twice."""
        if self.disk.owner is self:
            self.disk.owner = None

    def _opened(self) -> MemoryDisk:
        if self.disk.owner is not self:
            raise StoreUnavailableError("the memory registry is not open")
        return self.disk


def _checksum_of(name: str, value: bytes) -> bytes:
    return blake2b(msgspec.msgpack.encode((name, value)), digest_size=_CHECKSUM_BYTES).digest()
