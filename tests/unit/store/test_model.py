"""Whatever is done to a store in whatever order, it answers as a list of rows would (C2, C3, C9)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import Entry, JournalRow, Op
from lightning_state.actors.store.memory import MemoryDisk, MemoryStore
from lightning_state.actors.store.protocol import Store
from lightning_state.actors.store.sqlite import SqliteStore, create_shard_file

KEYS = ["a", "a-1", "a-2", "b", "b/c"]
SLOTS = [1 << 16, (1 << 16) + 1]
KINDS = ["red", "blue"]


def slot_of(key: str) -> int:
    return SLOTS[len(key) % 2]


class _Machine(RuleBasedStateMachine):
    """Commits, projections, checkpoints, restarts; after each step everything is read and compared."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[JournalRow] = []
        self.epoch = 0
        self.revision = 0

    def new_store(self) -> Store:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.store = self.new_store()
        self.open()

    def open(self) -> None:
        self.store.open()
        self.epoch += 1
        heads = self.store.acquire(SLOTS, self.epoch)
        for head in heads:
            expected = max((row.revision for row in self.rows if row.slot == head.slot), default=0)
            assert head.revision == expected

    def newest(self, key: str, pending: list[JournalRow] | None = None) -> JournalRow | None:
        changes = [row for row in [*self.rows, *(pending or [])] if row.key == key and row.op is not Op.BAR]
        return changes[-1] if changes else None

    @rule(
        changes=st.lists(
            st.tuples(st.sampled_from(KEYS), st.sampled_from([Op.SET, Op.DELETE, Op.BAR]), st.sampled_from(KINDS)),
            min_size=1,
            max_size=6,
        )
    )
    def commit(self, changes: list[tuple[str, Op, str]]) -> None:
        batch: list[JournalRow] = []
        for key, op, kind in changes:
            old = self.newest(key, batch)
            self.revision += 1
            batch.append(
                JournalRow(
                    slot=slot_of(key),
                    revision=self.revision,
                    epoch=self.epoch,
                    key=key,
                    version=0 if op is Op.BAR else (old.version if old else 0) + 1,
                    op=op,
                    body=kind.encode() if op is Op.SET else None,
                    schema_version=1,
                    indexes={"kind": kind} if op is Op.SET else {},
                    principal="p",
                    request_id=f"r{self.revision}",
                    digest=b"",
                    time_us=self.revision,
                )
            )
        self.store.commit(batch)
        self.rows += batch

    @rule(most=st.integers(1, 5))
    def project(self, most: int) -> None:
        self.store.project(most)

    @rule()
    def checkpoint(self) -> None:
        self.store.checkpoint()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def reads_agree(self) -> None:
        if not self.epoch:
            return
        newest = {key: self.newest(key) for key in KEYS}
        places = [(slot_of(key), key) for key in KEYS]
        assert self.store.load(places) == [self.entry(row) if row else None for row in newest.values()]
        for kind in [None, *KINDS]:
            expected = [
                self.entry(row)
                for _, row in sorted(newest.items())
                if row and row.body is not None and kind in (None, row.body.decode())
            ]
            index = ("kind", kind) if kind else ("", "")
            assert self.store.scan(List(1, "", "", 10, *index)) == expected
            assert (
                self.store.scan(List(1, "a", "a", 1, *index))
                == [one for one in expected if one.key.startswith("a-")][:1]
            )
        for key in KEYS:
            changes = [row for row in self.rows if row.key == key and row.op is not Op.BAR]
            assert self.store.history(slot_of(key), key, after_version=1, limit=3) == changes[1:4]
        for row in self.rows[-3:]:
            applied = self.store.applied(row.slot, "p", row.request_id)
            assert applied is not None
            assert (applied.key, applied.version, applied.op) == (row.key, row.version, row.op)

    @staticmethod
    def entry(row: JournalRow) -> Entry:
        return Entry(row.key, row.version, row.revision, row.body, row.schema_version, row.time_us)

    def teardown(self) -> None:
        if self.epoch:
            self.store.close()


class _MemoryMachine(_Machine):
    def new_store(self) -> Store:
        return MemoryStore(MemoryDisk())


class _SqliteMachine(_Machine):
    directory: ClassVar[Path]

    def new_store(self) -> Store:
        _SqliteMachine.directory = Path(tempfile.mkdtemp(prefix="lightning-state-test-"))
        create_shard_file(self.directory, "service", 0)
        return SqliteStore(self.directory, 0, "service")

    def teardown(self) -> None:
        super().teardown()
        if self.epoch:
            shutil.rmtree(self.directory)


_QUICK = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TestMemoryStore = _MemoryMachine.TestCase
TestMemoryStore.settings = _QUICK
TestSqliteStore = _SqliteMachine.TestCase
TestSqliteStore.settings = _QUICK
