"""Quantiles, spreads and what is recorded in turns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_state.cluster.benchmarks.errors import BenchmarkError
from lightning_state.cluster.benchmarks.measuring import Operation, Record, Round, in_flight, in_turns, one_by_one, run
from lightning_state.cluster.benchmarks.statistics import (
    figure_of_durations,
    figure_of_values,
    quantiles,
    significant,
)

DURATIONS = st.lists(st.integers(1, 9_999).map(float), min_size=1, max_size=300)


@given(DURATIONS)
def test_a_quantile_is_the_least_value_that_so_many_do_not_exceed(values: list[float]) -> None:
    found = quantiles(values)
    for share, value in ((0.50, found.p50), (0.95, found.p95), (0.99, found.p99)):
        assert value in values
        assert sum(each <= value for each in values) >= share * len(values)
        assert sum(each < value for each in values) < share * len(values)


def test_quantiles_of_a_hundred_are_the_values_of_that_rank() -> None:
    found = quantiles(float(value) for value in range(100, 0, -1))
    assert (found.p50, found.p95, found.p99) == (50, 95, 99)


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing"):
        figure_of_durations([[]])
    with pytest.raises(ValueError, match="no round"):
        figure_of_values("s", [])


def test_a_figure_is_of_all_samples_and_has_each_round() -> None:
    figure = figure_of_durations([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    assert (figure.samples, figure.p50, figure.p99) == (6, 3.0, 30.0)
    assert (figure.rounds_p50, figure.rounds_p95) == ([2.0, 20.0], [3.0, 30.0])
    assert figure.of("p95") == 30.0
    assert figure.rounds("p99") == [3.0, 30.0]


def test_values_have_a_median_and_no_tail() -> None:
    figure = figure_of_values("1/s", [300.0, 100.0, 250.0])
    assert (figure.p50, figure.p99, figure.rounds_p50) == (250.0, None, [300.0, 100.0, 250.0])


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, 0.0), (1.23456, 1.235), (123_456.7, 123_500.0), (-0.0012344, -0.001234)]
)
def test_four_digits_are_kept(value: float, shown: float) -> None:
    assert significant(value) == shown


class Noting:
    """A side that notes when it was its turn."""

    def __init__(self, name: str, can: tuple[str, ...], order: list[str]) -> None:
        self.name = name
        self._can = can
        self._order = order

    def warm_up(self) -> None: ...

    def operations(self) -> Mapping[str, Operation]:
        return {what: lambda what=what: self._did(what) for what in self._can}

    def _did(self, what: str) -> Round:
        self._order.append(f"{self.name}/{what}")
        return Round([1.0], {"per second": (7.0, "1/s")})


def test_sides_take_turns_within_each_operation_and_round() -> None:
    order: list[str] = []
    record = Record()
    sides = [Noting("a", ("get", "set"), order), Noting("b", ("get",), order)]
    in_turns(sides, ("get", "set"), 2, record, lambda _: None)
    assert order == ["a/get", "b/get", "a/set"] * 2
    figures = record.figures()
    assert {name: figure.samples for name, figure in figures.items()} == {
        "a/get": 2,
        "a/get: per second": 2,
        "a/set": 2,
        "a/set: per second": 2,
        "b/get": 2,
        "b/get: per second": 2,
    }


def test_one_by_one_calls_as_often_as_asked() -> None:
    turns: list[int] = []
    measured = one_by_one(turns.append, 5)
    assert turns == [0, 1, 2, 3, 4]
    assert len(measured.durations_us) == 5
    assert measured.values["per second"][0] > 0


def test_as_many_as_there_are_lanes_are_under_way_and_no_more() -> None:
    turns: list[int] = []
    waiting = most = 0

    async def call(_lane: int, turn: int) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await asyncio.sleep(0)
        waiting -= 1
        turns.append(turn)

    measured = run(in_flight(call, 50, 8))
    assert (sorted(turns), most) == (list(range(50)), 8)
    assert len(measured.durations_us) == 50


def test_a_call_that_fails_ends_the_load_with_its_own_error() -> None:
    async def call(_lane: int, turn: int) -> None:
        await asyncio.sleep(0)
        if turn == 5:
            raise BenchmarkError("five")

    with pytest.raises(BenchmarkError, match="five"):
        run(in_flight(call, 50, 8))
