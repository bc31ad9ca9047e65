"""VERL's calls over HTTP; nothing is written by any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.verl.messages import (
    ConsistencyReport,
    Contradiction,
    FactClaim,
    FactFinding,
    FactReport,
    ReasoningReport,
    ReasoningStep,
    Statement,
    Verdict,
)
from lightning_state.actors.errors import UnknownCategoryError
from lightning_state.actors.models import FactState, ResearchState, State
from lightning_state.serve.client._async.calls import AsyncHttpCalls
from lightning_state.serve.client.answers import issues_of, verdict_of
from lightning_state.serve.client.sending import Sending


class AsyncHttpVerl:
    """The five calls of VERL. Each raises ValidationUnavailableError when no validator answers in time."""

    def __init__(self, calls: AsyncHttpCalls, categories: Mapping[str, Category[Any]]) -> None:
        self._calls = calls
        self._categories = categories

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._calls!r}>"

    async def verify(self, category: str, key: str, candidate: State, *, timeout_s: float | None = None) -> Verdict:
        """What VERL would say of this state if it were written now, over what is stored under the key now."""
        body = {"category": category, "id": key, "state": self._plain(category, candidate)}
        return verdict_of(await self._ask("verify", body, timeout_s))

    async def evaluate_confidence(self, category: str, state: State, *, timeout_s: float | None = None) -> Verdict:
        """What VERL makes of a state by itself, whatever is stored."""
        body = {"category": category, "state": self._plain(category, state)}
        return verdict_of(await self._ask("evaluateConfidence", body, timeout_s))

    async def verify_facts(
        self,
        facts: Sequence[FactState | FactClaim],
        *,
        source_texts: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> FactReport:
        """Whether each fact is supported by the text it comes from."""
        texts = source_texts or {}
        claims = [
            {
                "id": fact.id,
                "content": fact.content,
                "sourceText": fact.source_text if isinstance(fact, FactClaim) else texts.get(fact.id),
            }
            for fact in facts
        ]
        found = await self._ask("verifyFacts", {"facts": claims}, timeout_s)
        return FactReport([FactFinding(**finding) for finding in found["findings"]], found["confidence"])

    async def validate_reasoning_chain(
        self, steps: Sequence[str | ReasoningStep], *, timeout_s: float | None = None
    ) -> ReasoningReport:
        """Whether an argument holds together."""
        chain = [
            step
            if isinstance(step, str)
            else {"id": step.id, "text": step.text, "kind": step.kind, "dependsOn": step.depends_on}
            for step in steps
        ]
        found = await self._ask("validateReasoning", {"steps": chain}, timeout_s)
        return ReasoningReport(found["isValid"], found["confidence"], issues_of(found["issues"]))

    async def check_consistency(
        self, statements: Sequence[str | Statement | ResearchState], *, timeout_s: float | None = None
    ) -> ConsistencyReport:
        """The contradictions among statements and research states, pair by pair."""
        # Plain strings are named by their place among all items, as the actors' client names them.
        texts = [
            {"id": item.id, "text": item.text} if isinstance(item, Statement) else {"id": str(place), "text": item}
            for place, item in enumerate(statements, 1)
            if not isinstance(item, ResearchState)
        ]
        states = [self._plain("research", item) for item in statements if isinstance(item, ResearchState)]
        found = await self._ask("checkConsistency", {"statements": texts, "states": states}, timeout_s)
        pairs = [Contradiction(**pair) for pair in found["contradictions"]]
        return ConsistencyReport(found["isConsistent"], pairs)

    async def _ask(self, name: str, body: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
        sending = Sending("POST", f"/v1/verl/{name}", self._calls.deadline(timeout_s))
        sending.content = json.dumps(body, ensure_ascii=False).encode()
        sending.headers = {"Content-Type": "application/json"}
        return msgspec.json.decode((await self._calls.run(f"verl.{name}", sending)).content)

    def _plain(self, category: str, state: State) -> Any:
        found = self._categories.get(category)
        if found is None:
            raise UnknownCategoryError(f"category {category!r} is not known to this client: call category(YourModel)")
        return json.loads(found.encode(state))
