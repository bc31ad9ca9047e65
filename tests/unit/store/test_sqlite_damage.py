"""Damage is found, not served: contract "Stores", traps 17 and 18."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import apsw
import msgspec
import pytest

from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import Entry, JournalRow, Op
from lightning_state.actors.errors import DataDirectoryError, StoreCorruptError, StoreUnavailableError
from lightning_state.actors.store.sqlite import SqliteStore, connection, create_shard_file
from lightning_state.actors.store.sqlite.statements import migrations

SLOT = 1 << 16
KEYS = 120
PLACES = [(SLOT, f"key-{number}") for number in range(KEYS)]

Answers = tuple[list[Entry | None], list[Entry], list[list[JournalRow]]]


def change(number: int, version: int, revision: int) -> JournalRow:
    body = random.Random(revision).randbytes(300 if number else 9000)
    return JournalRow(
        SLOT, revision, 1, f"key-{number}", version, Op.SET, body, 1, {"n": str(number % 3)}, "", f"r{revision}", b"", 1
    )


def answers(store: SqliteStore) -> Answers:
    return (
        store.load(PLACES),
        store.scan(List(1, "", "", 1_000, "n", "1")),
        [store.history(slot, key, after_version=0, limit=10) for slot, key in PLACES],
    )


def copy_files(source: Path, target: Path) -> Path:
    """What a process that is gone now leaves behind; the lock file and the shared index mean nothing then."""
    target.mkdir()
    for suffix in (".db", ".db-wal", ".mark"):
        if (source / f"shard-0{suffix}").exists():
            shutil.copy(source / f"shard-0{suffix}", target)
    return target


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answers]:
    """Files of a store that died: some rows in the file, some projected in the WAL, some only journaled there."""
    living = tmp_path_factory.mktemp("living")
    create_shard_file(living, "service", 0)
    store = SqliteStore(living, 0, "service")
    store.open()
    store.acquire([SLOT], 1)
    store.commit([change(number, 1, number + 1) for number in range(KEYS)])
    store.project(1000)
    store.checkpoint()
    revision = KEYS
    for number in range(0, KEYS, 2):
        revision += 1
        store.commit([change(number, 2, revision)])
    store.project(40)
    store.acquire([SLOT], 1)
    expected = answers(store)
    files = copy_files(living, tmp_path_factory.mktemp("dead") / "files")
    store.close()
    return files, expected


def served(directory: Path) -> Answers | None:
    """What a store says about these files, None when it refuses them as damaged."""
    store = SqliteStore(directory, 0, "service")
    try:
        store.open()
        return answers(store)
    except StoreCorruptError:
        return None
    finally:
        store.close()


Damage = Callable[[bytes], bytes]


def truncations(size_bytes: int) -> Iterator[tuple[str, Damage]]:
    offsets = [0, 1, 31, 32, 100, 4096, 4095, size_bytes - 1, size_bytes - 4120]
    offsets += [size_bytes * part // 12 for part in range(1, 12)]
    for offset in offsets:
        if 0 <= offset < size_bytes:
            yield f"cut at {offset}", lambda data, offset=offset: data[:offset]


def noises(size_bytes: int, times: int) -> Iterator[tuple[str, Damage]]:
    generator = random.Random(size_bytes)
    for _ in range(times):
        length = generator.choice([1, 8, 64, 4096])
        offset = generator.randrange(max(1, size_bytes - length))
        noise = generator.randbytes(length)
        yield (
            f"{length} bytes of noise at {offset}",
            lambda data, at=offset, noise=noise: data[:at] + noise + data[at + len(noise) :],
        )


@pytest.mark.parametrize("name", ["shard-0.db", "shard-0.db-wal", "shard-0.mark"])
def test_a_cut_or_overwritten_file_is_refused_or_its_answers_are_right(
    crashed: tuple[Path, Answers], tmp_path: Path, name: str
) -> None:
    files, expected = crashed
    data = (files / name).read_bytes()
    refused = 0
    for number, (what, damage) in enumerate([*truncations(len(data)), *noises(len(data), 40)]):
        directory = copy_files(files, tmp_path / str(number))
        (directory / name).write_bytes(damage(data))
        found = served(directory)
        refused += found is None
        assert found in (None, expected), f"{name} {what}: wrong answers were served"
    assert refused >= 20, "the damage was hardly ever noticed: does it reach the file?"


def test_the_undamaged_files_answer_as_before(crashed: tuple[Path, Answers], tmp_path: Path) -> None:
    files, expected = crashed
    assert served(copy_files(files, tmp_path / "copy")) == expected


@pytest.mark.parametrize("name", ["shard-0.db", "shard-0.db-wal", "shard-0.mark"])
def test_a_missing_file_is_damage_and_is_not_made_anew(
    crashed: tuple[Path, Answers], tmp_path: Path, name: str
) -> None:
    directory = copy_files(crashed[0], tmp_path / "copy")
    (directory / name).unlink()
    with pytest.raises(StoreCorruptError):
        SqliteStore(directory, 0, "service").open()
    if name != "shard-0.db-wal":
        assert not (directory / name).exists()


def test_a_wrong_row_under_right_page_checksums_is_found_by_its_own(shard_file: Path) -> None:
    store = SqliteStore(shard_file, 0, "service")
    store.open()
    store.acquire([SLOT], 1)
    store.commit([change(1, 1, 1), change(2, 1, 2)])
    store.close()
    store.open()
    store.close()
    editor = apsw.Connection(str(shard_file / "shard-0.db"), vfs="cksmvfs")
    editor.execute("UPDATE journal SET body = x'00' WHERE id = 1")
    editor.close()
    store.open()
    with pytest.raises(StoreCorruptError, match="journal row 1"):
        store.load([PLACES[1]])
    assert store.load([PLACES[2]]) != [None]
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE states SET journal_id = 2 WHERE journal_id = 1",
        "DELETE FROM journal WHERE id = 1",
        "UPDATE states SET version = 7 WHERE journal_id = 1",
    ],
)
def test_a_projection_that_does_not_fit_the_journal_is_found(shard_file: Path, statement: str) -> None:
    store = SqliteStore(shard_file, 0, "service")
    store.open()
    store.acquire([SLOT], 1)
    store.commit([change(1, 1, 1), change(2, 1, 2)])
    store.close()
    store.open()
    store.close()
    editor = apsw.Connection(str(shard_file / "shard-0.db"), vfs="cksmvfs")
    editor.execute(statement)
    editor.close()
    store.open()
    with pytest.raises(StoreCorruptError):
        store.load([PLACES[1]])
    store.close()


def test_a_file_of_another_service_or_shard_is_refused(shard_file: Path) -> None:
    with pytest.raises(DataDirectoryError, match="belongs to"):
        SqliteStore(shard_file, 0, "other service").open()
    for suffix in (".db", ".mark"):
        shutil.copy(shard_file / f"shard-0{suffix}", shard_file / f"shard-1{suffix}")
    with pytest.raises(DataDirectoryError, match="belongs to"):
        SqliteStore(shard_file, 1, "service").open()


def test_a_file_of_a_newer_version_is_refused(shard_file: Path) -> None:
    editor = apsw.Connection(str(shard_file / "shard-0.db"), vfs="cksmvfs")
    editor.pragma("user_version", 99)
    editor.close()
    with pytest.raises(DataDirectoryError, match="newer version"):
        SqliteStore(shard_file, 0, "service").open()


def test_a_file_of_an_older_version_is_migrated_and_keeps_its_rows(
    shard_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(shard_file, 0, "service")
    store.open()
    store.acquire([SLOT], 1)
    store.commit([change(1, 1, 1)])
    store.close()
    newer = [*migrations("shard"), "CREATE TABLE of_the_next_version (a INTEGER) STRICT; CREATE TABLE b (c INTEGER)"]

    def with_the_next(_kind: str) -> list[str]:
        return newer

    monkeypatch.setattr(connection, "migrations", with_the_next)
    for _ in range(2):
        store.open()
        assert store.load([PLACES[1]]) != [None]
        assert store._writing is not None
        assert store._writing.connection.pragma("user_version") == len(newer)
        assert store._writing.connection.table_exists(None, "b")
        store.close()
    monkeypatch.undo()
    with pytest.raises(DataDirectoryError, match="newer version"):
        store.open()


def test_rows_of_a_file_of_schema_1_are_read_and_their_damage_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = migrations("shard")[:1]
    monkeypatch.setattr(connection, "migrations", lambda _kind: first)  # pyright: ignore[reportUnknownLambdaType]
    create_shard_file(tmp_path, "service", 0)
    row = change(1, 1, 1)
    fields = msgspec.structs.astuple(row)[:13]
    checksum = blake2b(msgspec.msgpack.encode((1, fields)), digest_size=8).digest()
    file = connection.open_file(tmp_path / "shard-0.db", "shard")
    columns = (1, *fields[:8], msgspec.json.encode(row.indexes).decode(), *fields[9:], checksum)
    file.execute(f"INSERT INTO journal VALUES ({', '.join('?' * len(columns))}, NULL)", columns)
    file.close()
    monkeypatch.undo()
    store = SqliteStore(tmp_path, 0, "service")
    store.open()
    assert store.history(SLOT, "key-1", after_version=0, limit=10) == [row]
    store.close()
    file = connection.open_file(tmp_path / "shard-0.db", "shard")
    file.execute("UPDATE journal SET version = 2")
    file.close()
    store.open()
    with pytest.raises(StoreCorruptError):
        store.history(SLOT, "key-1", after_version=0, limit=10)
    store.close()


def test_a_shard_file_is_never_overwritten(shard_file: Path) -> None:
    before = (shard_file / "shard-0.db").read_bytes()
    with pytest.raises(DataDirectoryError, match="not overwritten"):
        create_shard_file(shard_file, "service", 0)
    assert (shard_file / "shard-0.db").read_bytes() == before


def test_a_full_file_refuses_the_whole_batch_and_takes_writes_again_when_there_is_room(shard_file: Path) -> None:
    store = SqliteStore(shard_file, 0, "service")
    store.open()
    store.acquire([SLOT], 1)
    store.commit([change(1, 1, 1)])
    assert store._writing is not None
    written = store._writing.connection
    written.pragma("max_page_count", int(written.pragma("page_count")) + 2)
    with pytest.raises(StoreUnavailableError, match="full"):
        store.commit([change(number, 1, number) for number in range(2, 60)])
    assert store.load(PLACES[1:3])[1] is None
    written.pragma("max_page_count", 1_000_000)
    store.commit([change(2, 1, 2)])
    store.close()
    store.open()
    assert [entry is not None for entry in store.load(PLACES[1:4])] == [True, True, False]
    store.close()


def test_a_disk_that_is_nearly_full_refuses_writes_before_they_begin_and_still_reads(shard_file: Path) -> None:
    store = SqliteStore(shard_file, 0, "service")
    store.open()
    store.acquire([SLOT], 1)
    store.commit([change(1, 1, 1)])
    store.close()
    store = SqliteStore(shard_file, 0, "service", free_space_least_bytes=1 << 60)
    store.open()
    with pytest.raises(StoreUnavailableError, match="full"):
        store.commit([change(2, 1, 2)])
    assert store.load(PLACES[1:2]) != [None]
    store.close()
