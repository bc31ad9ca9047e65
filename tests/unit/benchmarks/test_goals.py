"""Ratios come from recorded figures and nothing else; what was not measured is said, never made up."""

from __future__ import annotations

import msgspec
import pytest

from lightning_state.cluster.benchmarks.expected import FLOORS, RATIOS, WAYS
from lightning_state.cluster.benchmarks.goals import NOT_IN_THIS_RUN, Goal, Of, Relation, judge
from lightning_state.cluster.benchmarks.statistics import figure_of_durations, figure_of_values

FIGURES = {
    "us/get": figure_of_durations([[10.0, 10.0, 40.0], [20.0, 20.0, 80.0]]),
    "them/get": figure_of_durations([[100.0], [300.0]]),
    "us/rate": figure_of_values("1/s", [900.0, 1_100.0]),
    "them/rate": figure_of_values("1/s", [100.0, 110.0]),
}


def goal(relation: Relation, ours: str, peer: str | None, bound: float, **options: bool) -> Goal:
    return Goal("claim", relation, Of(ours), Of(peer) if peer else None, "x", {"goal": bound}, **options)


@pytest.mark.parametrize(
    ("relation", "ours", "peer", "measured", "spread"),
    [
        ("times faster", "us/get", "them/get", 5.0, (10.0, 15.0)),
        ("times the cost", "us/get", "them/get", 0.2, (0.06667, 0.1)),
        ("times as many", "us/rate", "them/rate", 9.524, (9.0, 10.0)),
        ("difference", "us/rate", "them/rate", 895.0, (800.0, 990.0)),
        ("absolute", "us/get", None, 20.0, (10.0, 20.0)),
    ],
)
def test_a_relation_is_of_the_whole_and_of_each_round(
    relation: Relation, ours: str, peer: str | None, measured: float, spread: tuple[float, float]
) -> None:
    judged = judge(goal(relation, ours, peer, 1.0), FIGURES, {})
    assert judged.measured == measured
    assert judged.spread == spread


@pytest.mark.parametrize(
    ("bound", "at_most", "verdict"),
    [(5.0, False, "met"), (5.1, False, "short"), (5.0, True, "met"), (4.9, True, "short")],
)
def test_a_bound_that_is_just_reached_is_met(bound: float, at_most: bool, verdict: str) -> None:
    judged = judge(goal("times faster", "us/get", "them/get", bound, at_most=at_most), FIGURES, {})
    assert judged.verdicts == {"goal": verdict}
    assert judged.is_short == (verdict == "short")


def test_a_missed_stretch_is_not_short() -> None:
    stretched = msgspec.structs.replace(
        goal("times faster", "us/get", "them/get", 1.0), levels={"goal": 1.0, "stretch": 9.0}
    )
    judged = judge(stretched, FIGURES, {})
    assert judged.verdicts == {"goal": "met", "stretch": "short"}
    assert not judged.is_short


@pytest.mark.parametrize(
    ("ours", "peer", "reason"),
    [
        ("us/get", "gone/get", "not installed"),
        ("us/none", "them/get", NOT_IN_THIS_RUN),
        ("us/set", "them/get", "no such thing here"),
    ],
)
def test_what_was_not_measured_has_no_figure_but_a_reason(ours: str, peer: str, reason: str) -> None:
    absent = {"gone": "not installed", "us/set": "no such thing here"}
    judged = judge(goal("times faster", ours, peer, 1.0), FIGURES, absent)
    assert (judged.measured, judged.spread, judged.reason) == (None, None, reason)
    assert judged.verdicts == {"goal": "not measured"}
    assert not judged.is_short


def test_a_statistic_that_a_figure_has_not_is_not_measured() -> None:
    tail = Goal("claim", "absolute", Of("us/rate", "p99"), None, "1/s", {"goal": 1.0})
    assert judge(tail, FIGURES, {}).measured is None


def test_units_are_converted_by_the_goals_scale() -> None:
    in_ms = Goal("claim", "absolute", Of("us/get", "p95"), None, "ms", {"floor": 5.0}, at_most=True, scale=1e-3)
    assert judge(in_ms, FIGURES, {}).measured == 0.08


def test_every_claim_is_made_once_and_every_floor_over_each_way() -> None:
    claims = [goal.claim for goal in RATIOS]
    assert len(set(claims)) == len(claims)
    floors = {way: [goal.claim for goal in FLOORS[way]] for way in WAYS}
    assert floors["channel"] == floors["actor handle"] == floors["http"]
    assert {goal.ours.side for way in WAYS for goal in FLOORS[way]} == set(WAYS)
