"""The journal by itself: revisions, versions and epochs of each slot (C2, C9)."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_state.actors.core.rows import JournalRow, Op


def check_journal(rows: Iterable[JournalRow]) -> list[str]:
    """Violations. Rows come in the order they were committed.

    Per slot revisions are dense from 1 and epochs never go back; per key versions and times never go back, and go up by
    one unless the key did not exist; a bar changes no revision.
    """
    violations: list[str] = []
    revisions: dict[int, int] = {}
    epochs: dict[int, int] = {}
    last: dict[tuple[int, str], JournalRow] = {}
    for row in rows:
        if row.epoch < epochs.get(row.slot, 0):
            violations.append(f"written under an epoch that had ended: {row}")
        epochs[row.slot] = row.epoch
        expected = revisions.get(row.slot, 0) + (row.op is not Op.BAR)
        if row.revision != expected:
            violations.append(f"revision {expected} expected: {row}")
        revisions[row.slot] = row.revision
        if row.op is Op.BAR:
            continue
        before = last.get((row.slot, row.key))
        if before is not None and not _follows(before, row):
            violations.append(f"version does not follow: {before} then {row}")
        last[row.slot, row.key] = row
    return violations


def _follows(before: JournalRow, row: JournalRow) -> bool:
    if row.time_us < before.time_us:
        return False
    return row.version > before.version if before.body is None else row.version == before.version + 1
