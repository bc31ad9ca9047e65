"""Bringing the projections up to date: one batch of journal rows, in one transaction that the caller opens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from lightning_state.actors.core.rows import Hold, JournalRow, begun_hold, ended_hold
from lightning_state.actors.core.slots import category_of_slot
from lightning_state.actors.store.sqlite.journal import indexes_of, indexes_text
from lightning_state.actors.store.sqlite.statements import queries

_SEGMENT_BITS = 16
"""65,536 journal rows a segment of `versions`: some 500 pages that stay in memory while they are written."""

Batch = Sequence[tuple[int, JournalRow]]


def segment_of(journal_id: int) -> int:
    """The segment of `versions` that a journal row belongs to."""
    return journal_id >> _SEGMENT_BITS


class _Changes:
    """What a batch changes in each projection, gathered so that every table is written once."""

    def __init__(self) -> None:
        self.newest: dict[tuple[int, str, int], tuple[int, JournalRow]] = {}
        """(category, key, slot) → the last change of the key in this batch."""
        self.versions: list[tuple[Any, ...]] = []
        self.requests: list[tuple[Any, ...]] = []
        self.revisions: dict[int, int] = {}
        self.states: list[tuple[Any, ...]] = []
        self.index_adds: list[tuple[Any, ...]] = []
        self.index_removes: list[tuple[Any, ...]] = []
        self.holds: dict[Hold, int | None] = {}
        """What is held → the journal row that says so last; None: it is let go."""
        self.keys = 0


def project_batch(connection: apsw.Connection, batch: Batch) -> int:
    """Write what these rows, the oldest unprojected ones, mean; returns by how many the live keys grew.

    Keys are visited in their own order: neighbours share pages, which is what keeps a million keys affordable.
    """
    sql = queries("projection")
    changes = _Changes()
    _gather(changes, batch)
    execute, read = connection.execute, sql["state_read"]
    for place in sorted(changes.newest):
        _compare(changes, place, execute(read, place).fetchone())
    connection.executemany(sql["state_write"], changes.states)
    connection.executemany(sql["version_add"], changes.versions)
    connection.executemany(sql["index_remove"], sorted(changes.index_removes))
    connection.executemany(sql["index_add"], sorted(changes.index_adds))
    connection.executemany(sql["request_add"], changes.requests)
    connection.executemany(
        sql["slot_revision_write"], [(revision, slot) for slot, revision in changes.revisions.items()]
    )
    ended = [hold for hold, journal_id in changes.holds.items() if journal_id is None]
    begun = [(*hold, journal_id) for hold, journal_id in changes.holds.items() if journal_id is not None]
    connection.executemany(sql["hold_remove"], ended)
    connection.executemany(sql["hold_add"], begun)
    execute(sql["file_projected_write"], (batch[-1][0], changes.keys))
    return changes.keys


def _gather(changes: _Changes, batch: Batch) -> None:
    """What needs no look at what is projected already."""
    newest, versions, requests, revisions = changes.newest, changes.versions, changes.requests, changes.revisions
    for numbered in batch:
        journal_id, row = numbered
        slot, key = row.slot, row.key
        revisions[slot] = row.revision
        if row.request_id:
            requests.append((row.request_id, row.principal, slot, journal_id))
        if (ended := ended_hold(row)) is not None:
            changes.holds[ended] = None
        if (begun := begun_hold(row)) is not None:
            changes.holds[begun] = journal_id
        if row.version:
            versions.append((segment_of(journal_id), slot, key, row.version, journal_id))
            newest[category_of_slot(slot), key, slot] = numbered


def _compare(changes: _Changes, place: tuple[int, str, int], old: tuple[int, str] | None) -> None:
    """What the newest change of a key means beside what is projected for it."""
    category, key, slot = place
    journal_id, row = changes.newest[place]
    live = row.body is not None
    indexes = row.indexes if live else {}
    text = indexes_text(indexes)
    was_live, old_text = old if old is not None else (0, "{}")
    changes.keys += live - was_live
    changes.states.append((category, key, slot, row.version, live, text, journal_id))
    if text != old_text:
        before, after = indexes_of(old_text).items(), indexes.items()
        changes.index_removes.extend((category, name, value, key, slot) for name, value in before - after)
        changes.index_adds.extend((category, name, value, key, slot) for name, value in after - before)
