"""How old cached reads are, and what a client's own reads may never do (C8)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lightning_state.actors.testing.history import Call, Kind, Outcome, by_key

BOUND_S = 3.0
"""What the contract promises of a cached read in the worst case."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """What a history shows of its cached reads."""

    reads: int
    """Cached reads that were judged."""
    stale: int
    """Those that returned what an acknowledged write had overwritten before they began."""
    largest_age_s: float
    """The longest time between such an acknowledgement and the beginning of the read; 0 without any."""
    worst: Call | None
    """The read of that age."""


def measure_staleness(history: Iterable[Call], *, unit_s: float = 1e-9) -> Staleness:
    """The ages of the cached reads of a history whose times are ticks of `unit_s`: nanoseconds by default.

    Age counts from the moment a newer version was acknowledged to the moment the read began: the least it can have
    been. An absence without a tombstone's version says nothing once the key may have been deleted; it is left out.
    Takes O(n log n).
    """
    ages = [(age * unit_s, read) for read, age in _ages(history)]
    worst_s, worst = max(ages, key=lambda pair: pair[0], default=(0.0, None))
    return Staleness(len(ages), sum(age_s > 0 for age_s, _ in ages), worst_s, worst if worst_s > 0 else None)


def check_staleness(history: Iterable[Call], *, bound_s: float = BOUND_S, unit_s: float = 1e-9) -> list[str]:
    """Violations: cached reads older than the bound, reads of a client that go back, own writes not seen.

    A client is whatever shares one cache, under one name; its calls may overlap. Takes O(n log n).
    """
    calls = list(history)
    return [violation for rule in _RULES for violation in rule(calls, bound_s / unit_s)]


def _too_old(calls: Sequence[Call], bound: float) -> Iterator[str]:
    for read, age in _ages(calls):
        if age > bound:
            yield f"older than {bound:.0f} ticks by {age - bound:.0f}: {read}"


def _goes_back(calls: Sequence[Call], bound: float) -> Iterator[str]:
    del bound
    yield from _missed(calls, "went back", lambda call: not call.writes)


def _own_write_not_seen(calls: Sequence[Call], bound: float) -> Iterator[str]:
    del bound
    yield from _missed(calls, "did not see the client's own write", lambda call: call.writes)


def _missed(calls: Sequence[Call], flaw: str, told: Callable[[Call], bool]) -> Iterator[str]:
    """Reads older than what their client had been told before they began."""
    for of_key in by_key(calls).values():
        by_client: dict[str, list[Call]] = {}
        for call in of_key:
            if call.outcome is Outcome.OK and call.kind is not Kind.RESOLVE:
                by_client.setdefault(call.client, []).append(call)
        versions = _Versions(of_key)
        for own in by_client.values():
            newest: tuple[int, Call] | None = None
            returns = sorted((call for call in own if told(call)), key=lambda call: call.returned)
            position = 0
            for call in own:
                while position < len(returns) and returns[position].returned < call.invoked:
                    version = versions.of(returns[position])
                    if version is not None and (newest is None or version > newest[0]):
                        newest = version, returns[position]
                    position += 1
                version = None if call.writes else versions.of(call)
                if newest is not None and version is not None and version < newest[0]:
                    yield f"{flaw}: {call} after {newest[1]}"


def _ages(calls: Iterable[Call]) -> Iterator[tuple[Call, int]]:
    """Each cached read that can be judged, with its age in ticks; 0 when nothing newer was acknowledged before."""
    for of_key in by_key(calls).values():
        versions = _Versions(of_key)
        for call in of_key:
            if not call.cached or call.kind is not Kind.READ or call.outcome is not Outcome.OK:
                continue
            version = versions.of(call)
            if version is not None:
                newer = versions.overwritten(version)
                yield call, max(0, call.invoked - newer) if newer is not None else 0


class _Versions:
    """The acknowledged versions of one key."""

    def __init__(self, calls: Sequence[Call]) -> None:
        writes = sorted(
            (call for call in calls if call.writes and call.outcome is Outcome.OK), key=lambda call: call.version
        )
        self._versions = [call.version for call in writes]
        self._first_returns: list[int] = []
        """Of each version and all later ones, the first acknowledgement."""
        for call in reversed(writes):
            earliest = self._first_returns[-1] if self._first_returns else call.returned
            self._first_returns.append(min(earliest, call.returned))
        self._first_returns.reverse()
        deletes = (c.invoked for c in calls if c.kind is Kind.DELETE and c.outcome is not Outcome.REFUSED)
        self._first_delete = min(deletes, default=None)

    def of(self, call: Call) -> int | None:
        """The version a call read or wrote; None for an absence that may be any deletion's."""
        deleted = self._first_delete is not None and self._first_delete < call.returned
        return None if not call.version and deleted else call.version

    def overwritten(self, version: int) -> int | None:
        """When a newer one was acknowledged for the first time."""
        position = bisect_right(self._versions, version)
        return self._first_returns[position] if position < len(self._first_returns) else None


_RULES: tuple[Callable[[Sequence[Call], float], Iterator[str]], ...] = (_too_old, _goes_back, _own_write_not_seen)
