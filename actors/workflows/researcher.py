"""The Researcher: searches the corpus and verifies facts against their sources, a step at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.errors import JudgeError, LightningStateError, VersionConflictError
from lightning_state.actors.models import VerificationState
from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.workflows import evidence, finding
from lightning_state.actors.workflows.agents import AgentRecord
from lightning_state.actors.workflows.corpus import Corpus
from lightning_state.actors.workflows.evidence import Assessment
from lightning_state.actors.workflows.finding import Finding
from lightning_state.actors.workflows.judge import Judge, judge_of
from lightning_state.actors.workflows.order import Order
from lightning_state.actors.workflows.plan import FINDINGS_PER_QUERY
from lightning_state.actors.workflows.steps import Steps


class Researcher:
    """One researcher of a run, as a Ray actor. Its calls are steps: asked again, they answer what is recorded."""

    def __init__(self, order: Order, number: int, judge: JudgeSettings) -> None:
        self._order = order
        self._corpus: Corpus | None = None
        self._judge: Judge | None = judge_of(judge)
        self._state = AsyncStateClient.connect(service=order.service)
        agent_id = order.agent_id(f"researcher-{number}")
        self._agent = AgentRecord(self._state, agent_id, "researcher", order.research_id)
        self._steps = Steps(self._state, order.research_id, agent_id, taken_over_from=order.taken_over_from)
        self._one_at_a_time = asyncio.Lock()

    async def enlist(self) -> str:
        """Registered and Ready; its agent id. Raises CorpusError when the index is gone."""
        agent = await self._agent.enlist()
        await asyncio.to_thread(self._opened)
        return agent.agent_id

    async def search(self, step: str, query: str) -> list[Finding]:
        """What the corpus holds on a query, rated for the run's question."""

        async def work() -> dict[str, Any]:
            async with self._agent.working(f"{self._order.research_id}/{step}"):
                found = await asyncio.to_thread(self._search, query)
                return {"query": query, "findings": finding.recorded(found)}

        async with self._one_at_a_time:
            result = await self._steps.run(step, work)
        return finding.restored(result["findings"])

    async def expand(self, findings: Sequence[Finding]) -> list[str]:
        """Follow-up queries that the findings lead to; nothing is recorded."""
        return await asyncio.to_thread(self._expand, findings)

    async def verify(self, step: str, findings: Sequence[Finding]) -> list[Assessment]:
        """Each fact against its source; every assessment is stored as a verification of the run."""

        async def work() -> dict[str, Any]:
            async with self._agent.working(f"{self._order.research_id}/{step}"):
                found = await evidence.check_support(self._state.verl, findings)
                if self._judge is not None:
                    found = [await self._judged(item, one) for item, one in zip(findings, found, strict=True)]
                return {"assessments": evidence.recorded(found)}

        async def store() -> dict[str, Any]:
            await self._store(findings, assessments)
            return {"verifications": len(assessments)}

        async with self._one_at_a_time:
            result = await self._steps.run(step, work)
            assessments = evidence.restored(result["assessments"])
            await self._steps.run(f"{step}/record", store, writes=True)
        return assessments

    async def complete(self) -> None:
        """The run is done."""
        async with self._one_at_a_time:
            await self._agent.complete()

    async def fail(self, reason: str) -> None:
        """The run has failed; what is under way here no longer matters."""
        await self._agent.fail(reason)

    def _opened(self) -> Corpus:
        # Not in __init__: an error there would say only that the actor could not be made.
        if self._corpus is None:
            self._corpus = Corpus.at(Path(self._order.corpus_index))
        return self._corpus

    def _search(self, query: str) -> list[Finding]:
        corpus = self._opened()
        passages = corpus.search(query, FINDINGS_PER_QUERY)
        return [finding.finding(passage) for passage in corpus.rate(self._order.query, passages)]

    def _expand(self, findings: Sequence[Finding]) -> list[str]:
        return self._opened().expand(self._order.query, [item.passage() for item in findings])

    async def _judged(self, item: Finding, one: Assessment) -> Assessment:
        """The judge's word where VERL found support; a judge that fails leaves VERL's word, and that is recorded."""
        if self._judge is None or not one.is_verified:
            return one
        try:
            return await self._judge.assess(item, evidence.source_text(item) or "")
        except JudgeError as error:
            return evidence.noted(one, f"the judge gave no opinion: {error}")

    async def _store(self, findings: Sequence[Finding], assessments: Sequence[Assessment]) -> None:
        by_id = {item.fact_id: item for item in findings}
        states = [
            VerificationState(
                verification_id=verification_id(self._order.research_id, one.fact_id),
                source_id=self._order.research_id,
                content=by_id[one.fact_id].sentence,
                confidence_score=min(1.0, max(0.0, one.confidence)),
                is_verified=one.is_verified,
                issues=tuple(one.issues),
                verified_by=one.verified_by,
            )
            for one in assessments
        ]
        for outcome in (await self._state.verifications.set_many(states)).values():
            # A conflict: an execution of this step that was cut short had stored it already.
            if isinstance(outcome, LightningStateError) and not isinstance(outcome, VersionConflictError):
                raise outcome


def verification_id(research_id: str, fact_id: str) -> str:
    """The id of the verification of a fact in a run."""
    return f"{research_id}/{fact_id}"
