"""One owner (C9): the lock, taking over from a stopped holder, fencing, and what kill -9 leaves behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.errors import DataDirectoryError, FencedError
from lightning_state.actors.processes import start_time_ticks
from lightning_state.actors.store.sqlite import SqliteStore
from lightning_state.actors.store.sqlite.ownership import kill_holder

SLOT = 1 << 16
DEADLINE_S = 30.0

HOLDER = """
import sys
from pathlib import Path
from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.store.sqlite import SqliteStore

store = SqliteStore(Path(sys.argv[1]), 0, "service")
store.open()
store.acquire([65536], 1)
print("open", flush=True)
for number in range(1, 1_000_000):
    rows = [
        JournalRow(65536, number, 1, f"{number}-{part}", 1, Op.SET, b"x" * 600, 1, {}, "", f"{number}-{part}", b"", 1)
        for part in range(8)
    ]
    store.commit(rows)
    print(number, flush=True)
    if number % 16 == 0:
        store.project(100)
    if sys.argv[2] == "hold":
        sys.stdin.read()
"""


def change(number: int, epoch: int) -> JournalRow:
    return JournalRow(SLOT, number, epoch, f"key-{number}", 1, Op.SET, b"{}", 1, {}, "", f"r{number}", b"", 1)


@contextmanager
def child(directory: Path, what: str) -> Generator[subprocess.Popen[str]]:
    """A process that owns the store and has committed at least once."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
        assert readable
        assert process.stdout.readline() == "open\n"
        assert process.stdout.readline() == "1\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_second_process_is_told_who_has_the_file(shard_file: Path) -> None:
    with child(shard_file, "hold") as process, pytest.raises(DataDirectoryError, match=f"process {process.pid}:"):
        SqliteStore(shard_file, 0, "service").open()


def test_a_successor_waits_for_a_holder_that_goes_away(shard_file: Path) -> None:
    with child(shard_file, "hold") as process:
        process.kill()
        store = SqliteStore(shard_file, 0, "service", takeover_after_s=DEADLINE_S)
        store.open()
        assert store.status().journal_rows == 8
        store.close()


def test_a_successor_ends_a_stopped_holder_and_finds_what_it_acknowledged(shard_file: Path) -> None:
    with child(shard_file, "hold") as process:
        os.kill(process.pid, signal.SIGSTOP)
        until = time.monotonic() + DEADLINE_S
        while not stopped(process.pid):
            assert time.monotonic() < until
        store = SqliteStore(shard_file, 0, "service", takeover_after_s=0.1)
        store.open()
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
        assert store.acquire([SLOT], 2)[0].revision == 1
        assert store.load([(SLOT, "1-7")]) != [None]
        store.commit([change(2, 2)])
        store.close()


def test_a_holder_in_the_same_process_is_not_ended(shard_file: Path) -> None:
    first = SqliteStore(shard_file, 0, "service")
    first.open()
    with pytest.raises(DataDirectoryError, match="in use"):
        SqliteStore(shard_file, 0, "service", takeover_after_s=0.01).open()
    first.close()


def test_only_the_process_that_started_then_is_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        started = start_time_ticks(process.pid)
        assert started is not None
        assert not kill_holder(process.pid, started + 1), "the pid was reused by another process"
        assert process.poll() is None
        assert kill_holder(process.pid, started)
        assert process.wait(DEADLINE_S) == -signal.SIGKILL
        assert not kill_holder(process.pid, started), "it is gone"
    finally:
        process.kill()
        process.communicate()


def test_the_lock_is_free_again_after_closing_and_after_a_failed_open(shard_file: Path) -> None:
    with pytest.raises(DataDirectoryError):
        SqliteStore(shard_file, 0, "other").open()
    for _ in range(2):
        store = SqliteStore(shard_file, 0, "service")
        store.open()
        store.close()
    assert (shard_file / "shard-0.lock").read_bytes() == b""


def test_an_owner_whose_lock_was_lost_is_fenced_by_the_epoch_in_the_file(shard_file: Path) -> None:
    zombie = SqliteStore(shard_file, 0, "service")
    zombie.open()
    zombie.acquire([SLOT], 1)
    zombie.commit([change(1, 1)])
    (shard_file / "shard-0.lock").unlink()
    owner = SqliteStore(shard_file, 0, "service")
    owner.open()
    assert owner.acquire([SLOT], 2)[0].revision == 1
    with pytest.raises(FencedError):
        zombie.commit([change(2, 1)])
    with pytest.raises(FencedError):
        zombie.acquire([SLOT], 1)
    owner.commit([change(3, 2)])
    with pytest.raises(FencedError):
        zombie.commit([change(2, 1)])
    assert owner.load([(SLOT, "key-2"), (SLOT, "key-3")])[0] is None
    zombie.close()
    owner.close()
    owner.open()
    assert owner.status().journal_rows == 2
    owner.close()


@pytest.mark.parametrize("after", [1, 20, 63])
def test_kill_9_loses_nothing_that_was_acknowledged_and_leaves_no_half_batch(shard_file: Path, after: int) -> None:
    with child(shard_file, "write") as process:
        assert process.stdout is not None
        acknowledged = 1
        while acknowledged < after:
            acknowledged = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)
        acknowledged = max([acknowledged, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
    store = SqliteStore(shard_file, 0, "service")
    store.open()
    batches = store.status().journal_rows / 8
    assert batches in (acknowledged, acknowledged + 1), "whole batches, all acknowledged, at most one more"
    entries = store.load([(SLOT, f"{number}-{part}") for number in range(1, acknowledged + 1) for part in range(8)])
    assert None not in entries
    assert store.acquire([SLOT], 2)[0].revision == batches
    store.close()
