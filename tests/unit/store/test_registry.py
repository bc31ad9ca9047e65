"""What the directory keeps outlives it, and is checked like everything else."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import apsw
import pytest

from lightning_state.actors.errors import DataDirectoryError, StoreCorruptError, StoreUnavailableError
from lightning_state.actors.store.memory import MemoryDisk
from lightning_state.actors.store.protocol import RegistryStore
from lightning_state.actors.store.registry import MemoryRegistry, SqliteRegistry, create_registry

OpenRegistry = Callable[[], RegistryStore]


@pytest.fixture(params=["memory", "sqlite"])
def open_registry(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[OpenRegistry]:
    opened: list[RegistryStore] = []
    disk = MemoryDisk()
    if request.param == "sqlite":
        create_registry(tmp_path, "service")

    def open_one() -> RegistryStore:
        memory = request.param == "memory"
        registry: RegistryStore = MemoryRegistry(disk) if memory else SqliteRegistry(tmp_path, "service")
        registry.open()
        opened.append(registry)
        return registry

    yield open_one
    for registry in opened:
        registry.close()


def test_values_are_there_after_a_restart(open_registry: OpenRegistry) -> None:
    registry = open_registry()
    assert registry.get_all() == {}
    registry.put({"epoch": b"1", "map": b"\x00"})
    registry.put({"epoch": b"2"})
    assert registry.get_all() == {"epoch": b"2", "map": b"\x00"}
    registry.close()
    assert open_registry().get_all() == {"epoch": b"2", "map": b"\x00"}


def test_two_registries_cannot_be_open_at_once(open_registry: OpenRegistry) -> None:
    first = open_registry()
    with pytest.raises(DataDirectoryError, match="in use"):
        open_registry()
    first.put({"a": b"1"})


def test_a_closed_registry_refuses_everything(open_registry: OpenRegistry) -> None:
    registry = open_registry()
    registry.close()
    registry.close()
    with pytest.raises(StoreUnavailableError):
        registry.get_all()
    with pytest.raises(StoreUnavailableError):
        registry.put({"a": b"1"})


def test_a_value_with_a_wrong_checksum_is_not_served(tmp_path: Path) -> None:
    create_registry(tmp_path, "service")
    registry = SqliteRegistry(tmp_path, "service")
    registry.open()
    registry.put({"epoch": b"7"})
    registry.close()
    editor = apsw.Connection(str(tmp_path / "service.db"), vfs="cksmvfs")
    editor.execute("UPDATE entries SET value = x'31'")
    editor.close()
    registry.open()
    with pytest.raises(StoreCorruptError, match="epoch"):
        registry.get_all()
    registry.close()


def test_a_lost_wal_is_noticed(tmp_path: Path) -> None:
    living, dead = tmp_path / "living", tmp_path / "dead"
    living.mkdir()
    dead.mkdir()
    create_registry(living, "service")
    registry = SqliteRegistry(living, "service")
    registry.open()
    registry.put({"epoch": b"7"})
    for name in ("service.db", "service.mark"):
        (dead / name).write_bytes((living / name).read_bytes())
    registry.close()
    with pytest.raises(StoreCorruptError, match="acknowledged"):
        SqliteRegistry(dead, "service").open()


def test_a_missing_or_foreign_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreCorruptError):
        SqliteRegistry(tmp_path, "service").open()
    create_registry(tmp_path, "service")
    with pytest.raises(DataDirectoryError, match="not overwritten"):
        create_registry(tmp_path, "service")
    with pytest.raises(DataDirectoryError, match="belongs to"):
        SqliteRegistry(tmp_path, "other").open()
