"""The Master: takes one run from Pending to Completed or Failed, and keeps its state in the service at every step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.errors import JudgeError, LightningStateError
from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.workflows.agents import AgentRecord
from lightning_state.actors.workflows.failure import Failure, failure_of
from lightning_state.actors.workflows.journal import RunJournal
from lightning_state.actors.workflows.judge import Judge, judge_of
from lightning_state.actors.workflows.order import Order
from lightning_state.actors.workflows.progress import Progress
from lightning_state.actors.workflows.quality import converged
from lightning_state.actors.workflows.steps import Steps
from lightning_state.actors.workflows.supervisor import Selection

logger = logging.getLogger(__name__)


class Master:
    """The master of one run, as a Ray actor: `run` it once; `cancel` ends it Failed."""

    def __init__(self, order: Order, judge: JudgeSettings) -> None:
        self._order = order
        self._judge: Judge | None = judge_of(judge)
        self._state = AsyncStateClient.connect(service=order.service)
        agent_id = order.agent_id("master")
        self._agent = AgentRecord(self._state, agent_id, "master", order.research_id)
        self._steps = Steps(self._state, order.research_id, agent_id, taken_over_from=order.taken_over_from)
        self._journal = RunJournal(self._state, order)
        self._progress = Progress(order.query)
        self._work: asyncio.Task[None] | None = None
        self._cancelled = False

    async def run(self) -> Failure | None:
        """Do the run, or go on with it. None: it is Completed; else why it is Failed."""
        if self._cancelled:
            return await self._fail(Failure("cancelled", "cancelled before it began"))
        self._work = asyncio.ensure_future(self._research())
        try:
            await self._work
        except asyncio.CancelledError:
            return await self._fail(Failure("cancelled", "cancelled"))
        except Exception as error:  # whatever went wrong, the run must end Failed, not InProgress for ever
            logger.warning("research %s failed", self._order.research_id, exc_info=True)
            return await self._fail(failure_of(error))
        return None

    async def cancel(self) -> None:
        """End the run; `run` then answers why."""
        self._cancelled = True
        if self._work is not None:
            self._work.cancel()

    async def _research(self) -> None:
        await self._journal.open()
        await self._agent.enlist()
        await self._supervisor.enlist.remote()
        async with self._agent.working(self._order.research_id):
            iteration = 1
            while await self._iterate(iteration):
                iteration += 1
            if self._judge is not None:
                await self._effect("summary", self._summarise)
        # The run last: while it is not Completed, it can be resumed, and its agents may end twice.
        await self._supervisor.complete.remote()
        await self._agent.complete()
        await self._effect("complete", self._journal.complete)

    async def _iterate(self, iteration: int) -> bool:
        """One iteration; whether another one is worth it."""
        step, progress = f"iteration-{iteration}", self._progress
        queries = await self._supervisor.queries.remote(iteration, progress.findings, progress.asked)
        await self._effect(f"{step}/begin", self._journal.searching)
        selection: Selection = await self._supervisor.search.remote(iteration, queries, progress.findings)
        earlier = list(progress.findings)
        progress.found(queries, selection.findings)
        at = datetime.fromisoformat(selection.at)
        await self._effect(f"{step}/facts", lambda: self._journal.add_facts(selection.findings, at))
        await self._effect(f"{step}/verifying", self._journal.verifying)
        assessments, contradicted = await self._supervisor.verify.remote(iteration, selection.findings, earlier)
        progress.verified(assessments, contradicted)
        await self._effect(f"{step}/verdicts", lambda: self._journal.record_verdicts(progress.assessments))
        following = await self._supervisor.queries.remote(iteration + 1, progress.findings, progress.asked)
        rounds = progress.close_round(len(selection.findings))
        verdict = converged(
            rounds,
            min_facts=self._order.min_facts,
            max_iterations=self._order.max_iterations,
            has_queries=bool(following),
        )
        await self._effect(
            f"{step}/quality", lambda: self._journal.record_quality(iteration, progress, queries, verdict.reason)
        )
        return not verdict.stop

    @property
    def _supervisor(self) -> Any:
        return self._order.actor("supervisor")

    async def _effect(self, name: str, write: Callable[[], Awaitable[object]]) -> Mapping[str, Any]:
        """A step that changes the run's own states."""

        async def work() -> dict[str, Any]:
            await write()
            return {}

        return await self._steps.run(name, work, writes=True)

    async def _summarise(self) -> None:
        """The judge's paragraph from the verified facts; a judge that fails is recorded as such."""
        facts = self._progress.verified_findings()
        if self._judge is None or not facts:
            return
        try:
            summary = await self._judge.summarise(self._order.query, facts)
        except JudgeError as error:
            await self._journal.note("summaryError", str(error))
        else:
            await self._journal.note("summary", msgspec.to_builtins(summary))

    async def _fail(self, failure: Failure) -> Failure:
        """Failed, with all agents; where another process has taken over, only said, not written."""
        if failure.code == "research_taken_over":
            return failure
        try:
            await self._journal.fail(failure)
        except LightningStateError:  # the service itself is what failed: the caller must hear the reason at least
            logger.warning("research %s: its failure could not be recorded", self._order.research_id, exc_info=True)
            return failure
        await asyncio.gather(
            self._agent.fail(failure.reason), self._fail_others(failure.reason), return_exceptions=True
        )
        return failure

    async def _fail_others(self, reason: str) -> None:
        await self._supervisor.fail.remote(reason)
