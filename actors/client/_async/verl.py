"""What users ask VERL directly; nothing is written by any of these calls."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from lightning_state.actors.category import Category
from lightning_state.actors.client._async.calls import AsyncCalls
from lightning_state.actors.client._async.collection import AsyncCollection
from lightning_state.actors.core.checks import check_body, check_key
from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.messages import (
    VERL_PROTOCOL,
    Answers,
    Batch,
    Call,
    CheckConsistency,
    ConsistencyReport,
    EvaluateConfidence,
    FactClaim,
    FactReport,
    Members,
    PoolView,
    ReasoningReport,
    ReasoningStep,
    Statement,
    ValidateReasoning,
    Verdict,
    VerdictRequest,
    VerifyFacts,
    content_hash,
)
from lightning_state.actors.core.verl.rule_set import RuleSet, rule_set_of
from lightning_state.actors.core.verl.rules.references import references_of
from lightning_state.actors.errors import (
    DeadlineExceededError,
    ProtocolError,
    ShardUnavailableError,
    StateNotFoundError,
    UnknownCategoryError,
    ValidationUnavailableError,
    error_from_code,
)
from lightning_state.actors.models import FactState, ResearchState, State
from lightning_state.actors.settings import Settings
from lightning_state.actors.wire.names import pool_name
from lightning_state.actors.wire.verl_codec import decode_from_pool, decode_from_validator, encode

A = TypeVar("A", Verdict, FactReport, ReasoningReport, ConsistencyReport)

_RETRY_S = 0.05


class AsyncVerl:
    """The five calls of VERL.

    Each raises ValidationUnavailableError while the pool has no validator, and DeadlineExceededError when it has but
    none answers before the deadline (`timeout_s`).
    """

    def __init__(self, calls: AsyncCalls, categories: Mapping[str, Category[Any]]) -> None:
        self._calls = calls
        self._categories = categories

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._calls!r}>"

    async def verify(self, category: str, key: str, candidate: State, *, timeout_s: float | None = None) -> Verdict:
        """What VERL would say of this state if it were written now, over what is stored under the key now."""
        deadline_s = self._calls.deadline(timeout_s)
        found = self._category(category, candidate)
        rule_set = await self._rule_set(found, deadline_s)
        body = check_body(found.encode(candidate), self._calls.limits)
        base = await self._stored(found, check_key(key, self._calls.limits), deadline_s)
        references = await self._references(found, candidate, deadline_s) if rule_set.check_references else {}
        request = VerdictRequest(
            category=category,
            key=key,
            base_version=base.version if base else 0,
            base=found.encode(base) if base else None,
            new=body,
            new_digest=content_hash(body),
            references=references,
            rule_set=rule_set.id,
        )
        return await self._ask("verify", request, Verdict, deadline_s, rule_set)

    async def evaluate_confidence(self, category: str, state: State, *, timeout_s: float | None = None) -> Verdict:
        """What VERL makes of a state by itself, whatever is stored: its confidence and each deduction."""
        deadline_s = self._calls.deadline(timeout_s)
        found = self._category(category, state)
        rule_set = await self._rule_set(found, deadline_s)
        body = check_body(found.encode(state), self._calls.limits)
        call = EvaluateConfidence(found.key(state), body, rule_set.id)
        return await self._ask("evaluate_confidence", call, Verdict, deadline_s, rule_set)

    async def verify_facts(
        self,
        facts: Sequence[FactState | FactClaim],
        *,
        source_texts: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> FactReport:
        """Whether each fact is supported by the text it comes from.

        `source_texts`: fact id → text. A fact without a text is Pending: nothing is looked up anywhere.
        """
        texts = source_texts or {}
        claims = [
            fact if isinstance(fact, FactClaim) else FactClaim(fact.id, fact.content, texts.get(fact.id))
            for fact in facts
        ]
        return await self._ask("verify_facts", VerifyFacts(claims), FactReport, self._calls.deadline(timeout_s))

    async def validate_reasoning_chain(
        self, steps: Sequence[str | ReasoningStep], *, timeout_s: float | None = None
    ) -> ReasoningReport:
        """Whether an argument holds together. Plain strings become steps "1", "2", …, each on the one before."""
        chain = [
            step
            if isinstance(step, ReasoningStep)
            else ReasoningStep(str(n), step, "premise" if n == 1 else "inference", [str(n - 1)] if n > 1 else [])
            for n, step in enumerate(steps, 1)
        ]
        call = ValidateReasoning(chain)
        return await self._ask("validate_reasoning_chain", call, ReasoningReport, self._calls.deadline(timeout_s))

    async def check_consistency(
        self, statements: Sequence[str | Statement | ResearchState], *, timeout_s: float | None = None
    ) -> ConsistencyReport:
        """The contradictions among statements and research states, pair by pair.

        Plain strings are named "1", "2", … by their place. What is found is what the documented patterns find
        (negation, antonyms, quantities, two statuses of one research id): silence is no proof of consistency.
        """
        texts = [
            item if isinstance(item, Statement) else Statement(str(n), item)
            for n, item in enumerate(statements, 1)
            if not isinstance(item, ResearchState)
        ]
        research = self._categories["research"]
        states = [research.encode(item) for item in statements if isinstance(item, ResearchState)]
        call = CheckConsistency(texts, states)
        return await self._ask("check_consistency", call, ConsistencyReport, self._calls.deadline(timeout_s))

    async def _ask(self, name: str, call: Call, kind: type[A], deadline_s: float, rule_set: RuleSet | None = None) -> A:
        self._calls.counters.called(name)
        await self._calls.open(deadline_s)
        data = encode(Batch(VERL_PROTOCOL, {rule_set.id: rule_set} if rule_set else {}, [call]))
        trouble, members = "the pool has no validator yet", list[str]()
        while True:
            try:
                members = await self._members(deadline_s)
                if members:
                    chosen = random.choice(members)  # noqa: S311  # spreads the load, keeps no secret
                    return _answer(await self._calls.transport.ask(chosen, data, deadline_s), kind)
            except ShardUnavailableError as error:
                trouble = str(error)
            if time.monotonic() + _RETRY_S >= deadline_s:
                if members:
                    raise DeadlineExceededError(f"no answer from the pool before the deadline: {trouble}")
                raise ValidationUnavailableError(f"no validator answered in time: {trouble}")
            await asyncio.sleep(_RETRY_S)

    async def _members(self, deadline_s: float) -> list[str]:
        transport = self._calls.transport
        view = decode_from_pool(await transport.ask(pool_name(transport.service), encode(Members()), deadline_s))
        return view.members if isinstance(view, PoolView) else []

    async def _rule_set(self, category: Category[Any], deadline_s: float) -> RuleSet:
        session = await self._calls.ensure(category, deadline_s)
        import_path = session.map.categories[category.name].import_path
        return rule_set_of(category, import_path, Settings.published(session.map.settings))

    async def _stored(self, category: Category[Any], key: str, deadline_s: float) -> State | None:
        collection: AsyncCollection[Any] = AsyncCollection(self._calls, category)
        try:
            return await collection.get(key, consistency="linearizable", timeout_s=deadline_s - time.monotonic())
        except StateNotFoundError:
            return None

    async def _references(self, category: Category[Any], state: State, deadline_s: float) -> dict[str, bool]:
        found: dict[str, bool] = {}
        for _, target, key in references_of(category, state):
            stored = await self._stored(self._known(target), key, deadline_s)
            found[f"{target}/{key}"] = stored is not None
        return found

    def _category(self, name: str, state: State) -> Category[Any]:
        category = self._known(name)
        if not isinstance(state, category.model):
            raise UnknownCategoryError(f"category {name!r} holds {category.model.__name__}, not {type(state).__name__}")
        return category

    def _known(self, name: str) -> Category[Any]:
        category = self._categories.get(name)
        if category is None:
            raise UnknownCategoryError(f"category {name!r} is not known to this client: call category(YourModel) first")
        return category


def _answer(data: bytes, kind: type[A]) -> A:
    answers = decode_from_validator(data)
    answer = answers.answers[0] if isinstance(answers, Answers) and answers.answers else answers
    if isinstance(answer, Refused):
        raise error_from_code(answer.code, answer.message, answer.details)
    if not isinstance(answer, kind):
        raise ProtocolError(f"a validator answered {type(answer).__name__} instead of {kind.__name__}")
    return answer
