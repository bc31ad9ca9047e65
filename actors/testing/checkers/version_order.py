"""Version order, in linear time over every operation (C1, C2)."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_state.actors.testing.history import Call, Kind, Outcome, Seen, by_key


def check_version_order(history: Iterable[Call]) -> list[str]:
    """Violations in a history whose unknown writes may or may not have happened.

    Each version is written once; real-time order agrees with version order; what a read returns was written under that
    version; no read is older than a version acknowledged before it began. An absence without a tombstone (version 0)
    names no version and is left to the linearizability checker.
    """
    violations: list[str] = []
    for calls in by_key(history).values():
        known = [call for call in calls if call.outcome is Outcome.OK and call.kind is not Kind.RESOLVE]
        written = _written_once(known, violations)
        _reads_were_written(calls, known, written, violations)
        _real_time(known, violations)
    return violations


def _written_once(known: list[Call], violations: list[str]) -> dict[int, Call]:
    written: dict[int, Call] = {}
    for call in (call for call in known if call.writes):
        first = written.setdefault(call.version, call)
        if first is not call:
            violations.append(f"version written twice: {first} and {call}")
    return written


def _reads_were_written(calls: list[Call], known: list[Call], written: dict[int, Call], violations: list[str]) -> None:
    unknown = [call for call in calls if call.writes and call.outcome is Outcome.UNKNOWN]
    for read in known:
        if read.writes or not read.version:
            continue
        write = written.get(read.version)
        if write is not None and write.seen != read.seen:
            violations.append(f"read something else than was written: {read} but {write}")
        elif write is not None and write.invoked > read.returned:
            violations.append(f"read from the future: {read} but {write}")
        elif write is None and not any(_may_have_left(call, read.seen, read.returned) for call in unknown):
            violations.append(f"read what nobody wrote: {read}")


def _may_have_left(unknown: Call, seen: Seen | None, before: int) -> bool:
    if unknown.invoked > before or (unknown.kind is Kind.DELETE) != (seen is None):
        return False
    return seen is None or (unknown.mark in ("", seen[0]) and unknown.status in ("", seen[1]))


def _real_time(known: list[Call], violations: list[str]) -> None:
    """Whoever began after another had returned saw its version or a later one; a write, a later one."""
    returns = sorted((call for call in known if call.version), key=lambda call: call.returned)
    newest: Call | None = None
    position = 0
    for call in (call for call in known if call.version):
        while position < len(returns) and returns[position].returned < call.invoked:
            if newest is None or returns[position].version > newest.version:
                newest = returns[position]
            position += 1
        if newest is not None and call.version < newest.version + call.writes:
            violations.append(f"went back in time: {call} began after {newest}")
