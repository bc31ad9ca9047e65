"""The real benchmark with tiny counts: it runs to its end, and every ratio follows from the figures in its file."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from lightning_state import StateClient
from lightning_state.cluster.benchmarks.expected import FLOORS, RATIOS
from lightning_state.cluster.benchmarks.sides.keys import KeysSide
from lightning_state.cluster.cli.app import main
from lightning_state.cluster.service import Service

pytestmark = pytest.mark.timeout(240)

ARGUMENTS = ["bench", "--quick", "--rounds", "1", "--calls", "20", "--kills", "1"]
COMPARED = {"channel", "actor handle", "http", "plain actor", "redis", "postgres", "constant route", "service"}
NEVER = {"etcd", "langgraph PostgresStore", "agent lightning store server"}


@pytest.fixture(scope="module")
def signals_restored() -> Generator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def result(
    ray_cluster: None,  # noqa: ARG001  # Ray runs
    signals_restored: None,  # noqa: ARG001  # the command takes Ctrl-C for itself
) -> Generator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to the user PostgreSQL runs as under root
        directory = Path(name)
        directory.chmod(0o755)
        file = directory / "new" / "figures.json"
        assert main([*ARGUMENTS, "--json", str(file), "--directory", name]) == 0
        assert [path.name for path in directory.iterdir()] == ["new"], "it cleans up after itself"
        yield json.loads(file.read_text())


def statistic(result: dict[str, Any], of: dict[str, Any]) -> float:
    return result["figures"][of["figure"]][of.get("statistic", "p50")]


def recomputed(result: dict[str, Any], goal: dict[str, Any]) -> float:
    ours = statistic(result, goal["ours"])
    peer = statistic(result, goal["peer"]) if goal["peer"] else None
    match goal["relation"]:
        case "absolute":
            return ours * goal["scale"]
        case "times faster":
            assert peer is not None
            return peer / ours
        case "times as many" | "times the cost":
            assert peer is not None
            return ours / peer
        case _:
            assert peer is not None
            return (ours - peer) * goal["scale"]


def test_it_says_what_was_measured_where_and_against_what(result: dict[str, Any]) -> None:
    assert result["plan"] == {"quick": True, "rounds": 1, "calls": 20, "kills": 1, "starts": 0, "keys": 0}
    assert result["machine"]["cpus"] >= 1
    assert result["machine"]["filesystem"] != "unknown"
    assert {"lightning-state", "ray", "python", "sqlite", "valkey (Redis protocol)", "postgresql"} <= set(
        result["versions"]
    )
    assert {name.partition("/")[0] for name in result["figures"]} == COMPARED, result["absent"]


def test_every_figure_has_its_samples_and_its_spread(result: dict[str, Any]) -> None:
    for name, figure in result["figures"].items():
        assert figure["p50"] >= 0, name
        assert len(figure["rounds_p50"]) == 1, name
        if figure["unit"] == "us":
            assert 0 < figure["p50"] <= figure["p95"] <= figure["p99"], name
    assert result["figures"]["channel/get"]["samples"] == 20
    assert result["figures"]["service/first write after kill"]["samples"] == 1


def test_every_goal_and_every_floor_is_there_and_follows_from_the_figures(result: dict[str, Any]) -> None:
    assert [judged["goal"]["claim"] for judged in result["ratios"]] == [goal.claim for goal in RATIOS]
    assert {way: len(floors) for way, floors in result["floors"].items()} == {
        way: len(goals) for way, goals in FLOORS.items()
    }
    judged = [*result["ratios"], *(each for floors in result["floors"].values() for each in floors)]
    for each in judged:
        goal = each["goal"]
        if each["measured"] is None:
            assert each["reason"]
            assert set(each["verdicts"].values()) <= {"not measured"}
            continue
        assert each["measured"] == pytest.approx(recomputed(result, goal), rel=1e-3), goal["claim"]
        for level, bound in goal["levels"].items():
            is_met = each["measured"] <= bound if goal["at_most"] else each["measured"] >= bound
            assert each["verdicts"][level] == ("met" if is_met else "short"), goal["claim"]


def test_only_what_cannot_be_measured_in_a_quick_run_is_missing(result: dict[str, Any]) -> None:
    missing = {each["goal"]["ours"]["figure"] for each in result["ratios"] if each["measured"] is None}
    peers = {
        each["goal"]["peer"]["figure"].partition("/")[0]
        for each in result["ratios"]
        if each["measured"] is None and each["goal"]["peer"]
    }
    assert peers <= {*NEVER, "1,000 keys", "bare ray", "constant route"}, missing


def test_a_service_with_so_many_states_is_read_and_written_at_random(service: Service, client: StateClient) -> None:
    side = KeysSide(service, client, 300, calls=5, in_flight=70)
    side.warm_up()
    assert side.name == "300 keys"
    assert client.agents.exists("agent-0000299", consistency="linearizable")
    assert {name: len(measure().durations_us) for name, measure in side.operations().items()} == {
        "get": 5,
        "set": 5,
        "writes in flight": 70,
    }


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--directory", "no-such-directory"], "[benchmark]"),
        (["--json", "/proc/nowhere/figures.json"], "[benchmark]"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_measured(
    arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, *arguments]) == 1
    said = capsys.readouterr()
    assert code in said.err
    assert said.out == ""


def test_counts_below_one_are_wrong_arguments() -> None:
    assert main(["bench", "--rounds", "0"]) == 2
