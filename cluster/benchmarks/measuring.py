"""Taking turns: every side does one operation, then the next, round after round, so that all meet the same machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol, TypeVar

import uvloop

from lightning_state.cluster.benchmarks.statistics import Figure, figure_of_durations, figure_of_values

T = TypeVar("T")


@dataclass(frozen=True)
class Round:
    """What one side did in one round."""

    durations_us: list[float] = field(default_factory=list[float])
    values: Mapping[str, tuple[float, str]] = field(default_factory=dict[str, tuple[float, str]])
    """What else came out of it: name → value and unit, recorded as `<side>/<operation>: <name>`."""


Operation = Callable[[], Round]
"""One round of an operation, with what it takes to begin it left out of its figures."""


class Side(Protocol):
    """Somebody who can do operations: the service reached in one way, or a peer."""

    name: str

    def warm_up(self) -> None:
        """Do everything once that costs more the first time."""
        ...

    def operations(self) -> Mapping[str, Operation]:
        """What it can do, by name. Sides that share a name are compared."""
        ...


class Record:
    """Everything measured in a run: `<side>/<operation>` → what each round gave."""

    def __init__(self) -> None:
        self._durations: dict[str, list[list[float]]] = {}
        self._values: dict[str, list[float]] = {}
        self._units: dict[str, str] = {}

    def add(self, name: str, measured: Round) -> None:
        """Another round of a figure."""
        if measured.durations_us:
            self._durations.setdefault(name, []).append(measured.durations_us)
        for what, (value, unit) in measured.values.items():
            self.value(f"{name}: {what}", value, unit)

    def value(self, name: str, value: float, unit: str) -> None:
        """Another round of a figure that is one value."""
        self._values.setdefault(name, []).append(value)
        self._units[name] = unit

    def figures(self) -> dict[str, Figure]:
        """What it all comes to, by name."""
        figures = {name: figure_of_durations(rounds) for name, rounds in self._durations.items()}
        figures |= {name: figure_of_values(self._units[name], rounds) for name, rounds in self._values.items()}
        return dict(sorted(figures.items()))


def in_turns(
    sides: Sequence[Side], operations: Sequence[str], rounds: int, record: Record, say: Callable[[str], None]
) -> None:
    """Each operation by each side that knows it, A B A B, so many rounds."""
    known = [(side.name, side.operations()) for side in sides]
    for number in range(rounds):
        for operation in operations:
            say(f"round {number + 1} of {rounds}: {operation}")
            for name, can in known:
                if operation in can:
                    record.add(f"{name}/{operation}", can[operation]())


def one_by_one(call: Callable[[int], Any], calls: int) -> Round:
    """Calls one after the other: how long each took, and how many were done in a second."""
    durations_us: list[float] = []
    clock = time.perf_counter_ns
    began = clock()
    for turn in range(calls):
        before = clock()
        call(turn)
        durations_us.append((clock() - before) / 1e3)
    return Round(durations_us, {"per second": (calls / ((clock() - began) / 1e9), "1/s")})


async def in_flight(call: Callable[[int, int], Awaitable[Any]], calls: int, lanes: int) -> Round:
    """Calls with as many under way as there are lanes, until so many are done: `call(lane, turn)`.

    Raises what the first call that failed raised.
    """
    durations_us: list[float] = []
    clock = time.perf_counter_ns
    turns = count()

    async def lane(number: int) -> None:
        while (turn := next(turns)) < calls:
            before = clock()
            await call(number, turn)
            durations_us.append((clock() - before) / 1e3)

    began = clock()
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(lanes):
                group.create_task(lane(number))
    except ExceptionGroup as errors:  # the first tells what happened: the others are of lanes that met the same
        raise errors.exceptions[0] from errors
    return Round(durations_us, {"per second": (calls / ((clock() - began) / 1e9), "1/s")})


def run(work: Awaitable[T]) -> T:
    """Run a coroutine on an event loop of its own, of the kind Ray's actors use: the same for every side."""

    async def main() -> T:
        return await work

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def several(calls: Iterable[Callable[[int], Any]]) -> Callable[[int], None]:
    """One call that makes several."""
    listed = tuple(calls)

    def call(turn: int) -> None:
        for one in listed:
            one(turn)

    return call
