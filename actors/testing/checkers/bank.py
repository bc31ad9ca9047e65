"""Money between accounts (C4): transfers move it, nothing makes or loses any."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from lightning_state.actors.testing.history import Outcome
from lightning_state.actors.testing.transaction_history import BankSnapshot, Transfer


def check_bank(
    initial: Mapping[str, int],
    transfers: Iterable[Transfer],
    snapshots: Iterable[BankSnapshot],
    *,
    overdraft: bool = False,
) -> list[str]:
    """Violations.

    Every snapshot shows every account and the same total; no balance is below 0 unless `overdraft`; and each balance
    lies between what the transfers explain: those acknowledged before the snapshot began are in it, those under way or
    in doubt may be, aborted ones and those that began after it are not. A transfer in doubt moves no total, so it
    excuses none. Which of several transfers in doubt happened is not searched for: a balance inside its bounds passes.

    Takes O((transfers + snapshots × accounts) × log transfers).
    """
    bank = _Bank(initial, list(snapshots), overdraft, _moves(initial, list(transfers)))
    return [violation for rule in _RULES for violation in rule(bank)]


class _Sums:
    """Amounts by moment: how much there was before one."""

    def __init__(self, amounts: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(amounts)
        self._moments = [moment for moment, _ in ordered]
        self._totals = [0, *accumulate(amount for _, amount in ordered)]

    def before(self, moment: int) -> int:
        return self._totals[bisect_left(self._moments, moment)]

    def until(self, moment: int) -> int:
        return self._totals[bisect_right(self._moments, moment)]


@dataclass(frozen=True, slots=True)
class _Moves:
    """The money of one account: what may have moved, by when it began; what must have, by when it was acknowledged."""

    may_come: _Sums
    may_go: _Sums
    must_come: _Sums
    must_go: _Sums


@dataclass(frozen=True, slots=True)
class _Bank:
    initial: Mapping[str, int]
    snapshots: Sequence[BankSnapshot]
    overdraft: bool
    moves: Mapping[str, _Moves]


def _moves(initial: Mapping[str, int], transfers: Sequence[Transfer]) -> dict[str, _Moves]:
    may = [each for each in transfers if each.outcome is not Outcome.REFUSED]
    must = [each for each in transfers if each.outcome is Outcome.OK]
    found: dict[str, tuple[list[tuple[int, int]], ...]] = {account: ([], [], [], []) for account in initial}
    for each in may:
        found.setdefault(each.target, ([], [], [], []))[0].append((each.invoked, each.amount))
        found.setdefault(each.source, ([], [], [], []))[1].append((each.invoked, each.amount))
    for each in must:
        found[each.target][2].append((each.returned, each.amount))
        found[each.source][3].append((each.returned, each.amount))
    return {account: _Moves(*map(_Sums, amounts)) for account, amounts in found.items()}


def _accounts(bank: _Bank) -> Iterator[str]:
    for snapshot in bank.snapshots:
        if snapshot.balances.keys() != bank.initial.keys():
            yield f"accounts differ from {sorted(bank.initial)}: {snapshot}"


def _total(bank: _Bank) -> Iterator[str]:
    total = sum(bank.initial.values())
    for snapshot in bank.snapshots:
        if snapshot.balances.keys() == bank.initial.keys() and sum(snapshot.balances.values()) != total:
            yield f"the total is {sum(snapshot.balances.values())} instead of {total}: {snapshot}"


def _overdraft(bank: _Bank) -> Iterator[str]:
    for snapshot in bank.snapshots:
        below = {account: balance for account, balance in snapshot.balances.items() if balance < 0}
        if below and not bank.overdraft:
            yield f"below 0: {below} in {snapshot}"


def _bounds(bank: _Bank) -> Iterator[str]:
    for snapshot in bank.snapshots:
        for account in snapshot.balances.keys() & bank.initial.keys():
            moves, start = bank.moves[account], bank.initial[account]
            least = start + moves.must_come.before(snapshot.invoked) - moves.may_go.until(snapshot.returned)
            most = start + moves.may_come.until(snapshot.returned) - moves.must_go.before(snapshot.invoked)
            if not least <= snapshot.balances[account] <= most:
                yield f"transfers explain {least} to {most} in {account!r}: {snapshot}"


_RULES: tuple[Callable[[_Bank], Iterator[str]], ...] = (_accounts, _total, _overdraft, _bounds)
