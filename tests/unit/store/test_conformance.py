"""What every store does, claim by claim: C2, C3, C5, C9 as far as a store carries them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from lightning_state.actors.core.listing import SCAN_BYTES
from lightning_state.actors.core.messages import List
from lightning_state.actors.core.rows import Applied, Entry, JournalRow, Op, SlotHead
from lightning_state.actors.errors import DataDirectoryError, FencedError, StoreUnavailableError
from lightning_state.actors.store.protocol import Store

SLOT = 1 << 16
OTHER_SLOT = SLOT + 1
OTHER_CATEGORY_SLOT = 2 << 16

OpenStore = Callable[[], Store]
PROJECTED = pytest.mark.parametrize("projected", [0, 2, 10_000], ids=["none", "some", "all"])
"""How much of the journal is projected when it is read: must make no difference."""


def row(
    key: str,
    version: int,
    *,
    slot: int = SLOT,
    revision: int = 0,
    epoch: int = 1,
    op: Op = Op.SET,
    body: bytes = b"{}",
    indexes: dict[str, str] | None = None,
    request_id: str | None = None,
    transaction: str = "",
    expires_us: int = 0,
) -> JournalRow:
    return JournalRow(
        slot=slot,
        revision=revision or version or 1,
        epoch=epoch,
        key=key,
        version=version,
        op=op,
        body=None if op in (Op.DELETE, Op.BAR) else body,
        schema_version=3,
        indexes=indexes or {},
        principal="alice",
        request_id=f"request-{slot}-{key}-{version}" if request_id is None else request_id,
        digest=b"digest",
        time_us=1_700_000_000_000_000 + version,
        expires_us=expires_us,
        transaction=transaction,
        transaction_size=2 if transaction else 0,
    )


def entry(of: JournalRow) -> Entry:
    return Entry(of.key, of.version, of.revision, of.body, of.schema_version, of.time_us, of.expires_us)


def filled(open_store: OpenStore, rows: Sequence[JournalRow], projected: int = 0) -> Store:
    """A store with these rows, each its own commit, of which the first so many are projected."""
    store = open_store()
    store.acquire([SLOT, OTHER_SLOT, OTHER_CATEGORY_SLOT], 1)
    for number, one in enumerate(rows):
        store.commit([one])
        if number + 1 == projected:
            store.project(projected)
    if projected > len(rows):
        assert store.project(projected) == 0
    return store


def keys(entries: Sequence[Entry]) -> list[str]:
    return [one.key for one in entries]


def scan(
    store: Store,
    category: int = 1,
    *,
    prefix: str = "",
    after: str = "",
    limit: int = 100,
    index: tuple[str, str] = ("", ""),
    size_bytes: int = SCAN_BYTES,
) -> list[str]:
    return keys(store.scan(List(category, prefix, after, limit, *index), size_bytes))


def test_an_empty_store_holds_nothing(open_store: OpenStore) -> None:
    store = open_store()
    assert store.load([(SLOT, "a")]) == [None]
    assert store.applied(SLOT, "alice", "r") is None
    assert scan(store) == []
    assert store.history(SLOT, "a", after_version=0, limit=10) == []
    assert store.project(10) == 0
    assert store.status().journal_rows == 0


@PROJECTED
def test_a_commit_is_loaded_as_it_was_written(open_store: OpenStore, projected: int) -> None:
    rows = [row("a", 1, body=b'{"x":1}'), row("b", 1, revision=2), row("a", 2, revision=3, body=b"\x00\xff")]
    store = filled(open_store, rows, projected)
    assert store.load([(SLOT, "b"), (SLOT, "no"), (SLOT, "a"), (OTHER_SLOT, "a")]) == [
        entry(rows[1]),
        None,
        entry(rows[2]),
        None,
    ]


@PROJECTED
def test_a_tombstone_is_loaded_and_not_listed(open_store: OpenStore, projected: int) -> None:
    rows = [row("a", 1), row("a", 2, op=Op.DELETE), row("b", 1, revision=3)]
    store = filled(open_store, rows, projected)
    assert store.load([(SLOT, "a")]) == [entry(rows[1])]
    assert scan(store) == ["b"]


@PROJECTED
def test_a_scan_ends_with_the_entry_that_makes_it_long_enough(open_store: OpenStore, projected: int) -> None:
    rows = [row(key, 1, revision=number, body=b"x" * 100) for number, key in enumerate("abcd", 1)]
    store = filled(open_store, rows, projected)
    for size_bytes, expected in ((1, "a"), (100, "a"), (101, "ab"), (300, "abc"), (301, "abcd"), (10_000, "abcd")):
        assert scan(store, size_bytes=size_bytes) == list(expected)
    assert scan(store, after="b", limit=1, size_bytes=1_000) == ["c"]


@PROJECTED
def test_a_key_created_again_is_listed_again_with_its_new_indexes(open_store: OpenStore, projected: int) -> None:
    store = filled(
        open_store,
        [
            row("a", 1, indexes={"status": "old"}),
            row("a", 2, op=Op.DELETE, indexes={"status": "old"}),
            row("a", 3, indexes={"status": "new"}),
        ],
        projected,
    )
    assert scan(store, index=("status", "new")) == ["a"]
    assert scan(store, index=("status", "old")) == []


@PROJECTED
def test_a_request_id_finds_what_it_did(open_store: OpenStore, projected: int) -> None:
    rows = [row("a", 1, request_id="r1", body=b"1"), row("a", 2, request_id="r2", body=b"2"), row("b", 1, revision=3)]
    store = filled(open_store, rows, projected)
    assert store.applied(SLOT, "alice", "r1") == Applied("a", 1, 1, Op.SET, b"1", 3, b"digest", 1_700_000_000_000_001)
    assert store.applied(SLOT, "bob", "r1") is None
    assert store.applied(OTHER_SLOT, "alice", "r1") is None


@PROJECTED
def test_a_bar_is_found_by_its_request_id_and_changes_no_key(open_store: OpenStore, projected: int) -> None:
    rows = [row("a", 1), row("a", 0, revision=1, op=Op.BAR, request_id="barred"), row("b", 1, revision=2)]
    store = filled(open_store, rows, projected)
    barred = store.applied(SLOT, "alice", "barred")
    assert barred is not None
    assert (barred.op, barred.version, barred.body) == (Op.BAR, 0, None)
    assert store.load([(SLOT, "a")]) == [entry(rows[0])]
    assert store.history(SLOT, "a", after_version=0, limit=10) == [rows[0]]
    assert scan(store) == ["a", "b"]


@PROJECTED
def test_changes_of_the_service_itself_need_no_request_id(open_store: OpenStore, projected: int) -> None:
    store = filled(open_store, [row("a", 1, request_id=""), row("b", 1, revision=2, request_id="")], projected)
    assert store.applied(SLOT, "alice", "") is None
    assert scan(store) == ["a", "b"]


@PROJECTED
def test_history_is_in_version_order_in_pages_without_gaps(open_store: OpenStore, projected: int) -> None:
    rows = [row("a", version, body=b"%d" % version) for version in range(1, 6)]
    store = filled(open_store, [rows[0], rows[1], row("ab", 1, revision=9), *rows[2:]], projected)
    assert store.history(SLOT, "a", after_version=0, limit=100) == rows
    assert store.history(SLOT, "a", after_version=1, limit=2) == rows[1:3]
    assert store.history(SLOT, "a", after_version=3, limit=1) == rows[3:4]
    assert store.history(SLOT, "a", after_version=5, limit=10) == []


@PROJECTED
def test_a_scan_pages_through_a_category_in_key_order(open_store: OpenStore, projected: int) -> None:
    names = ["b", "a", "a/x", "a-1", "Z", "a.", "ab"]
    rows = [row(name, 1, revision=number + 1) for number, name in enumerate(names)]
    rows.append(row("c", 1, slot=OTHER_SLOT))
    rows.append(row("not-this", 1, slot=OTHER_CATEGORY_SLOT))
    store = filled(open_store, rows, projected)
    expected = sorted([*names, "c"])
    assert scan(store) == expected
    paged: list[str] = []
    while page := scan(store, after=paged[-1] if paged else "", limit=2):
        assert len(page) <= 2
        paged.extend(page)
    assert paged == expected
    assert scan(store, 2) == ["not-this"]
    assert scan(store, 3) == []


@PROJECTED
def test_a_scan_keeps_to_its_prefix(open_store: OpenStore, projected: int) -> None:
    names = ["a", "a-1", "a-2", "b-1", "a-10"]
    store = filled(open_store, [row(name, 1, revision=i + 1) for i, name in enumerate(names)], projected)
    assert scan(store, prefix="a-") == ["a-1", "a-10", "a-2"]
    assert scan(store, prefix="a-", after="a-1") == ["a-10", "a-2"]
    assert scan(store, prefix="a-", after="a-1", limit=1) == ["a-10"]
    assert scan(store, prefix="a-", after="Z") == ["a-1", "a-10", "a-2"]
    assert scan(store, prefix="a-", after="b") == []
    assert scan(store, prefix="zzz") == []


@PROJECTED
def test_a_scan_by_index_follows_every_change(open_store: OpenStore, projected: int) -> None:
    store = filled(
        open_store,
        [
            row("a", 1, indexes={"status": "ready", "team": "x"}),
            row("b", 1, revision=2, indexes={"status": "ready"}),
            row("a", 2, revision=3, indexes={"status": "done", "team": "x"}),
            row("c", 1, revision=4, indexes={"status": "ready"}),
            row("b", 2, revision=5, op=Op.DELETE),
        ],
        projected,
    )
    assert scan(store, index=("status", "ready")) == ["c"]
    assert scan(store, index=("status", "done")) == ["a"]
    assert scan(store, index=("team", "x")) == ["a"]
    assert scan(store, index=("team", "ready")) == []
    assert scan(store, index=("status", "done"), after="a") == []


def test_projecting_goes_as_far_as_asked(open_store: OpenStore) -> None:
    store = filled(open_store, [row("a", version) for version in range(1, 11)])
    left = store.project(3)
    assert left in (7, 0)
    while store.project(4):
        pass
    status = store.status()
    assert (status.unprojected_rows, status.keys, status.journal_rows, status.last_journal_id) == (0, 1, 10, 10)
    assert status.size_bytes > 0


def test_the_number_of_keys_counts_live_ones(open_store: OpenStore) -> None:
    store = filled(open_store, [row("a", 1), row("b", 1, revision=2), row("a", 2, revision=3, op=Op.DELETE)], 10_000)
    assert store.status().keys == 1
    store.commit([row("a", 3, revision=4), row("c", 1, revision=5)])
    store.project(10)
    assert store.status().keys == 3


def test_a_slot_nobody_owned_starts_at_revision_nought(open_store: OpenStore) -> None:
    assert open_store().acquire([SLOT], 7) == [SlotHead(SLOT, 7, 0, 0)]


def test_heads_go_on_where_the_slot_stood(open_store: OpenStore) -> None:
    store = filled(open_store, [row("a", 1, revision=41), row("a", 2, revision=42), row("c", 1, slot=OTHER_SLOT)], 1)
    assert store.acquire([OTHER_SLOT, SLOT], 2) == [SlotHead(OTHER_SLOT, 2, 1, 0), SlotHead(SLOT, 2, 42, 0)]
    store.close()
    again = open_store()
    assert again.acquire([SLOT], 3) == [SlotHead(SLOT, 3, 42, 0)]


def test_everything_committed_is_there_after_a_restart(open_store: OpenStore) -> None:
    rows = [row("a", 1, indexes={"status": "x"}), row("a", 2, indexes={"status": "y"}), row("b", 1, revision=3)]
    filled(open_store, rows, 1).close()
    store = open_store()
    assert store.load([(SLOT, "a"), (SLOT, "b")]) == [entry(rows[1]), entry(rows[2])]
    assert store.history(SLOT, "a", after_version=0, limit=9) == rows[:2]
    assert scan(store, index=("status", "y")) == ["a"]
    assert store.applied(SLOT, "alice", f"request-{SLOT}-a-1") is not None
    assert store.status().unprojected_rows == 0


def test_an_older_epoch_cannot_acquire(open_store: OpenStore) -> None:
    store = open_store()
    store.acquire([SLOT], 5)
    with pytest.raises(FencedError):
        store.acquire([OTHER_SLOT, SLOT], 4)
    assert store.acquire([OTHER_SLOT], 1) == [SlotHead(OTHER_SLOT, 1, 0, 0)], "the refused one left nothing behind"
    assert store.acquire([SLOT], 5) == [SlotHead(SLOT, 5, 0, 0)]


def test_an_epoch_is_remembered_after_a_restart(open_store: OpenStore) -> None:
    store = open_store()
    store.acquire([SLOT], 5)
    store.close()
    store = open_store()
    with pytest.raises(FencedError):
        store.acquire([SLOT], 4)
    with pytest.raises(FencedError):
        store.commit([row("a", 1, epoch=4)])


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_commit_under_another_epoch_writes_nothing_of_its_batch(open_store: OpenStore, epoch: int) -> None:
    store = open_store()
    store.acquire([SLOT, OTHER_SLOT], 2)
    with pytest.raises(FencedError):
        store.commit([row("a", 1, epoch=2), row("b", 1, slot=OTHER_SLOT, epoch=epoch)])
    assert store.load([(SLOT, "a"), (OTHER_SLOT, "b")]) == [None, None]
    assert store.status().journal_rows == 0
    store.commit([row("a", 1, epoch=2)])
    store.close()
    assert open_store().status().journal_rows == 1


def test_a_slot_that_was_never_acquired_takes_no_commit(open_store: OpenStore) -> None:
    store = open_store()
    with pytest.raises(FencedError):
        store.commit([row("a", 1)])


def test_an_empty_commit_is_no_change(open_store: OpenStore) -> None:
    store = open_store()
    store.commit([])
    assert store.status().journal_rows == 0


def test_two_stores_cannot_be_open_at_once(open_store: OpenStore) -> None:
    first = open_store()
    with pytest.raises(DataDirectoryError, match="in use"):
        open_store()
    first.acquire([SLOT], 1)
    first.commit([row("a", 1)])
    first.close()
    assert open_store().status().journal_rows == 1


def test_a_closed_store_refuses_everything_and_closes_again(open_store: OpenStore) -> None:
    store = open_store()
    store.close()
    store.close()
    for call in (
        lambda: store.acquire([SLOT], 1),
        lambda: store.commit([row("a", 1)]),
        lambda: store.load([(SLOT, "a")]),
        lambda: store.applied(SLOT, "alice", "r"),
        lambda: scan(store),
        lambda: store.history(SLOT, "a", after_version=0, limit=1),
        store.checkpoint,
    ):
        with pytest.raises(StoreUnavailableError):
            call()


def test_a_checkpoint_changes_nothing_that_is_read(open_store: OpenStore) -> None:
    rows = [row("a", 1), row("a", 2), row("b", 1, revision=3)]
    store = filled(open_store, rows, 2)
    store.checkpoint()
    store.commit([row("c", 1, revision=4)])
    store.checkpoint()
    assert scan(store) == ["a", "b", "c"]
    assert store.load([(SLOT, "a")]) == [entry(rows[1])]


def holding(key: str, op: Op, number: int, transaction: str = "") -> JournalRow:
    """A row that changes no key."""
    return row(key, 0, op=op, body=b"what is held", request_id=f"hold-{number}", transaction=transaction)


@PROJECTED
def test_what_is_held_is_known_to_the_next_owner_and_nothing_else_is(open_store: OpenStore, projected: int) -> None:
    kept = holding("locked", Op.LOCK, 2)
    rows = [
        row("locked", 1),
        holding("locked", Op.LOCK, 1),
        kept,  # in place of the one before
        holding("given back", Op.LOCK, 3),
        holding("given back", Op.UNLOCK, 4),
        holding("committed", Op.PREPARE, 5, "t-1"),
        row("committed", 1, transaction="t-1"),
        holding("aborted", Op.PREPARE, 6, "t-2"),
        holding("aborted", Op.ABORT, 7, "t-2"),
        prepared := holding("locked", Op.PREPARE, 8, "t-3"),
        holding("t-3", Op.DECIDE, 9, "t-3"),
        row("locked", 2),  # a write of its own ends nothing
    ]
    store = filled(open_store, rows, projected)
    store.close()
    store = open_store()
    store.acquire([SLOT, OTHER_SLOT], 2)
    assert sorted(store.held([SLOT]), key=lambda each: each.request_id) == [kept, prepared]
    assert store.held([OTHER_SLOT]) == []
    assert [one.op for one in store.history(SLOT, "locked", after_version=0, limit=10)] == [Op.SET, Op.SET]
    assert scan(store) == ["committed", "locked"]


@PROJECTED
def test_a_row_keeps_its_end_and_its_transaction(open_store: OpenStore, projected: int) -> None:
    one = row("a", 1, transaction="t-1", expires_us=1_800_000_000_000_000)
    store = filled(open_store, [one], projected)
    assert store.load([(SLOT, "a")]) == [entry(one)]
    assert store.history(SLOT, "a", after_version=0, limit=1) == [one]
