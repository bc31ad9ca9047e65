"""The data directory of a service: `service.json` says whose it is, beside it the registry and one file per shard."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Self

import msgspec

from lightning_state.actors.errors import DataDirectoryError, StoreUnavailableError
from lightning_state.actors.store.registry import SqliteRegistry, create_registry, registry_path
from lightning_state.actors.store.sqlite.files import create_shard_file, shard_path, sync_directory
from lightning_state.actors.store.sqlite.ownership import check_free, held
from lightning_state.actors.store.sqlite.store import SqliteStore

FORMAT = 1
"""Version of the directory's layout; a directory of a newer one is refused."""

_FILE = "service.json"


class _Description(msgspec.Struct, frozen=True):
    format: int
    service: str
    service_id: str
    shards: int
    complete: bool
    """False while the files are being made: nothing was ever stored, and creating may start again."""


class DataDirectory:
    """A service's directory on the data node. Every method raises DataDirectoryError with what to do about it."""

    def __init__(self, path: Path, service: str, service_id: str, shards: int) -> None:
        self.path = path
        self.service = service
        self.service_id = service_id
        self.shards = shards

    def __repr__(self) -> str:
        return f"<DataDirectory {self.path} {self.service} id={self.service_id} shards={self.shards}>"

    @classmethod
    def exists(cls, path: Path) -> bool:
        """A service was created here, completely."""
        described = _described(path)
        return described is not None and described.complete

    @classmethod
    def create(cls, path: Path, service: str, shards: int) -> Self:
        """Make a new service's directory: all files, then the description that makes them count.

        A creation that was cut off is started again; of two at once one is refused. Raises DataDirectoryError when a
        service exists here, when files of one lie here without description, or when the directory cannot be written.
        """
        path = path.absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with held(registry_path(path, ".lock")):
                _clear_cut_off_creation(path)
                directory = cls(path, service, uuid.uuid4().hex, shards)
                directory._describe(complete=False)
                create_registry(path, directory.service_id)
                for shard in range(shards):
                    create_shard_file(path, directory.service_id, shard)
                directory._describe(complete=True)
        except (OSError, StoreUnavailableError) as error:
            raise DataDirectoryError(f"{path} cannot be written ({error}): name a data_dir that can") from error
        return directory

    @classmethod
    def open(cls, path: Path, service: str | None = None) -> Self:
        """An existing directory; with a name, only that service's.

        Raises DataDirectoryError when there is none, when it is another service's or of a newer version, or when it
        cannot be written.
        """
        path = path.absolute()
        described = _described(path)
        if described is None or not described.complete:
            raise DataDirectoryError(f"{path} holds no service: create one with start(data_dir=...)")
        if service is not None and described.service != service:
            raise DataDirectoryError(
                f"{path} belongs to the service {described.service!r}, not {service!r}: name another data_dir"
            )
        if not os.access(path, os.W_OK | os.X_OK):
            raise DataDirectoryError(f"{path} cannot be written: change its permissions or name another data_dir")
        return cls(path, described.service, described.service_id, described.shards)

    def check_unused(self) -> None:
        """Raises DataDirectoryError, naming the process, while a running service holds a file of this directory."""
        check_free(registry_path(self.path, ".lock"))
        for shard in range(self.shards):
            check_free(shard_path(self.path, shard, ".lock"))

    def registry(self, *, takeover_after_s: float | None = None) -> SqliteRegistry:
        """The registry, not opened yet."""
        return SqliteRegistry(self.path, self.service_id, takeover_after_s=takeover_after_s)

    def store(self, shard: int, *, takeover_after_s: float | None = None) -> SqliteStore:
        """A shard's store, not opened yet."""
        return SqliteStore(self.path, shard, self.service_id, takeover_after_s=takeover_after_s)

    def _describe(self, *, complete: bool) -> None:
        """Replace the description in one step, durably."""
        described = _Description(FORMAT, self.service, self.service_id, self.shards, complete)
        new = self.path / f"{_FILE}.new"
        with new.open("wb") as file:
            file.write(msgspec.json.encode(described) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / _FILE)
        sync_directory(self.path)


def _described(path: Path) -> _Description | None:
    try:
        data = (path / _FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataDirectoryError(f"{path / _FILE} cannot be read: {error}") from error
    try:
        format_ = msgspec.json.decode(data, type=dict[str, object]).get("format")
        if isinstance(format_, int) and format_ > FORMAT:
            raise DataDirectoryError(
                f"{path} was made by a newer version (format {format_}, this one knows {FORMAT}): upgrade"
            )
        return msgspec.json.decode(data, type=_Description)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataDirectoryError(f"{path / _FILE} is damaged ({error}): restore it from a backup") from error


def _clear_cut_off_creation(path: Path) -> None:
    """Remove what a creation that never finished left behind; nothing was ever stored in it."""
    described = _described(path)
    if described is not None and described.complete:
        raise DataDirectoryError(f"{path} holds the service {described.service!r} already: open it, or name another")
    left = [file for pattern in ("shard-*.*", "service.db*", "service.mark") for file in path.glob(pattern)]
    if left and described is None:
        raise DataDirectoryError(
            f"{left[0]} lies here without {_FILE}, which says whose it is: restore that, or name another data_dir"
        )
    for file in left:
        file.unlink()
