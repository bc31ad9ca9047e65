"""What clients were told, against what the journal holds at the end (C3, C5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.testing.history import Call, Kind, Outcome


def check_acknowledged(history: Iterable[Call], rows: Sequence[JournalRow]) -> list[str]:
    """Violations.

    Acknowledged writes are present once, under the version told; refused ones are absent; unknown ones are present once
    or absent; a request said to be not applied is absent; nothing is present that nobody asked for.
    """
    violations: list[str] = []
    present: dict[str, JournalRow] = {}
    for row in rows:
        if row.op is Op.BAR:
            continue
        if row.request_id in present:
            violations.append(f"applied twice: {present[row.request_id]} and {row}")
        present[row.request_id] = row
    asked: set[str] = set()
    for call in history:
        if call.writes:
            asked.add(call.request_id)
        _check(call, present.get(call.request_id), violations)
    violations.extend(f"nobody asked for {present[name]}" for name in present if name not in asked)
    return violations


def _check(call: Call, row: JournalRow | None, violations: list[str]) -> None:
    applied = call.outcome is Outcome.OK and (call.writes or (call.kind is Kind.RESOLVE and call.version > 0))
    refused = (call.writes and call.outcome is Outcome.REFUSED) or (
        call.kind is Kind.RESOLVE and call.outcome is Outcome.OK and call.version == 0
    )
    if applied and (row is None or row.version != call.version or row.key != call.key):
        violations.append(f"acknowledged but not stored so: {call} but {row}")
    elif refused and row is not None:
        violations.append(f"refused but stored: {call} but {row}")
