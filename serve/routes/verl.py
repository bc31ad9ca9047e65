"""What may be asked of VERL without writing anything."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from lightning_state.actors.category import Category
from lightning_state.actors.core.verl.messages import FactClaim, ReasoningStep, Statement
from lightning_state.actors.models import State
from lightning_state.serve.bodies import (
    CandidateBody,
    CheckConsistencyBody,
    ValidateReasoningBody,
    VerifyBody,
    VerifyFactsBody,
)
from lightning_state.serve.context import Context
from lightning_state.serve.json_values import dump, plain
from lightning_state.serve.requests import JSON, M, body_of, model_of, query_of, timeout_of
from lightning_state.serve.resource import route

_ENVELOPE_DEPTH = 2


class VerlCalls:
    """The handlers below `/v1/verl`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._verl = context.client.verl

    def routes(self) -> list[BaseRoute]:
        """All five."""
        return [
            route("/v1/verl/verify", "verl_verify", post=self.verify),
            route("/v1/verl/evaluateConfidence", "verl_confidence", post=self.evaluate_confidence),
            route("/v1/verl/verifyFacts", "verl_facts", post=self.verify_facts),
            route("/v1/verl/validateReasoning", "verl_reasoning", post=self.validate_reasoning),
            route("/v1/verl/checkConsistency", "verl_consistency", post=self.check_consistency),
        ]

    async def verify(self, request: Request) -> Response:
        """What VERL would say of a state if it were written now."""
        asked = await self._read(request, VerifyBody)
        state = await self._state(asked)
        return _shown(await self._verl.verify(asked.category, asked.id, state, timeout_s=timeout_of(request)))

    async def evaluate_confidence(self, request: Request) -> Response:
        """What VERL makes of a state by itself."""
        asked = await self._read(request, CandidateBody)
        state = await self._state(asked)
        return _shown(await self._verl.evaluate_confidence(asked.category, state, timeout_s=timeout_of(request)))

    async def verify_facts(self, request: Request) -> Response:
        """Whether each fact is supported by its text."""
        asked = await self._read(request, VerifyFactsBody)
        facts = [FactClaim(fact.id, fact.content, fact.source_text) for fact in asked.facts]
        return _shown(await self._verl.verify_facts(facts, timeout_s=timeout_of(request)))

    async def validate_reasoning(self, request: Request) -> Response:
        """Whether an argument holds together."""
        asked = await self._read(request, ValidateReasoningBody)
        steps = [
            step if isinstance(step, str) else ReasoningStep(step.id, step.text, step.kind, list(step.depends_on))
            for step in asked.steps
        ]
        return _shown(await self._verl.validate_reasoning_chain(steps, timeout_s=timeout_of(request)))

    async def check_consistency(self, request: Request) -> Response:
        """The contradictions among statements and research states."""
        asked = await self._read(request, CheckConsistencyBody)
        research: Category[Any] = (await self._context.categories.find("research")).category
        items = [
            *(item if isinstance(item, str) else Statement(item.id, item.text) for item in asked.statements),
            *(research.decode(msgspec.json.encode(state)) for state in asked.states),
        ]
        return _shown(await self._verl.check_consistency(items, timeout_s=timeout_of(request)))

    async def _read(self, request: Request, model: type[M]) -> M:
        query_of(request, ())
        return model_of(await body_of(request), self._context.limits.depth + _ENVELOPE_DEPTH, model)

    async def _state(self, asked: CandidateBody) -> State:
        found = await self._context.categories.find(asked.category)
        return found.category.decode(msgspec.json.encode(asked.state))


def _shown(answer: msgspec.Struct) -> Response:
    return Response(dump(plain(answer)), 200, None, JSON)
