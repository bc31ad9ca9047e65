"""A plain Ray actor that holds a dict: nothing is kept, versioned or checked."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Self, cast

import ray

from lightning_state.cluster.benchmarks.measuring import Operation, Round, one_by_one
from lightning_state.cluster.benchmarks.states import body

_WARM_UP = 200


class PlainActor:
    """What a user would write. Not async: calls of such an actor are the faster ones."""

    def __init__(self) -> None:
        self._states: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """The value."""
        return self._states.get(key)

    def set(self, key: str, value: bytes) -> None:
        """Keep a value, in memory."""
        self._states[key] = value


class PlainActorPeer:
    """One such actor on the Ray of the service. Use it as a context manager."""

    name = "plain actor"

    def __init__(self, *, calls: int, in_flight: int, lanes: int) -> None:
        self._calls = calls
        self._in_flight = in_flight
        self._lanes = lanes
        self._actor: Any = None
        self._body = body("one")

    def __enter__(self) -> Self:
        self._actor = cast("Any", ray.remote(PlainActor)).options(num_cpus=0).remote()
        return self

    def __exit__(self, *_: object) -> None:
        ray.kill(self._actor)

    def warm_up(self) -> None:
        """Start it."""
        one_by_one(self._set, _WARM_UP)

    def operations(self) -> Mapping[str, Operation]:
        """Its two methods."""
        return {
            "get": partial(one_by_one, self._get, self._calls),
            "set": partial(one_by_one, self._set, self._calls),
            "writes in flight": self._writes_in_flight,
        }

    def _get(self, _turn: int) -> Any:
        return ray.get(self._actor.get.remote("one"))

    def _set(self, _turn: int) -> Any:
        return ray.get(self._actor.set.remote("one", self._body))

    def _writes_in_flight(self) -> Round:
        """A window of calls, the oldest waited for first: cheaper than ray.wait and than awaiting each."""
        waiting: deque[tuple[int, Any]] = deque()
        durations_us: list[float] = []
        began = time.perf_counter_ns()
        for _ in range(self._in_flight):
            if len(waiting) == self._lanes:
                self._settle(waiting, durations_us)
            waiting.append((time.perf_counter_ns(), self._actor.set.remote("one", self._body)))
        while waiting:
            self._settle(waiting, durations_us)
        per_second = self._in_flight / ((time.perf_counter_ns() - began) / 1e9)
        return Round(durations_us, {"per second": (per_second, "1/s")})

    def _settle(self, waiting: deque[tuple[int, Any]], durations_us: list[float]) -> None:
        sent, reference = waiting.popleft()
        ray.get(reference)
        durations_us.append((time.perf_counter_ns() - sent) / 1e3)
