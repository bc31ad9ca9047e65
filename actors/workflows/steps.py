"""Steps that are done once: each has a name, a record in the service, and a result that a later run reads there.

A step is recorded Started before its work begins and Finished, with the result, when it is done. Who asks for a
finished step gets the recorded result and the work is not done again, in whatever process and however often. A process
that is killed in the middle leaves Started; the next one does that step again, and says so in `executions`. Its work
must therefore bear repetition: computing does, and writing does under ids that follow from the step's name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any

import stamina
from pydantic import Field

from lightning_state.actors.category import Category
from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.errors import OutcomeUnknownError, StateNotFoundError, VersionConflictError
from lightning_state.actors.models import FrozenDict, JsonObject, State, Timestamp, utc_now

Work = Callable[[], Awaitable[Mapping[str, Any]]]
"""What a step does: returns a JSON object."""

_ATTEMPTS = 4


class StepStatus(StrEnum):
    """Whether a step's result is there."""

    STARTED = "Started"
    FINISHED = "Finished"


class StepState(State):
    """The record of one step of a research run."""

    step_id: str
    """`<research id>/<name>`."""
    research_id: str
    name: str
    status: StepStatus = StepStatus.STARTED
    agent_id: str
    """Who did it, or does it."""
    executions: int = Field(default=1, ge=0)
    """How often its work was begun: 1 unless a process died in the middle of it, 0 when it was taken over."""
    taken_over_from: str | None = None
    """The failed run whose record of this step serves here as well."""
    result: JsonObject = Field(default_factory=FrozenDict)
    started_at: Timestamp = Field(default_factory=utc_now)
    finished_at: Timestamp | None = None


STEPS = Category(
    name="steps",
    model=StepState,
    key_field="step_id",
    status_field="status",
    transitions={"Started": frozenset({"Finished"}), "Finished": frozenset()},
    indexes=("research_id", "status"),
    monotonic=("executions",),
)


class Steps:
    """The steps of one run, as one agent does them."""

    def __init__(
        self, state: AsyncStateClient, research_id: str, agent_id: str, *, taken_over_from: str | None = None
    ) -> None:
        self._records = state.category(STEPS)
        self._research_id = research_id
        self._agent_id = agent_id
        self._taken_over_from = taken_over_from

    async def run(self, name: str, work: Work, *, writes: bool = False) -> Mapping[str, Any]:
        """The result of a step: recorded earlier, or of `work`, which is then recorded.

        `writes`: the work changes this run's own states, so that another run's record of it cannot stand in for it.
        What `work` raises passes through; the step stays Started.
        """
        record = await self._read(f"{self._research_id}/{name}")
        if record is not None and record.status is StepStatus.FINISHED:
            return record.result
        if not writes and self._taken_over_from is not None and (record is None or record.executions == 0):
            earlier = await self._read(f"{self._taken_over_from}/{name}")
            if earlier is not None and earlier.status is StepStatus.FINISHED:
                return (await self._adopt(record or self._new(name), earlier)).result
        started = await self._start(name, record)
        if started.status is StepStatus.FINISHED:  # by another process, meanwhile
            return started.result
        return (await self._finish(started, await work())).result

    async def _start(self, name: str, record: StepState | None) -> StepState:
        started = (
            record.replace(agent_id=self._agent_id, executions=record.executions + 1)
            if record is not None
            else self._new(name)
        )
        try:
            return await self._store(started, f"start/{started.executions}")
        except VersionConflictError as conflict:
            current: StepState | None = conflict.current
            if current is None:
                raise
            return current if current.status is StepStatus.FINISHED else await self._start(name, current)

    async def _finish(self, started: StepState, result: Mapping[str, Any]) -> StepState:
        finished = started.replace(status=StepStatus.FINISHED, result=dict(result), finished_at=utc_now())
        try:
            return await self._store(finished, f"finish/{started.executions}")
        except VersionConflictError as conflict:
            current: StepState | None = conflict.current
            if current is None:
                raise
            # A retried call of this very step is under way: the first result counts for both.
            return current if current.status is StepStatus.FINISHED else await self._finish(current, result)

    async def _adopt(self, own: StepState, earlier: StepState) -> StepState:
        """The other run's record as this run's own: no execution, the same result."""
        if own.version == 0:
            begun = own.replace(executions=0, taken_over_from=self._taken_over_from, started_at=earlier.started_at)
            try:
                own = await self._store(begun, "adopt")
            except VersionConflictError as conflict:
                current: StepState | None = conflict.current
                if current is None:
                    raise
                own = current
        return own if own.status is StepStatus.FINISHED else await self._finish(own, earlier.result)

    def _new(self, name: str) -> StepState:
        return StepState(
            step_id=f"{self._research_id}/{name}",
            research_id=self._research_id,
            name=name,
            agent_id=self._agent_id,
        )

    async def _read(self, step_id: str) -> StepState | None:
        try:
            return await self._records.get(step_id, consistency="linearizable")
        except StateNotFoundError:
            return None

    async def _store(self, step: StepState, change: str) -> StepState:
        """Written under an id that follows from the step: asked again after an unknown outcome, it happens once."""
        async for attempt in stamina.retry_context(on=OutcomeUnknownError, attempts=_ATTEMPTS):
            with attempt:
                return await self._records.set(step, request_id=f"{step.step_id}:{change}")
        raise AssertionError
