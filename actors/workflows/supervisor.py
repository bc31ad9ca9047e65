"""The Supervisor: divides an iteration's work among the researchers, collects it, drops what is there twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from ray.exceptions import RayError

from lightning_state.actors.client import AsyncStateClient
from lightning_state.actors.errors import AgentLostError
from lightning_state.actors.models import utc_now
from lightning_state.actors.workflows import evidence, finding, plan
from lightning_state.actors.workflows.agents import AgentRecord
from lightning_state.actors.workflows.evidence import Assessment
from lightning_state.actors.workflows.finding import Finding
from lightning_state.actors.workflows.order import Order
from lightning_state.actors.workflows.steps import Steps


class Selection(msgspec.Struct, frozen=True):
    """The new facts of an iteration."""

    findings: list[Finding]
    at: str
    """When they were extracted, ISO-8601."""


class Supervisor:
    """The supervisor of one run, as a Ray actor. Its calls are steps: asked again, they answer what is recorded."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._roles = [f"researcher-{number}" for number in range(1, order.researchers + 1)]
        self._state = AsyncStateClient.connect(service=order.service)
        agent_id = order.agent_id("supervisor")
        self._agent = AgentRecord(self._state, agent_id, "supervisor", order.research_id)
        self._steps = Steps(self._state, order.research_id, agent_id, taken_over_from=order.taken_over_from)

    async def enlist(self) -> list[str]:
        """Registered and Ready, with all researchers; the agent ids."""
        others = [self._order.actor(role).enlist.remote() for role in self._roles]
        return [(await self._agent.enlist()).agent_id, *await asyncio.gather(*others)]

    async def queries(self, iteration: int, known: Sequence[Finding], asked: Sequence[str]) -> list[str]:
        """What to ask in this iteration; empty when there is nothing left."""

        async def work() -> dict[str, Any]:
            if not asked:
                return {"queries": plan.first_queries(self._order.query)}
            expansions: list[str] = await self._researcher(0).expand.remote(known)
            return {"queries": plan.next_queries(expansions, asked)}

        return list((await self._steps.run(f"iteration-{iteration}/plan", work))["queries"])

    async def search(self, iteration: int, queries: Sequence[str], known: Sequence[Finding]) -> Selection:
        """The new facts that these queries bring; the researchers search side by side."""

        async def work() -> dict[str, Any]:
            async with self._agent.working(f"{self._order.research_id}/iteration-{iteration}/search"):
                calls = [
                    self._researcher(number).search.remote(f"iteration-{iteration}/search-{number + 1}", query)
                    for number, query in enumerate(queries)
                ]
                found: list[list[Finding]] = await asyncio.gather(*calls)
                chosen = plan.select([item for part in found for item in part], known, is_first=not known)
                return {"findings": finding.recorded(chosen), "at": utc_now().isoformat()}

        result = await self._steps.run(f"iteration-{iteration}/select", work)
        return Selection(finding.restored(result["findings"]), result["at"])

    async def verify(
        self, iteration: int, new: Sequence[Finding], earlier: Sequence[Finding]
    ) -> tuple[list[Assessment], dict[str, list[str]]]:
        """The assessment of each new fact, and the contradictions among all facts: fact id → what contradicts it."""

        async def work() -> dict[str, Any]:
            standing = {item.fact_id: item.sentence for item in [*earlier, *new]}
            return {"contradictions": await evidence.contradictions(self._state.verl, standing)}

        async with self._agent.working(f"{self._order.research_id}/iteration-{iteration}/verify"):
            shares = [list(new[start :: len(self._roles)]) for start in range(len(self._roles))]
            calls = [
                self._researcher(number).verify.remote(f"iteration-{iteration}/verify-{number + 1}", share)
                for number, share in enumerate(shares)
                if share
            ]
            parts: list[list[Assessment]] = await asyncio.gather(*calls)
            result = await self._steps.run(f"iteration-{iteration}/consistency", work)
        found = {name: list(issues) for name, issues in result["contradictions"].items()}
        return [one for part in parts for one in part], found

    async def complete(self) -> None:
        """The run is done: so are the researchers."""
        await asyncio.gather(
            self._agent.complete(), *(self._order.actor(role).complete.remote() for role in self._roles)
        )

    async def fail(self, reason: str) -> None:
        """The run has failed: so have the researchers. One whose process is gone cannot say so itself."""
        await asyncio.gather(self._agent.fail(reason), *(self._fail(role, reason) for role in self._roles))

    async def _fail(self, role: str, reason: str) -> None:
        try:
            await self._order.actor(role).fail.remote(reason)
        except (AgentLostError, RayError):
            agent = AgentRecord(self._state, self._order.agent_id(role), "researcher", self._order.research_id)
            await agent.fail(reason)

    def _researcher(self, number: int) -> Any:
        return self._order.actor(self._roles[number % len(self._roles)])
