"""Eight clients that write without pause, and a record of all they were told: what a fault may not contradict."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.journal_witness import Row, check_order, journal_rows
from tests.waiting import until

from lightning_state import ANY, AgentState, AsyncStateClient, LightningStateError, OutcomeUnknownError, StateClient

HOT_KEYS = 6
THREADS = 6
COROUTINES = 2
_IMPATIENT_S = 0.4
"""Deadline of every fourth write: short enough that a fault leaves outcomes unknown."""


@dataclass(frozen=True)
class Told:
    """What one write was told. `marker` is in the written state and unique to the write."""

    key: str
    marker: str
    began_s: float
    ended_s: float
    version: int = 0
    """0 unless it was acknowledged."""
    request_id: str = ""
    error: str = ""
    """The code of a definite refusal: nothing was changed."""


@dataclass
class Traffic:
    """Writers of one service: own keys and hot keys, with and without the caller's own request ids."""

    service: str
    prefix: str = "k"
    patience_s: float | None = None
    """Deadline of the other writes; None: the service's own."""
    acknowledged: list[Told] = field(default_factory=list[Told])
    unknown: list[Told] = field(default_factory=list[Told])
    refused: list[Told] = field(default_factory=list[Told])
    broken: list[BaseException] = field(default_factory=list[BaseException])

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._thread, args=(f"t{n}",)) for n in range(THREADS)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._coroutines())))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the writers, each after the write it is at."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a writer hangs"
        assert not self.broken, f"a writer met an error outside the service's own: {self.broken[:3]}"

    def await_more(self, count: int, within_s: float = 30.0) -> None:
        """Wait until so many further writes were acknowledged."""
        wanted = len(self.acknowledged) + count
        until(f"{count} more writes", lambda: len(self.acknowledged) >= wanted or self.broken, within_s)

    def recovered_s(self, fault_s: float, keys_of: Callable[[str], bool], within_s: float = 60.0) -> float:
        """Seconds from the fault to the end of the first write that began after it, on a key that `keys_of` admits."""

        def first() -> float | None:
            after = [told.ended_s for told in tuple(self.acknowledged) if told.began_s > fault_s and keys_of(told.key)]
            return min(after, default=None)

        ended_s = until("a write after the fault", first, within_s)
        assert ended_s is not None
        return ended_s - fault_s

    def settle(self) -> None:
        """Learn every unknown outcome: half by `resolve`, half by the same write again under the same request id."""
        with StateClient.connect(self.service) as client:
            for number, told in enumerate(self.unknown):
                if number % 2:
                    resolution = client.resolve(told.request_id, "agents", told.key)
                    version = resolution.version if resolution.applied else 0
                else:
                    version = client.agents.set(
                        _state(told.key, told.marker), expected_version=ANY, request_id=told.request_id
                    ).version
                outcome = Told(told.key, told.marker, told.began_s, told.ended_s, version, told.request_id)
                (self.acknowledged if version else self.refused).append(outcome)

    def check_served(self) -> None:
        """First witness: through the API every acknowledged version is there, or a later one."""
        newest: dict[str, Told] = {}
        for told in self.acknowledged:
            if told.version >= newest.get(told.key, told).version:
                newest[told.key] = told
        with StateClient.connect(self.service) as client:
            found: dict[str, AgentState] = {}
            for some in _parts(list(newest), 500):
                found.update(client.agents.get_many(some, consistency="linearizable"))
        for key, told in newest.items():
            assert key in found, f"lost: {told}"
            assert found[key].version >= told.version, f"lost: {told}, served is {found[key]}"
            if found[key].version == told.version:
                assert found[key].properties["marker"] == told.marker, f"another value under {told}"

    def check_stored(self, data_dir: Path) -> list[Row]:
        """Second witness: the journal holds every acknowledged write exactly, nothing twice, nothing refused."""
        rows = journal_rows(data_dir)
        check_order(rows)
        by_place = {(row.key, row.version): row for row in rows if row.op != "bar"}
        markers = Counter(marker_of(row) for row in rows if row.op != "bar")
        twice = [marker for marker, count in markers.items() if count > 1]
        assert not twice, f"applied more than once: {twice[:5]}"
        for told in self.acknowledged:
            row = by_place.get((told.key, told.version))
            assert row is not None, f"acknowledged, but not in the journal: {told}"
            assert marker_of(row) == told.marker, f"acknowledged {told}, stored {row}"
            assert not told.request_id or row.request_id == told.request_id, f"acknowledged {told}, stored {row}"
        for told in self.refused:
            assert told.marker not in markers, f"said not to be applied, but stored: {told}"
        return rows

    # -- the writers ---

    def _thread(self, name: str) -> None:
        try:
            with StateClient.connect(self.service) as client:
                for number in itertools.count():
                    if self._stop.is_set():
                        return
                    state, request_id, timeout_s, began_s = self._next(name, number)
                    try:
                        stored = client.agents.set(
                            state, expected_version=ANY, request_id=request_id, timeout_s=timeout_s
                        )
                    except LightningStateError as error:
                        self._failed(state, began_s, error)
                    else:
                        self._acknowledge(state, began_s, stored, request_id)
        except BaseException as error:  # noqa: BLE001  # shown by stop(), in the test's own thread
            self.broken.append(error)

    async def _coroutines(self) -> None:
        try:
            async with AsyncStateClient.connect(self.service) as client:
                await asyncio.gather(*(self._coroutine(f"c{n}", client) for n in range(COROUTINES)))
        except BaseException as error:  # noqa: BLE001  # shown by stop(), in the test's own thread
            self.broken.append(error)

    async def _coroutine(self, name: str, client: AsyncStateClient) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            state, request_id, timeout_s, began_s = self._next(name, number)
            try:
                stored = await client.agents.set(
                    state, expected_version=ANY, request_id=request_id, timeout_s=timeout_s
                )
            except LightningStateError as error:
                self._failed(state, began_s, error)
            else:
                self._acknowledge(state, began_s, stored, request_id)

    def _next(self, name: str, number: int) -> tuple[AgentState, str | None, float | None, float]:
        marker = f"{name}-{number}"
        key = f"{self.prefix}-hot-{number % HOT_KEYS}" if number % 3 == 0 else f"{self.prefix}-{marker}"
        request_id = f"{self.prefix}-{marker}" if number % 2 else None
        return _state(key, marker), request_id, _IMPATIENT_S if number % 4 == 0 else self.patience_s, time.monotonic()

    def _acknowledge(self, state: AgentState, began_s: float, stored: AgentState, request_id: str | None) -> None:
        marker = str(state.properties["marker"])
        self.acknowledged.append(
            Told(state.agent_id, marker, began_s, time.monotonic(), stored.version, request_id or "")
        )

    def _failed(self, state: AgentState, began_s: float, error: LightningStateError) -> None:
        marker = str(state.properties["marker"])
        request_id = str(error.details.get("request_id", ""))
        told = Told(state.agent_id, marker, began_s, time.monotonic(), 0, request_id, error.code)
        (self.unknown if isinstance(error, OutcomeUnknownError) else self.refused).append(told)

    def slowest_s(self) -> float:
        """How long the slowest acknowledged write took."""
        return max(told.ended_s - told.began_s for told in self.acknowledged)

    def codes(self) -> dict[str, int]:
        """How often each refusal was met."""
        found: dict[str, int] = defaultdict(int)
        for told in self.refused:
            found[told.error] += 1
        return dict(found)


def note(text: str) -> None:
    """A figure of this run, shown by `pytest -s` and kept with the output of a failed test."""
    sys.stdout.write(f"{text}\n")


def _state(key: str, marker: str) -> AgentState:
    return AgentState(agent_id=key, agent_type="writer", properties={"marker": marker})


def marker_of(row: Row) -> str:
    """What the write of a journal row was marked with."""
    return json.loads(row.body or b"{}")["properties"]["marker"]


def _parts(keys: Sequence[str], size: int) -> list[Sequence[str]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]
