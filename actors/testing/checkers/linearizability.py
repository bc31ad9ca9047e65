"""Linearizability of each key: Wing and Gong's search with Lowe's memo of configurations (C1).

Sources: J. Wing and C. Gong, "Testing and verifying concurrent objects", 1993; G. Lowe, "Testing for linearizability",
2017: a set of linearized calls together with the state it led to need not be tried twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightning_state.actors.core.messages import ANY
from lightning_state.actors.testing.history import NEVER, Call, Kind, Outcome, Seen, by_key

State = tuple[int, Seen | None]
"""A key's version and what is stored; a deleted key keeps its tombstone's version."""

_BUDGET = 200_000


def check_linearizability(history: Iterable[Call], *, budget: int = _BUDGET) -> list[str]:
    """Violations: keys whose calls have no order that agrees with real time and with a versioned register.

    A call of unknown outcome may take effect at any time after its invocation, or never. A key whose search exceeds the
    budget (configurations tried) is a violation too: a checker that runs out of time has failed.
    """
    violations: list[str] = []
    for key, calls in by_key(history).items():
        relevant = [call for call in calls if _says_something(call)]
        verdict = _search(relevant, budget)
        if verdict:
            violations.append(f"key {key!r}: {verdict}")
    return violations


def _says_something(call: Call) -> bool:
    if call.kind is Kind.RESOLVE:
        return False
    if call.outcome is Outcome.REFUSED:
        return call.observed is not None
    return call.outcome is Outcome.OK or call.writes


def _search(calls: list[Call], budget: int) -> str:
    """Empty, or what is wrong. Depth-first, by an explicit stack of (linearized so far, state, next choices)."""
    count = len(calls)
    required = 0
    for index, call in enumerate(calls):
        if call.returned != NEVER:
            required |= 1 << index
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, int, State]] = [(0, 0, (0, None))]
    deepest = (0, 0)
    while stack:
        first, done, state = stack.pop()
        while first < count and done >> first & 1:
            first += 1
        if not required & ~done:
            return ""
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > budget:
            return f"undecided after {budget} configurations"
        progress = (done & required).bit_count()
        if progress >= deepest[0]:
            deepest = (progress, done)
        stack.extend(_choices(calls, first, done, state))
    stuck = next(index for index in range(count) if required >> index & 1 and not deepest[1] >> index & 1)
    return f"no order explains {calls[stuck]} (of {count} calls)"


def _choices(calls: list[Call], first: int, done: int, state: State) -> list[tuple[int, int, State]]:
    """Each call that may come next: not done yet, and invoked before every other open call returned."""
    found: list[tuple[int, int, State]] = []
    horizon = NEVER + 1
    for index in range(first, len(calls)):
        call = calls[index]
        if call.invoked > horizon:
            break
        if done >> index & 1:
            continue
        horizon = min(horizon, call.returned)
        after = step(call, state)
        if after is not None:
            found.append((first, done | 1 << index, after))
    found.reverse()
    return found


def step(call: Call, state: State) -> State | None:
    """The state after a call that ended as recorded, if it may begin in this state; None if it may not."""
    version, seen = state
    live = version if seen is not None else 0
    if call.outcome is Outcome.REFUSED:
        return state if call.observed == live else None
    if call.kind is Kind.READ:
        # An absence is told with the tombstone's version while that is retained, and with 0 after.
        same = seen == call.seen and (call.version == version or (seen is None and call.version == 0))
        return state if same else None
    if call.expected not in (ANY, live) or (seen is None and call.kind is not Kind.SET):
        return None
    after = _after(call, seen)
    if call.outcome is Outcome.UNKNOWN:
        return version + 1, after
    # After tombstones are dropped a key is created above the slot's floor, which may be higher than its last version.
    follows = call.version == version + 1 if seen is not None else call.version > version
    return (call.version, after) if follows and call.seen == after else None


def _after(call: Call, seen: Seen | None) -> Seen | None:
    if call.kind is Kind.DELETE:
        return None
    mark, status = seen or ("", "")
    return call.mark or mark, call.status or status
