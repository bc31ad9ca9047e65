"""A data directory is one service's, and says what is wrong with it when it cannot be used."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from lightning_state.actors.errors import DataDirectoryError
from lightning_state.actors.store.data_directory import FORMAT, DataDirectory


def test_a_created_directory_opens_with_the_same_service(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    assert not DataDirectory.exists(path)
    created = DataDirectory.create(path, "default", 2)
    assert DataDirectory.exists(path)
    opened = DataDirectory.open(path, "default")
    assert (opened.service, opened.service_id, opened.shards) == ("default", created.service_id, 2)
    for shard in range(2):
        store = opened.store(shard)
        store.open()
        store.close()
    registry = opened.registry()
    registry.open()
    registry.close()


def test_only_the_owner_reads_what_is_stored(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path, "default", 1)
    store, registry = directory.store(0), directory.registry()
    store.open()
    registry.open()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.db*")}
    registry.close()
    store.close()
    assert len(modes) > 2  # with SQLite's own files beside them
    assert set(modes.values()) == {0o600}, modes


def test_a_directory_is_created_once(tmp_path: Path) -> None:
    first = DataDirectory.create(tmp_path, "default", 1)
    with pytest.raises(DataDirectoryError, match="already"):
        DataDirectory.create(tmp_path, "other", 1)
    assert DataDirectory.open(tmp_path).service_id == first.service_id


def test_another_services_directory_is_refused(tmp_path: Path) -> None:
    DataDirectory.create(tmp_path, "default", 1)
    with pytest.raises(DataDirectoryError, match="belongs to the service 'default'"):
        DataDirectory.open(tmp_path, "other")


def test_an_empty_directory_holds_no_service(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match="holds no service"):
        DataDirectory.open(tmp_path)
    with pytest.raises(DataDirectoryError, match="holds no service"):
        DataDirectory.open(tmp_path / "missing")


def test_a_directory_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    DataDirectory.create(tmp_path, "default", 1)
    (tmp_path / "service.json").write_text(json.dumps({"format": FORMAT + 1, "unheard": "of"}))
    with pytest.raises(DataDirectoryError, match="newer version"):
        DataDirectory.open(tmp_path)
    with pytest.raises(DataDirectoryError, match="newer version"):
        DataDirectory.create(tmp_path, "default", 1)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"format": 1}', b"noise", b'{"\xff": 1}'])
def test_a_damaged_description_is_refused(tmp_path: Path, text: bytes) -> None:
    DataDirectory.create(tmp_path, "default", 1)
    (tmp_path / "service.json").write_bytes(text)
    with pytest.raises(DataDirectoryError, match="damaged"):
        DataDirectory.open(tmp_path)


def test_a_directory_in_use_names_the_process(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path, "default", 2)
    directory.check_unused()
    store = directory.store(1)
    store.open()
    with pytest.raises(DataDirectoryError, match="in use by process"):
        directory.check_unused()
    store.close()
    directory.check_unused()


def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(DataDirectoryError, match="cannot be written"):
        DataDirectory.create(tmp_path / "file", "default", 1)
    with pytest.raises(DataDirectoryError):
        DataDirectory.open(tmp_path / "file")


def test_a_creation_that_was_cut_off_is_started_again(tmp_path: Path) -> None:
    DataDirectory.create(tmp_path, "default", 3)
    described = json.loads((tmp_path / "service.json").read_text())
    (tmp_path / "service.json").write_text(json.dumps({**described, "complete": False}))
    (tmp_path / "shard-1.mark").unlink()
    assert not DataDirectory.exists(tmp_path)
    with pytest.raises(DataDirectoryError, match="holds no service"):
        DataDirectory.open(tmp_path)
    again = DataDirectory.create(tmp_path, "default", 1)
    assert again.service_id != described["service_id"]
    assert not (tmp_path / "shard-2.db").exists()
    store = again.store(0)
    store.open()
    store.close()


def test_files_whose_description_is_lost_are_not_removed(tmp_path: Path) -> None:
    DataDirectory.create(tmp_path, "default", 1)
    (tmp_path / "service.json").unlink()
    with pytest.raises(DataDirectoryError, match=r"without service\.json"):
        DataDirectory.create(tmp_path, "default", 1)
    assert (tmp_path / "shard-0.db").exists()
