"""Every write, sync and truncation of a store's life fails once and for ever (reliability.md L3; C3, trap 18).

After each fault the files are recovered twice: as the store left them after closing, and as a power cut would leave
them at the moment of the fault, with unsynced writes lost in part. Acknowledged rows are there, refused ones are not,
and a batch is whole or absent.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import apsw
import pytest

from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.errors import StoreError
from lightning_state.actors.store.protocol import CommitUnknownError
from lightning_state.actors.store.sqlite import SqliteStore, create_shard_file

SLOT = 1 << 16
VFS = "faulty"
PLAIN = "unix"

Kind = Literal["write", "sync", "truncate"]
Mode = Literal["once", "for ever"]


class Faults:
    """Counts operations of all files and fails the nth; remembers what a power cut would take back."""

    def __init__(self) -> None:
        self.count = 0
        self.fail_at = 0
        self.mode: Mode = "once"
        self.failed: list[str] = []
        self.unsynced: dict[str, list[tuple[int, bytes]]] = {}
        self.image_from: Path | None = None
        self.image_at: Path | None = None
        self.acknowledged: list[int] = []
        self.acknowledged_at_cut: list[int] = []

    def step(self, kind: Kind, name: str) -> None:
        self.count += 1
        if self.count == self.fail_at or (self.count > self.fail_at > 0 and self.mode == "for ever"):
            self.failed.append(kind)
            if len(self.failed) == 1:
                self.cut_power()
            code = {"write": apsw.SQLITE_IOERR_WRITE, "sync": apsw.SQLITE_IOERR_FSYNC}.get(
                kind, apsw.SQLITE_IOERR_TRUNCATE
            )
            error = apsw.IOError(f"{kind} {name}: made to fail")
            error.__dict__["extendedresult"] = code
            raise error

    def cut_power(self) -> None:
        """Copy the files as they are on the disk, without some of what was not synced."""
        if self.image_from is None or self.image_at is None:
            return
        self.acknowledged_at_cut = list(self.acknowledged)
        self.image_at.mkdir()
        generator = random.Random(self.fail_at)
        for suffix in (".db", ".db-wal", ".mark"):
            source = self.image_from / f"shard-0{suffix}"
            if not source.exists():
                continue
            target = self.image_at / source.name
            shutil.copy(source, target)
            with target.open("r+b") as file:
                for offset, before in reversed(self.unsynced.get(source.name, [])):
                    if generator.random() < 0.7:
                        torn = generator.choice([0, 0, len(before) // 1024 * 512])
                        file.seek(offset + torn)
                        file.write(before[torn:])


class FaultyFile(apsw.VFSFile):
    def __init__(self, faults: Faults, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(PLAIN, name, flags)
        self.faults = faults
        self.name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "").name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's name
        self.faults.step("write", self.name)
        size = self.xFileSize()
        before = self.xRead(min(len(data), size - offset), offset) if offset < size else b""
        before += bytes(len(data) - len(before))
        self.faults.unsynced.setdefault(self.name, []).append((offset, before))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802  # name and signature are SQLite's
        self.faults.step("sync", self.name)
        self.faults.unsynced[self.name] = []  # the disk itself need not be synced: only this process looks

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  # SQLite's name
        self.faults.step("truncate", self.name)
        super().xTruncate(newsize)


class FaultyVfs(apsw.VFS):
    def __init__(self) -> None:
        super().__init__(VFS, base=PLAIN)
        self.faults = Faults()

    def xOpen(  # noqa: N802  # SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> FaultyFile:
        return FaultyFile(self.faults, name, flags)


@pytest.fixture(scope="module")
def vfs() -> Generator[FaultyVfs]:
    vfs = FaultyVfs()
    yield vfs
    vfs.unregister()


class Life:
    """One life of a store, as a shard lives it: a refusal is passed on, after an unknown outcome it recovers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.acknowledged: list[int] = []
        self.refused: list[int] = []
        self.unknown: list[int] = []
        self.epoch = 10
        self.store: SqliteStore | None = None

    def live(self) -> None:
        for batch in range(1, 8):
            self.write(batch)
            if batch in (2, 5):
                self.attempt("project")
            if batch in (3, 6):
                self.attempt("checkpoint")
        if self.store is not None:
            self.close(self.store)

    def close(self, store: SqliteStore) -> None:
        self.store = None
        with suppress(StoreError):
            store.close()

    def opened(self) -> SqliteStore | None:
        if self.store is None:
            store = SqliteStore(self.directory, 0, "service", vfs=VFS)
            self.epoch += 1
            try:
                store.open()
                store.acquire([SLOT], self.epoch)
            except StoreError:
                self.close(store)
                return None
            self.store = store
        return self.store

    def attempt(self, what: Literal["project", "checkpoint"]) -> None:
        store = self.opened()
        if store is None:
            return
        try:
            if what == "project":
                store.project(5)
            else:
                store.checkpoint()
        except CommitUnknownError:
            self.close(store)
        except StoreError:
            pass

    def write(self, batch: int) -> None:
        store = self.opened()
        if store is None:
            return
        try:
            store.commit(rows_of(batch, self.epoch))
            self.acknowledged.append(batch)
        except CommitUnknownError:
            self.unknown.append(batch)
            with pytest.raises(CommitUnknownError):
                store.load([(SLOT, "a")])
            with pytest.raises(CommitUnknownError):
                store.commit(rows_of(batch, self.epoch))
            self.close(store)
        except StoreError:
            self.refused.append(batch)


def rows_of(batch: int, epoch: int) -> list[JournalRow]:
    return [
        JournalRow(
            SLOT, batch, epoch, f"{batch}-{part}", 1, Op.SET, b"x" * 1500, 1, {"part": str(part)}, "", "", b"", 1
        )
        for part in range(3)
    ]


def check(directory: Path, acknowledged: list[int], refused: list[int], what: str) -> None:
    store = SqliteStore(directory, 0, "service", vfs=PLAIN)
    store.open()
    try:
        for batch in range(1, 8):
            found = store.load([(SLOT, f"{batch}-{part}") for part in range(3)])
            there = [entry is not None and len(entry.body or b"") == 1500 for entry in found]
            assert all(there) or not any(there), f"{what}: batch {batch} is there in part"
            if batch in acknowledged:
                assert all(there), f"{what}: acknowledged batch {batch} is lost"
            if batch in refused:
                assert not any(there), f"{what}: refused batch {batch} is there"
        listed = store.scan(List(1, "", "", 100, "part", "1"))
        assert len(listed) * 3 == store.status().keys == store.status().journal_rows
        (head,) = store.acquire([SLOT], 1_000)
        assert head.revision == max((int(entry.key[0]) for entry in listed), default=0)
    finally:
        store.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template")
    create_shard_file(directory, "service", 0, vfs=PLAIN)
    return directory


def live(vfs: FaultyVfs, template: Path, at: Path, fail_at: int, mode: Mode) -> Life:
    directory = shutil.copytree(template, at / "files")
    vfs.faults.__init__()
    vfs.faults.fail_at, vfs.faults.mode = fail_at, mode
    vfs.faults.image_from, vfs.faults.image_at = directory, at / "image"
    life = Life(directory)
    vfs.faults.acknowledged = life.acknowledged
    life.live()
    return life


@pytest.mark.parametrize("mode", ["once", "for ever"])
def test_whatever_operation_fails_acknowledged_rows_stay_and_no_batch_is_half_there(
    vfs: FaultyVfs, template: Path, tmp_path: Path, mode: Mode
) -> None:
    untroubled = live(vfs, template, tmp_path / "untroubled", 0, mode)
    operations = vfs.faults.count
    assert untroubled.acknowledged == list(range(1, 8))
    assert operations > 50
    seen: set[str] = set()
    unknown = 0
    for nth in range(1, operations + 1):
        at = tmp_path / str(nth)
        life = live(vfs, template, at, nth, mode)
        assert vfs.faults.failed, f"operation {nth} did not fail"
        seen.add(vfs.faults.failed[0])
        unknown += len(life.unknown)
        what = f"{vfs.faults.failed[0]} {nth} failed {mode}"
        if mode == "once":
            assert len(life.acknowledged) + len(life.unknown) + len(life.refused) >= 6, f"{what}: no success after it"
        check(life.directory, life.acknowledged, life.refused, what)
        check(at / "image", vfs.faults.acknowledged_at_cut, [], f"power cut when {what}")
        shutil.rmtree(at)
    assert {"write", "sync"} <= seen
    assert unknown > 5, "no fault ever hit a COMMIT"


def test_an_unwritable_mark_is_not_passed_over(shard_file: Path) -> None:
    store = SqliteStore(shard_file, 0, "service")
    store.open()
    store.acquire([SLOT], 1)
    store.commit(rows_of(1, 1))
    read_only = os.open(shard_file / "shard-0.mark", os.O_RDONLY)
    os.dup2(read_only, store._mark._descriptor)
    os.close(read_only)
    with pytest.raises(CommitUnknownError):
        store.commit(rows_of(2, 1))
    with pytest.raises(CommitUnknownError):
        store.commit(rows_of(3, 1))
    store.close()
    store.open()
    assert store.status().journal_rows == 6
    store.close()
