"""The scaling policy under a simulated clock."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_state.actors.core.verl.policy import WINDOW, ScalingPolicy
from lightning_state.actors.settings import Settings, SettingsError, VerlSettings


def simulate(load: list[float], running: int = 1, tick_s: float = 0.5, **settings: Any) -> list[tuple[float, int]]:
    """(time, validators) of each change; `load` is one utilisation sample a tick."""
    policy = ScalingPolicy(VerlSettings(**settings))
    changes: list[tuple[float, int]] = []
    for tick, utilisation in enumerate(load):
        decision = policy.decide(running, utilisation, tick * tick_s)
        if decision.is_change:
            running = decision.desired
            changes.append((tick * tick_s, running))
    return changes


def test_a_saturated_pool_grows_to_the_most_allowed_and_waits_out_each_cool_down() -> None:
    changes = simulate([1.0] * 1_000)
    assert [count for _, count in changes] == [2, 3, 5]
    times = [time_s for time_s, _ in changes]
    assert all(later - earlier >= 60 for earlier, later in pairwise(times))


def test_an_idle_pool_shrinks_one_by_one_to_the_least_allowed() -> None:
    assert [count for _, count in simulate([0.0] * 1_000, running=5)] == [4, 3, 2, 1]


def test_between_the_thresholds_nothing_changes() -> None:
    assert simulate([0.5] * 500, running=3) == []


def test_exactly_at_the_thresholds_it_acts() -> None:
    assert simulate([0.70] * WINDOW, running=1)[0][1] == 2
    assert simulate([0.30] * WINDOW, running=2)[0][1] == 1


def test_one_busy_moment_is_not_load() -> None:
    assert simulate([0.4, 1.0, 0.4] * 100, running=2) == []


def test_it_does_not_shrink_into_overload() -> None:
    assert simulate([0.5] * 100, running=2, scale_down_at=0.5, scale_up_at=0.7) == []


def test_too_few_are_filled_up_at_once() -> None:
    assert simulate([0.0], running=0, min_validators=2) == [(0.0, 2)]


def test_too_many_are_reduced_at_once() -> None:
    assert simulate([0.9], running=7, max_validators=5) == [(0.0, 5)]


@given(st.lists(st.floats(0, 1), max_size=300), st.integers(0, 8))
def test_whatever_the_load_the_bounds_hold_after_the_first_decision(load: list[float], running: int) -> None:
    assert all(1 <= count <= 5 for _, count in simulate(load, running=running))


@pytest.mark.parametrize("verl", [{"min_validators": 6}, {"scale_down_at": 0.7}])
def test_settings_that_contradict_each_other_are_refused(verl: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Settings.read(verl=verl)
