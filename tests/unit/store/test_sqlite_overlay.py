"""Reads see every commit while projections lag behind, and the lag is bounded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.store.sqlite import SqliteStore, projection
from lightning_state.actors.store.sqlite.overlay import BODIES_MOST_BYTES, ROWS_MOST

SLOT = 1 << 16


def change(key: str, version: int, revision: int, body: bytes = b"{}") -> JournalRow:
    return JournalRow(SLOT, revision, 1, key, version, Op.SET, body, 1, {"all": "yes"}, "", f"r{revision}", b"", 1)


def opened(directory: Path) -> SqliteStore:
    store = SqliteStore(directory, 0, "service")
    store.open()
    store.acquire([SLOT], 1)
    return store


def test_commits_project_themselves_when_too_many_rows_wait(shard_file: Path) -> None:
    store = opened(shard_file)
    for start in range(0, ROWS_MOST + 3000, 1000):
        store.commit([change(f"k{number}", 1, number + 1) for number in range(start, start + 1000)])
        assert store.status().unprojected_rows <= ROWS_MOST
    assert store.status().keys > 0
    assert store.load([(SLOT, "k0")]) != [None]
    store.close()


def test_commits_project_themselves_when_too_many_bytes_wait(shard_file: Path) -> None:
    store = opened(shard_file)
    body = bytes(1024 * 1024)
    most = BODIES_MOST_BYTES // len(body)
    for number in range(1, most + 3):
        store.commit([change(f"k{number}", 1, number, body)])
    assert store.status().unprojected_rows <= most
    assert len(store.history(SLOT, "k1", after_version=0, limit=5)) == 1
    store.close()


def test_a_history_goes_on_from_one_segment_of_the_journal_to_the_next(
    shard_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "_SEGMENT_BITS", 2)
    store = opened(shard_file)
    rows = [change("a", version, version) for version in range(1, 31)]
    for row in rows:
        store.commit([row, change("b", row.version, row.revision)])
    store.project(41)
    assert store.history(SLOT, "a", after_version=0, limit=100) == rows
    assert store.history(SLOT, "a", after_version=7, limit=10) == rows[7:17]
    assert store.history(SLOT, "a", after_version=18, limit=5) == rows[18:23]
    assert store.history(SLOT, "a", after_version=29, limit=5) == rows[29:]
    store.close()


def test_a_reader_never_sees_a_version_go_back_or_a_key_vanish_while_the_writer_projects(shard_file: Path) -> None:
    store = opened(shard_file)
    keys = [f"k{number}" for number in range(10)]
    store.commit([change(key, 1, 1) for key in keys])
    committed = 1
    wrong: list[str] = []
    rounds = 0
    done = threading.Event()

    def read() -> None:
        nonlocal rounds
        seen = dict.fromkeys(keys, 1)
        while not done.is_set():
            floor = committed
            loaded = dict(zip(keys, store.load([(SLOT, key) for key in keys]), strict=True))
            listed = {entry.key: entry for entry in store.scan(List(1, "", "", 99, "all", "yes"))}
            for key in keys:
                entry, other = loaded[key], listed.get(key)
                if entry is None or other is None or entry.version < max(floor, seen[key]) or other.version < floor:
                    wrong.append(f"{key}: {entry} {other}, committed {floor}, seen {seen[key]}")
                    return
                seen[key] = entry.version
            history = store.history(SLOT, keys[0], after_version=0, limit=10_000)
            if [row.version for row in history][:floor] != list(range(1, floor + 1)):
                wrong.append(f"gap in history below {floor}")
                return
            rounds += 1

    reader = threading.Thread(target=read)
    reader.start()
    version = 1
    while version < 150 or (rounds < 20 and not wrong):
        version += 1
        store.commit([change(key, version, version) for key in keys])
        committed = version
        if version % 3 == 0:
            store.project(17)
        if version % 50 == 0:
            store.checkpoint()
    done.set()
    reader.join()
    assert wrong == []
    assert rounds >= 20
    store.close()
