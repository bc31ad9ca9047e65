"""Locks as clients saw them (C6): what can be judged without the owner's clock, with certainty only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lightning_state.actors.testing.history import NEVER, Call, Outcome, Token
from lightning_state.actors.testing.lock_history import LockHold


def check_lock_holders(holds: Iterable[LockHold], calls: Iterable[Call] = ()) -> list[str]:
    """Violations in what clients were told of locks, and of their writes (`Call.token` is the token a write carried).

    A lease surely lives from the answer that grants or renews it until a TTL after that was asked for, or until
    its holder asks for its release. While it does, nobody else is granted the lock and no write without a token is
    acknowledged. Tokens are unique, and agree with real time. No write is acknowledged under a token once a newer grant
    was told, or its release. Who is known to wait is granted before those who ask later, under one owner.

    A holder that was stopped past its TTL still believes in its lock: that is allowed, its write is not. What needs the
    owner's clock, such as a write just after the end of a lease, is for `check_locks`. Takes O(n log n).
    """
    by_key: dict[str, _Key] = {}
    for hold in holds:
        by_key.setdefault(hold.key, _Key([], [])).holds.append(hold)
    for call in calls:
        if call.writes and call.outcome is Outcome.OK:
            by_key.setdefault(call.key, _Key([], [])).writes.append(call)
    return [violation for rule in _RULES for key in by_key.values() for violation in rule(key)]


@dataclass(frozen=True, slots=True)
class _Key:
    holds: list[LockHold]
    writes: list[Call]
    """Acknowledged."""

    @property
    def granted(self) -> list[tuple[Token, LockHold]]:
        """In the order of their answers."""
        told = [(hold.token, hold) for hold in self.holds if hold.outcome is Outcome.OK and hold.token is not None]
        return sorted(told, key=lambda pair: pair[1].returned)


class _Running:
    """The greatest value told up to a moment."""

    def __init__(self, told: Sequence[tuple[int, tuple[int, ...], LockHold]]) -> None:
        ordered = sorted(told, key=lambda each: each[0])
        self._moments = [moment for moment, _, _ in ordered]
        self._greatest = list(accumulate(((value, hold) for _, value, hold in ordered), _greater))

    def before(self, moment: int) -> tuple[tuple[int, ...], LockHold] | None:
        position = bisect_right(self._moments, moment - 1)
        return self._greatest[position - 1] if position else None


def _greater(
    one: tuple[tuple[int, ...], LockHold], other: tuple[tuple[int, ...], LockHold]
) -> tuple[tuple[int, ...], LockHold]:
    return other if other[0] > one[0] else one


def _tokens_are_unique(key: _Key) -> Iterator[str]:
    first: dict[Token, LockHold] = {}
    for token, hold in key.granted:
        if first.setdefault(token, hold) is not hold:
            yield f"one token for two grants: {first[token]} and {hold}"


def _tokens_follow_time(key: _Key) -> Iterator[str]:
    told = _Running([(hold.returned, token, hold) for token, hold in key.granted])
    for token, hold in key.granted:
        before = told.before(hold.invoked)
        if before is not None and before[0] > token:
            yield f"a later grant has a smaller token: {hold} after {before[1]}"


def _sure(key: _Key) -> _Running:
    """Of the leases that surely began to live by a moment, the one that surely lives longest."""
    return _Running([(start, (end,), hold) for _, hold in key.granted for start, end in hold.sure])


def _one_at_a_time(key: _Key) -> Iterator[str]:
    sure = _sure(key)
    for _, hold in key.granted:
        other = sure.before(hold.invoked)
        if other is not None and other[0][0] > hold.returned:
            yield f"granted while another lease surely lived: {hold} and {other[1]}"


def _locked_means_locked(key: _Key) -> Iterator[str]:
    sure = _sure(key)
    for write in key.writes:
        hold = sure.before(write.invoked)
        if write.token is None and hold is not None and hold[0][0] > write.returned:
            yield f"written without a token while a lease surely lived: {write} and {hold[1]}"


def _stale_tokens(key: _Key) -> Iterator[str]:
    told = _Running([(hold.returned, token, hold) for token, hold in key.granted])
    for write in key.writes:
        newest = told.before(write.invoked)
        if write.token is not None and newest is not None and newest[0] > write.token:
            yield f"a stale token was accepted: {write} after {newest[1]}"


def _released_tokens(key: _Key) -> Iterator[str]:
    released = {token: hold.released[1] for token, hold in key.granted if hold.released}
    for write in key.writes:
        if write.token is not None and write.invoked > released.get(write.token, NEVER):
            yield f"a released token was accepted: {write}"


def _first_come_first_served(key: _Key) -> Iterator[str]:
    waited: dict[int, LockHold] = {}
    """Epoch → of the grants with greater tokens than the one looked at, who waited first, under that owner alone."""
    for (epoch, _), hold in sorted(key.granted, key=lambda pair: pair[0], reverse=True):
        first = waited.get(epoch)
        if first is not None and first.queued is not None and first.queued[0] < hold.invoked:
            yield f"overtook one that waited: {hold} before {first}"
        if hold.queued is not None and hold.queued[1] == epoch:
            waited[epoch] = min((each for each in (first, hold) if each), key=lambda each: (each.queued or (NEVER,))[0])


_RULES: tuple[Callable[[_Key], Iterator[str]], ...] = (
    _tokens_are_unique,
    _tokens_follow_time,
    _one_at_a_time,
    _locked_means_locked,
    _stale_tokens,
    _released_tokens,
    _first_come_first_served,
)
