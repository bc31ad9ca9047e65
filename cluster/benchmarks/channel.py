"""Reads and durable writes through the service against a plain Ray actor that holds a dict, in turns (A B A B).

The actor keeps nothing; the service validates, versions and syncs every write. One agent state of about 600 bytes.
Sequential calls by the blocking client, 64 in flight by the asyncio client. Only the ratios say something about
another machine.

    python -m lightning_state.cluster.benchmarks.channel --json docs/results/channel.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from lightning_state.actors.client import AsyncStateClient, StateClient
from lightning_state.actors.core.messages import ANY
from lightning_state.actors.models import AgentState
from lightning_state.actors.wire.ray_environment import prepare

prepare()

import ray  # noqa: E402  # after the environment it reads

from lightning_state.cluster.service import Service, start  # noqa: E402  # it imports Ray

IN_FLIGHT = 64
GOALS = {"read": 12.0, "writes_in_flight": 14.0}
"""How many times faster than the plain actor."""

_FILLER = 450
_WARM_UP = 200


class PlainActor:
    """What a user would write instead."""

    def __init__(self) -> None:
        self._states: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        """The value."""
        return self._states.get(key)

    async def set(self, key: str, value: bytes) -> None:
        """Keep a value, in memory."""
        self._states[key] = value


def _state(key: str, turn: int) -> AgentState:
    return AgentState(agent_id=key, agent_type=f"researcher-{turn}", properties={"notes": "n" * _FILLER})


def _timed(call: Callable[[int], Any], calls: int) -> list[float]:
    """Microseconds of each call."""
    taken: list[float] = []
    for turn in range(calls):
        began_s = time.perf_counter()
        call(turn)
        taken.append((time.perf_counter() - began_s) * 1e6)
    return taken


def _actor_in_flight(actor: Any, calls: int) -> float:
    """Calls per second with IN_FLIGHT waiting at any moment."""
    began_s = time.perf_counter()
    waiting = [actor.set.remote("k", b"x" * 600) for _ in range(IN_FLIGHT)]
    for _ in range(calls - IN_FLIGHT):
        done, waiting = ray.wait(waiting, num_returns=1)
        ray.get(done)
        waiting.append(actor.set.remote("k", b"x" * 600))
    ray.get(waiting)
    return calls / (time.perf_counter() - began_s)


async def _in_flight(client: AsyncStateClient, calls: int, *, write: bool) -> float:
    """Calls per second with IN_FLIGHT lanes, each on keys of its own."""

    async def lane(number: int) -> None:
        for turn in range(calls // IN_FLIGHT):
            if write:
                await client.agents.set(_state(f"lane-{number}", turn), expected_version=ANY)
            else:
                await client.agents.get(f"lane-{number}", consistency="linearizable")

    began_s = time.perf_counter()
    await asyncio.gather(*(lane(number) for number in range(IN_FLIGHT)))
    return calls / (time.perf_counter() - began_s)


def measure(service: Service, *, rounds: int, calls: int) -> dict[str, Any]:
    """Every figure, over so many rounds in turns."""
    actor = cast("Any", ray.remote(PlainActor)).options(num_cpus=0).remote()
    body = b"x" * 600
    taken: dict[str, list[float]] = {name: [] for name in ("get", "set", "actor_get", "actor_set")}
    rates: dict[str, list[float]] = {name: [] for name in ("set", "get", "actor_set")}
    with service.client() as client:
        _warm_up(client, actor)
        for _ in range(rounds):
            taken["actor_get"] += _timed(lambda _: ray.get(actor.get.remote("k")), calls // 4)
            taken["get"] += _timed(lambda _: client.agents.get("seq", consistency="linearizable"), calls)
            taken["actor_set"] += _timed(lambda _: ray.get(actor.set.remote("k", body)), calls // 4)
            taken["set"] += _timed(lambda turn: client.agents.set(_state("seq", turn), expected_version=ANY), calls)
            rates["actor_set"].append(_actor_in_flight(actor, calls))
            for name in ("set", "get"):
                rates[name].append(asyncio.run(_one_round(service, calls * 4, write=name == "set")))
    return {
        "microseconds": {name: _quantiles(values) for name, values in taken.items()},
        "per_second_64_in_flight": {name: round(statistics.median(values)) for name, values in rates.items()},
        "spread_64_in_flight": {name: [round(min(values)), round(max(values))] for name, values in rates.items()},
    }


def _warm_up(client: StateClient, actor: Any) -> None:
    client.agents.set(_state("seq", 0), expected_version=ANY)
    _timed(lambda turn: client.agents.set(_state("seq", turn), expected_version=ANY), _WARM_UP)
    _timed(lambda _: ray.get(actor.set.remote("k", b"")), _WARM_UP)


async def _one_round(service: Service, calls: int, *, write: bool) -> float:
    async with service.async_client() as client:
        await _in_flight(client, IN_FLIGHT, write=True)
        return await _in_flight(client, calls, write=write)


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"p{share}": round(ordered[len(ordered) * share // 100], 1) for share in (50, 95, 99)}


def main(arguments: list[str] | None = None) -> int:
    """Run, print the ratios, write the JSON file; 0 when the goals are met, 1 when one falls short."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--calls", type=int, default=2_000, help="sequential calls in a turn")
    parser.add_argument("--directory", type=Path, help="where to keep the states: the disk that is measured")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="lightning-state-", dir=options.directory) as directory,
        start(data_dir=Path(directory) / "data", service=f"benchmark-{os.getpid()}", shards=1) as service,
    ):
        figures = measure(service, rounds=options.rounds, calls=options.calls)
    taken, rates = figures["microseconds"], figures["per_second_64_in_flight"]
    ratios = {
        "read": round(taken["actor_get"]["p50"] / taken["get"]["p50"], 2),
        "write": round(taken["actor_set"]["p50"] / taken["set"]["p50"], 2),
        "writes_in_flight": round(rates["set"] / rates["actor_set"], 2),
    }
    figures["times_faster_than_a_plain_actor"] = ratios
    figures["machine"] = {
        "cpus": os.cpu_count(),
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "ray": ray.__version__,
    }
    text = json.dumps(figures, indent=2) + "\n"
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text, encoding="utf-8")
    print(text)  # noqa: T201  # a program's output
    for name, goal in GOALS.items():
        verdict = "met" if ratios[name] >= goal else "FALLS SHORT"
        print(f"{name}: {ratios[name]} times a plain Ray actor (goal ≥ {goal}: {verdict})")  # noqa: T201  # the same
    return 0 if all(ratios[name] >= goal for name, goal in GOALS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
