"""Data directories that cannot be used, and damaged files: refused by `start()`, never served (C13, trap 17)."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.service_processes import crash, end, shard_of, shard_pid
from tests.waiting import until

from lightning_state import (
    ANY,
    AgentState,
    DataDirectoryError,
    LightningStateError,
    ServiceNotFoundError,
    SettingsError,
    StateClient,
    StoreCorruptError,
    start,
)
from lightning_state.actors.store.data_directory import DataDirectory
from lightning_state.cluster.service import is_running, shard_status, stop_service

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROWS = 40


def agent(key: str) -> AgentState:
    return AgentState(agent_id=key, agent_type="t")


def refuses_to_start(data_dir: Path, service: str, error: type[LightningStateError], match: str) -> None:
    """`start` raises quickly, and leaves no actor behind."""
    began_s = time.monotonic()
    with pytest.raises(error, match=match):
        start(data_dir=data_dir, service=service, shards=2).stop()
    assert time.monotonic() - began_s < 30
    assert not is_running(service)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path, service_name: str) -> None:
    (tmp_path / "file").write_text("not a directory")
    refuses_to_start(tmp_path / "file", service_name, DataDirectoryError, "cannot be written")
    refuses_to_start(tmp_path / "file" / "below", service_name, DataDirectoryError, "cannot be written")


def test_bad_settings_are_refused_by_name(tmp_path: Path, service_name: str) -> None:
    bad: list[dict[str, Any]] = [
        {"shards": 0},
        {"nonsense": 1},
        {"service": "Bad Name"},
        {"verl": {"min_validators": 0}},
    ]
    for settings in bad:
        arguments: dict[str, Any] = {"data_dir": tmp_path / "data", "service": service_name, **settings}
        with pytest.raises(SettingsError, match=next(iter(settings))):
            start(**arguments)
    assert not (tmp_path / "data").exists()


def test_a_directory_of_another_service_or_version_or_in_use_is_refused(tmp_path: Path, service_name: str) -> None:
    data_dir = tmp_path / "data"
    files = DataDirectory.create(data_dir, service_name, 2)
    refuses_to_start(data_dir, "another", DataDirectoryError, "belongs to")
    for held in (files.store(1), files.registry()):
        held.open()
        refuses_to_start(data_dir, service_name, DataDirectoryError, f"in use by process {os.getpid()}")
        held.close()
    described = data_dir / "service.json"
    original = described.read_bytes()
    described.write_text(json.dumps({**json.loads(original), "format": 99}))
    refuses_to_start(data_dir, service_name, DataDirectoryError, "newer version")
    for damaged in (b"", b"{}", b"nonsense", b"\x00" * 100, original[:20]):
        described.write_bytes(damaged)
        refuses_to_start(data_dir, service_name, DataDirectoryError, "damaged")
    described.unlink()
    refuses_to_start(data_dir, service_name, DataDirectoryError, r"without service\.json")
    described.write_bytes(original)
    with start(data_dir=data_dir, service=service_name) as service:
        with pytest.raises(DataDirectoryError, match="runs already"):
            start(data_dir=tmp_path / "elsewhere", service=service_name)
        with service.client() as client:
            assert client.agents.set(agent("a")).version == 1


def test_a_service_that_is_stopped_is_not_found(tmp_path: Path, service_name: str) -> None:
    service = start(data_dir=tmp_path / "data", service=service_name, shards=1)
    client = service.client()
    client.agents.set(agent("a"))
    service.stop()
    began_s = time.monotonic()
    with pytest.raises(ServiceNotFoundError):
        StateClient.connect(service_name)
    with pytest.raises(ServiceNotFoundError):
        client.agents.get("a")
    assert time.monotonic() - began_s < 10
    client.close()


NAME = "damaged"


@pytest.fixture(scope="module")
def files(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001  # Ray runs
    """`stopped` and `killed`: the files a service left in good order, and those it left with writes in its -wal files.

    Each test damages a copy.
    """
    root = tmp_path_factory.mktemp("files")
    service = start(data_dir=root / "killed", service=NAME, shards=2)
    with service.client() as client:
        client.agents.set_many([agent(f"a-{n}") for n in range(ROWS)])
    service.stop()
    shutil.copytree(root / "killed", root / "stopped")
    service = start(data_dir=root / "killed", service=NAME, shards=2)
    with service.client() as client:
        stored = client.agents.set_many([agent(f"a-{n}") for n in range(ROWS)], expected_version=ANY)
        assert all(isinstance(each, AgentState) for each in stored.values())
    crash(NAME)
    service.stop()
    return root


def noise(file: Path) -> None:
    file.write_bytes(os.urandom(file.stat().st_size))


def half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def all_but_a_tenth(file: Path) -> None:
    # The end of this file may be left from before a checkpoint: cutting only that loses nothing, and is no damage.
    os.truncate(file, file.stat().st_size // 10)


DAMAGE: list[tuple[str, str, Callable[[Path], object]]] = [
    ("killed", "shard-0.db-wal", noise),
    ("killed", "shard-0.db-wal", half),
    ("killed", "shard-1.db-wal", Path.unlink),
    ("killed", "service.db-wal", all_but_a_tenth),
    ("stopped", "shard-0.db", noise),
    ("stopped", "shard-1.db", Path.unlink),
]


@pytest.mark.parametrize(("left", "name", "damage"), DAMAGE, ids=[f"{n}-{d.__name__}" for _, n, d in DAMAGE])
def test_a_damaged_file_is_never_served(
    files: Path, tmp_path: Path, left: str, name: str, damage: Callable[[Path], object]
) -> None:
    copied = tmp_path / "data"
    shutil.copytree(files / left, copied, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
    assert (copied / name).stat().st_size > 0, "there is nothing to damage: the test would prove nothing"
    damage(copied / name)
    refuses_to_start(copied, NAME, StoreCorruptError, "restore")


def test_undamaged_files_of_a_killed_service_are_served_again(files: Path, tmp_path: Path) -> None:
    copied = tmp_path / "data"
    shutil.copytree(files / "killed", copied)
    with start(data_dir=copied, service=NAME, shards=2) as service, service.client() as client:
        found = client.agents.get_many([f"a-{n}" for n in range(ROWS)])
        assert [state.version for state in found.values()] == [2] * ROWS


def test_a_shard_whose_file_was_deleted_serves_nothing_in_its_place(tmp_path: Path, service_name: str) -> None:
    data_dir = tmp_path / "data"
    with start(data_dir=data_dir, service=service_name, shards=2) as service, service.client() as client:
        owner = shard_of(service_name)
        keys = [f"a-{n}" for n in range(20)]
        client.agents.set_many([agent(key) for key in keys])
        lost = next(key for key in keys if owner(key) == 0)
        kept = next(key for key in keys if owner(key) == 1)
        pid = shard_pid(service_name, 0)
        for file in data_dir.glob("shard-0.db*"):
            file.unlink()
        end(pid)
        until("the shard says why it does not serve", lambda: is_failed(service_name))
        began_s = time.monotonic()
        for call in (
            lambda: client.agents.get(lost, consistency="linearizable"),
            lambda: client.agents.set(agent(lost), expected_version=ANY),
            lambda: client.agents.list(prefix="a-"),
            lambda: client.agents.get_many(keys),
        ):
            with pytest.raises(StoreCorruptError, match="missing"):
                call()
        assert time.monotonic() - began_s < 5
        assert client.agents.get(kept).version == 1
        assert client.agents.update(kept, lambda s: s).version == 2
        assert not (data_dir / "shard-0.db").exists()
    assert not is_running(service_name)
    stop_service(service_name)  # again: nothing is left, and that is no error


def is_failed(service: str) -> bool:
    status = shard_status(service, 0)
    return status is not None and status.state == "failed"
