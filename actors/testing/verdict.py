"""The one place that judges a run: what its checkers found, and whether the run was worth anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from lightning_state.actors.testing.history import Outcome


class Operation(Protocol):
    """Anything a client did: a call, a transaction, a transfer, the taking of a lock."""

    @property
    def invoked(self) -> int:
        """When it began."""
        ...

    @property
    def returned(self) -> int:
        """When its outcome was told."""
        ...

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        ...


class Standing(StrEnum):
    """What a run is worth."""

    VALID = "valid"
    """It was hard enough, and nothing was found."""
    VOID = "void"
    """Nothing was found, but the run was too weak to say so."""
    VIOLATED = "violated"
    """Something was found, or a checker did not come to an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultProof:
    """One fault that was injected, and what shows that it took effect."""

    name: str
    """What was done to whom."""
    at: int
    """When it took effect, in the unit of the history."""
    evidence: str
    """Process gone, packets counted, error seen; empty: nothing shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What a run must have done to count."""

    operations: int = 100
    """Acknowledged, in all."""
    operations_per_s: float = 50.0
    """Acknowledged, from the beginning to the first fault, or to the end of a run without any."""
    successes_after: int = 1
    """Begun after a fault and acknowledged, for each fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A run, judged. What was found stands even if the run was weak."""

    violations: tuple[str, ...] = ()
    """Each with its checker's name in front."""
    void: tuple[str, ...] = ()
    """Why the run proves nothing."""

    @property
    def standing(self) -> Standing:
        """Only VALID is green."""
        if self.violations:
            return Standing.VIOLATED
        return Standing.VOID if self.void else Standing.VALID

    def __str__(self) -> str:
        return "\n  ".join([self.standing, *self.violations, *(f"void: {reason}" for reason in self.void)])


def judge_run(
    history: Iterable[Operation],
    checks: Mapping[str, Callable[[], Sequence[str]]],
    *,
    faults: Sequence[FaultProof] = (),
    floor: Floor | None = None,
    unit_s: float = 1e-9,
) -> Verdict:
    """Run every check and judge the run by them and by its history, whose times are ticks of `unit_s`.

    A check returns its violations. One that raises has failed, like one that says it could not decide within its
    budget: both are violations.
    """
    violations = tuple(f"{name}: {found}" for name, check in checks.items() for found in _outcome_of(check))
    reasons = _weaknesses(list(history), faults, floor or Floor(), unit_s)
    return Verdict(violations=violations, void=(*(() if checks else ("nothing was checked",)), *reasons))


def _outcome_of(check: Callable[[], Sequence[str]]) -> Sequence[str]:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  # whatever stops a checker, its run is not green
        return [f"the checker failed: {error!r}"]


def _weaknesses(
    history: Sequence[Operation], faults: Sequence[FaultProof], floor: Floor, unit_s: float
) -> Iterator[str]:
    done = [each for each in history if each.outcome is Outcome.OK]
    if len(done) < floor.operations:
        yield f"{len(done)} operations were acknowledged, of {floor.operations} that a run needs"
    if done:
        began = min(each.invoked for each in history)
        end = min((fault.at for fault in faults), default=max(each.returned for each in done))
        before = sum(each.returned <= end for each in done)
        duration_s = (end - began) * unit_s
        if before < floor.operations_per_s * duration_s or before == 0:
            rate = f"{before} operations in {duration_s:.3f} s"
            yield f"{rate} before the first fault: below {floor.operations_per_s:g}/s"
    for fault in faults:
        if not fault.evidence:
            yield f"nothing shows that a fault took effect: {fault.name}"
        after = sum(each.invoked > fault.at for each in done)
        if after < floor.successes_after:
            yield f"{after} operations succeeded after {fault.name}, of {floor.successes_after} that a run needs"
