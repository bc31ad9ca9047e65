"""One place judges a run: found, void or valid."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightning_state.actors.testing.checkers.linearizability import check_linearizability
from lightning_state.actors.testing.history import NEVER, Call, Kind, Outcome
from lightning_state.actors.testing.verdict import FaultProof, Floor, Standing, Verdict, judge_run

SECOND = 10**9
KILLED = FaultProof(name="kill -9 of shard 0", at=2 * SECOND, evidence="process 4711 gone from /proc")


def traffic(first: int, last: int, every: int = SECOND // 100) -> list[Call]:
    return [
        Call(client="w", kind=Kind.SET, key="k", invoked=moment, returned=moment + 1, outcome=Outcome.OK)
        for moment in range(first, last, every)
    ]


STRONG = [*traffic(0, 2 * SECOND), *traffic(3 * SECOND, 4 * SECOND)]


def silent() -> list[str]:
    return []


def judged(history: list[Call], *faults: FaultProof, floor: Floor | None = None) -> Verdict:
    return judge_run(history, {"checker": silent}, faults=faults, floor=floor)


def test_a_strong_run_without_violations_is_valid() -> None:
    assert judged(STRONG, KILLED) == Verdict()
    assert judged(STRONG, KILLED).standing is Standing.VALID
    assert judged(traffic(0, 2 * SECOND)).standing is Standing.VALID


VOID: dict[str, tuple[Verdict, str]] = {
    "nothing done": (judged([]), "0 operations were acknowledged"),
    "too little in all": (judged(traffic(0, SECOND // 2)), "50 operations were acknowledged, of 100"),
    "too slow before the fault": (
        judged([*traffic(0, 2 * SECOND, SECOND // 10), *traffic(3 * SECOND, 5 * SECOND)], KILLED),
        "below 50/s",
    ),
    "nothing before the fault": (
        judged(traffic(3 * SECOND, 5 * SECOND), replace(KILLED, at=1)),
        "0 operations in",
    ),
    "too slow without a fault": (judged(traffic(0, 20 * SECOND, SECOND // 10)), "below 50/s"),
    "a fault without proof": (judged(STRONG, replace(KILLED, evidence="")), "nothing shows that a fault took effect"),
    "no success after the fault": (judged(traffic(0, 2 * SECOND), KILLED), "0 operations succeeded after kill -9"),
    "no success after the second fault": (
        judged(STRONG, KILLED, replace(KILLED, name="second", at=5 * SECOND)),
        "succeeded after second",
    ),
    "a success that began before the fault": (
        judged([*traffic(0, 2 * SECOND), replace(STRONG[0], invoked=2 * SECOND - 1, returned=3 * SECOND)], KILLED),
        "0 operations succeeded after",
    ),
    "nothing checked": (judge_run(STRONG, {}), "nothing was checked"),
}


@pytest.mark.parametrize("name", VOID)
def test_a_weak_run_is_void(name: str) -> None:
    verdict, reason = VOID[name]
    assert verdict.standing is Standing.VOID
    (found,) = verdict.void
    assert reason in found


def test_what_failed_or_is_unknown_is_no_traffic() -> None:
    history = [replace(each, outcome=Outcome.UNKNOWN, returned=NEVER) for each in traffic(0, 2 * SECOND)]
    assert judged(history).standing is Standing.VOID


def test_a_violation_stands_even_in_a_weak_run() -> None:
    verdict = judge_run([], {"order": lambda: ["went back"], "other": silent})
    assert verdict.standing is Standing.VIOLATED
    assert verdict.violations == ("order: went back",)
    assert str(verdict).startswith("violated\n  order: went back\n  void: 0 operations")


def test_a_checker_that_breaks_has_failed() -> None:
    def broken() -> list[str]:
        raise RecursionError("too deep")

    assert judge_run(STRONG, {"search": broken}).violations == (
        "search: the checker failed: RecursionError('too deep')",
    )


def test_a_checker_that_runs_out_of_its_budget_has_failed() -> None:
    unknowns = [
        Call(client="w", kind=Kind.SET, key="k", invoked=n, mark=f"m{n}", status="s", request_id=f"m{n}")
        for n in range(12)
    ]
    read = Call(
        client="r", kind=Kind.READ, key="k", invoked=20, returned=21, outcome=Outcome.OK, version=3, seen=("?", "s")
    )
    verdict = judge_run(STRONG, {"search": lambda: check_linearizability([*unknowns, read], budget=50)})
    assert verdict.standing is Standing.VIOLATED
    assert "undecided" in verdict.violations[0]


def test_the_floor_can_be_set() -> None:
    low = Floor(operations=10, operations_per_s=1.0)
    assert judged(traffic(0, 2 * SECOND, SECOND // 10), floor=low).standing is Standing.VALID
    high = Floor(successes_after=1_000)
    assert judged(STRONG, KILLED, floor=high).standing is Standing.VOID
