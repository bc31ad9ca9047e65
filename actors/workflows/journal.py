"""The research state of a run, written as the run goes on: every write can be repeated and changes nothing then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.errors import ResearchTakenOverError, VersionConflictError
from lightning_state.actors.models import FactState, FactVerificationStatus, ResearchState, ResearchStatus, utc_now
from lightning_state.actors.workflows.evidence import Assessment
from lightning_state.actors.workflows.failure import Failure
from lightning_state.actors.workflows.finding import Finding
from lightning_state.actors.workflows.metadata import metadata_of
from lightning_state.actors.workflows.order import Order
from lightning_state.actors.workflows.progress import Progress

TERMINAL = (ResearchStatus.COMPLETED, ResearchStatus.FAILED)


class RunJournal:
    """Writes one run's state for one attempt at it (`order.runner`).

    Every write raises ResearchTakenOverError when a later attempt has taken over.
    """

    def __init__(self, state: AsyncStateClient, order: Order) -> None:
        self._state = state
        self._research = state.research
        self._order = order

    async def open(self) -> ResearchState:
        """The run's state: made, Pending, or found there and taken over by this attempt."""
        try:
            return await self._research.set(
                ResearchState(
                    research_id=self._order.research_id, query=self._order.query, metadata=self._order.recorded()
                )
            )
        except VersionConflictError:
            return await self._research.update(self._order.research_id, self._claimed)

    async def searching(self) -> None:
        """InProgress: at the start, and again after a verification that was not enough."""
        await self._change(lambda run: run.replace(status=ResearchStatus.IN_PROGRESS))

    async def verifying(self) -> None:
        """Verifying."""
        await self._change(lambda run: run.replace(status=ResearchStatus.VERIFYING))

    async def add_facts(self, findings: Sequence[Finding], at: datetime) -> None:
        """New facts, their verification pending; those already there are left as they are."""

        def added(run: ResearchState) -> ResearchState:
            known = {fact.id for fact in run.extracted_facts}
            new = [item.fact(at) for item in findings if item.fact_id not in known]
            documents = dict.fromkeys([*run.sources, *(item.document for item in findings)])
            about = {item.fact_id: {"title": item.title, "label": item.label, "score": item.score} for item in findings}
            metadata = metadata_of(run)
            return run.replace(
                extracted_facts=(*run.extracted_facts, *new),
                sources=tuple(documents),
                metadata={**metadata, "facts": {**metadata.get("facts", {}), **about}},
            )

        await self._change(added)

    async def record_verdicts(self, assessments: Mapping[str, Assessment]) -> None:
        """What verification says of each fact; a verification that another fact overturned says so too."""

        def judged(fact: FactState) -> FactState:
            one = assessments.get(fact.id)
            if one is None:
                return fact
            return fact.replace(is_verified=one.is_verified, verification_status=FactVerificationStatus(one.status))

        await self._change(lambda run: run.replace(extracted_facts=tuple(map(judged, run.extracted_facts))))
        for one in assessments.values():
            if one.status == FactVerificationStatus.DISPUTED.value:
                await self._dispute(one)

    async def record_quality(self, iteration: int, progress: Progress, queries: Sequence[str], reason: str) -> None:
        """The end of an iteration: its number and quality, and what it did."""
        parts = progress.quality
        line = {
            "iteration": iteration,
            "queries": list(queries),
            "newFacts": progress.rounds[-1].new_facts,
            "verifiedFacts": progress.rounds[-1].verified_facts,
            "quality": parts.score,
            "coverage": round(parts.coverage, 3),
            "relevance": round(parts.relevance, 3),
            "sources": round(parts.sources, 3),
            "verified": round(parts.verified, 3),
        }

        def noted(run: ResearchState) -> ResearchState:
            recorded = metadata_of(run)
            lines = [one for one in recorded.get("iterations", ()) if one["iteration"] != iteration]
            metadata = {**recorded, "iterations": [*lines, line]}
            return run.replace(metadata={**metadata, "stopped": reason} if reason else metadata)

        changed = await self._change(noted)
        if (changed.iteration_count, changed.current_quality_score) != (iteration, parts.score):
            await self._research.update_progress(
                self._order.research_id, iteration_count=iteration, quality_score=parts.score
            )

    async def note(self, name: str, value: Any) -> None:
        """One entry of the run's metadata."""
        await self._change(lambda run: run.replace(metadata={**run.metadata, name: value}))

    async def complete(self) -> None:
        """Completed."""
        await self._change(lambda run: run.replace(status=ResearchStatus.COMPLETED, completed_at=utc_now()))

    async def fail(self, failure: Failure) -> None:
        """Failed, with the reason; a run that has ended already stays as it is."""
        about = {"code": failure.code, "reason": failure.reason}
        await self._change(
            lambda run: run.replace(
                status=ResearchStatus.FAILED, completed_at=utc_now(), metadata={**run.metadata, "failure": about}
            )
        )

    async def _change(self, fn: Callable[[ResearchState], ResearchState]) -> ResearchState:
        """The state after `fn`; not written when that is how it is already, or when the run has ended."""
        current = await self._research.get(self._order.research_id, consistency="linearizable")
        if current.status in TERMINAL or fn(self._owned(current)) == current:
            return current
        return await self._research.update(self._order.research_id, lambda run: fn(self._owned(run)))

    def _owned(self, run: ResearchState) -> ResearchState:
        if run.metadata.get("runner") != self._order.runner:
            raise ResearchTakenOverError(f"research {run.research_id} was taken over by another process")
        return run

    def _claimed(self, run: ResearchState) -> ResearchState:
        metadata = metadata_of(run)
        if metadata.get("runner") == self._order.runner:
            return run
        attempts = metadata.get("attempts", 1) + 1
        return run.replace(metadata={**metadata, "runner": self._order.runner, "attempts": attempts})

    async def _dispute(self, one: Assessment) -> None:
        verification_id = f"{self._order.research_id}/{one.fact_id}"
        issues = tuple(one.issues)
        found = await self._state.verifications.get(verification_id, consistency="linearizable")
        if found.is_verified or found.issues != issues:
            await self._state.verifications.update(
                verification_id, lambda state: state.replace(is_verified=False, issues=issues)
            )
