"""Fixtures for store tests: something that outlives a store, and opens stores on it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from lightning_state.actors.store.memory import MemoryDisk, MemoryStore
from lightning_state.actors.store.protocol import Store
from lightning_state.actors.store.sqlite import SqliteStore, create_shard_file

OpenStore = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[OpenStore]:
    """Opens a store on the same disk each time; closes what is left open."""
    opened: list[Store] = []
    disk = MemoryDisk()
    if request.param == "sqlite":
        create_shard_file(tmp_path, "service", 0)

    def open_one() -> Store:
        store: Store = MemoryStore(disk) if request.param == "memory" else SqliteStore(tmp_path, 0, "service")
        store.open()
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def shard_file(tmp_path: Path) -> Path:
    """A directory with an empty file of shard 0 of the service "service"."""
    create_shard_file(tmp_path, "service", 0)
    return tmp_path
