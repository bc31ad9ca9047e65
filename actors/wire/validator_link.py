"""Asks the VERL pool for verdicts: the shard's, and any client's, side of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from cachetools import LRUCache

from lightning_state.actors.category import Category
from lightning_state.actors.core.verl.dispatch import Lane
from lightning_state.actors.core.verl.messages import (
    Answer,
    Call,
    CheckConsistency,
    ConsistencyReport,
    EvaluateConfidence,
    FactReport,
    ReasoningReport,
    ValidateReasoning,
    Verdict,
    VerdictRequest,
    VerifyFacts,
    content_hash,
)
from lightning_state.actors.core.verl.rule_set import rule_set_of
from lightning_state.actors.errors import (
    LightningStateError,
    ProtocolError,
    UnknownCategoryError,
    ValidationUnavailableError,
)
from lightning_state.actors.settings import Settings
from lightning_state.actors.wire.validator_courier import Courier
from lightning_state.actors.wire.validator_transport import ChannelValidatorTransport, RayTransport, ValidatorTransport

A = TypeVar("A", Verdict, FactReport, ReasoningReport, ConsistencyReport)
_CacheKey = tuple[str, str, str, int, bytes, bytes, tuple[tuple[str, bool], ...]]

_CACHED_VERDICTS = 8_192


class ValidatorLink:
    """Verdicts from the pool, per operation; used on one event loop.

    Every method raises OverloadedError at once when its queue is full, ValidationUnavailableError when no validator
    was there for min(deadline, `settings.verl.unavailable_after_s`), and DeadlineExceededError when validators were
    there but slow. `deadline_s` is in seconds from now. Nothing is changed by any of these calls.
    """

    def __init__(self, service: str, settings: Settings, transport: ValidatorTransport | None = None) -> None:
        self._settings = settings
        transport = transport or ChannelValidatorTransport(RayTransport(service))
        self._courier = Courier(transport, settings.verl.unavailable_after_s)
        self._lanes: dict[str, Lane] = {}
        self._cache: LRUCache[_CacheKey, Verdict] = LRUCache(_CACHED_VERDICTS)

    def __repr__(self) -> str:
        return f"<ValidatorLink rule_sets={len(self._lanes)} {self._courier!r}>"

    def register(self, category: Category[Any], import_path: str) -> str:
        """Learn a category; the id of its rule set, which requests then name. The same again is no change."""
        rule_set = rule_set_of(category, import_path, self._settings)
        rule_set_id = rule_set.id
        self._courier.know(rule_set_id, rule_set)
        self._lanes[rule_set_id] = Lane.USER if category.validators else Lane.PLAIN
        return rule_set_id

    async def verdict(self, request: VerdictRequest, deadline_s: float) -> Verdict:
        """The verdict on one change, bound to its base version and content. Writes need `verdict.is_accepted`."""
        loop = asyncio.get_running_loop()
        concluded: asyncio.Future[Verdict] = loop.create_future()

        def conclude(verdict: Verdict | LightningStateError) -> None:
            if concluded.done():
                return
            if isinstance(verdict, LightningStateError):
                concluded.set_exception(verdict)
            else:
                concluded.set_result(verdict)

        asked = self.begin(request, deadline_s, conclude)
        try:
            return await concluded
        finally:
            if asked is not None:
                asked.cancel()

    def begin(
        self, request: VerdictRequest, deadline_s: float, conclude: Callable[[Verdict | LightningStateError], None]
    ) -> asyncio.Future[Answer] | None:
        """Ask without waiting: `conclude` gets the verdict or the error, at once or later on the loop.

        Returns what may be cancelled to ask no longer; None when it is concluded already.
        """
        key = _cache_key(request)
        if (known := self._cache.get(key)) is not None:
            conclude(known)
            return None
        size_bytes = len(request.new) + len(request.base or b"")
        try:
            asked = self._courier.submit(request, self._lane(request.rule_set), size_bytes, deadline_s)
        except LightningStateError as error:
            conclude(error)
            return None
        asked.add_done_callback(lambda answer: conclude(self._concluded(request, key, answer)))
        return asked

    def _concluded(
        self, request: VerdictRequest, key: _CacheKey, answer: asyncio.Future[Answer]
    ) -> Verdict | LightningStateError:
        if answer.cancelled():
            return ValidationUnavailableError("the verdict was not waited for")
        if (error := answer.exception()) is not None:
            return error if isinstance(error, LightningStateError) else ProtocolError(f"no verdict: {error!r}")
        verdict = answer.result()
        if not isinstance(verdict, Verdict):
            return ProtocolError(f"a validator answered {type(verdict).__name__} instead of Verdict")
        if verdict.content_hash != request.new_digest or verdict.rule_set != request.rule_set:
            return ProtocolError("the verdict is for another content than was asked about")
        if not verdict.is_transient:
            self._cache[key] = verdict
        return verdict

    async def evaluate_confidence(self, key: str, body: bytes, rule_set: str, deadline_s: float) -> Verdict:
        """What VERL makes of a state by itself: its confidence and each deduction."""
        call = EvaluateConfidence(key, body, rule_set)
        return await self._ask(call, Verdict, self._lane(rule_set), len(body), deadline_s)

    async def verify_facts(self, call: VerifyFacts, deadline_s: float) -> FactReport:
        """Say of each fact whether its source supports it."""
        size_bytes = sum(len(fact.content) + len(fact.source_text or "") for fact in call.facts)
        return await self._ask(call, FactReport, Lane.USER, size_bytes, deadline_s)

    async def validate_reasoning(self, call: ValidateReasoning, deadline_s: float) -> ReasoningReport:
        """Say whether an argument holds together, with each finding."""
        return await self._ask(call, ReasoningReport, Lane.USER, _text_bytes(call.steps), deadline_s)

    async def check_consistency(self, call: CheckConsistency, deadline_s: float) -> ConsistencyReport:
        """Name the contradictions among statements and research states, pair by pair."""
        size_bytes = _text_bytes(call.statements) + sum(map(len, call.states))
        return await self._ask(call, ConsistencyReport, Lane.USER, size_bytes, deadline_s)

    async def close(self) -> None:
        """Stop; what still waits fails with ValidationUnavailableError."""
        await self._courier.close()

    def _lane(self, rule_set: str) -> Lane:
        try:
            return self._lanes[rule_set]
        except KeyError:
            raise UnknownCategoryError("register the category with this link before asking about it") from None

    async def _ask(self, call: Call, expected: type[A], lane: Lane, size_bytes: int, deadline_s: float) -> A:
        answer = await self._courier.submit(call, lane, size_bytes, deadline_s)
        if not isinstance(answer, expected):
            raise ProtocolError(f"a validator answered {type(answer).__name__} instead of {expected.__name__}")
        return answer


def _text_bytes(items: list[Any]) -> int:
    return sum(len(item.text) for item in items)


def _cache_key(request: VerdictRequest) -> _CacheKey:
    base_digest = b"" if request.base is None else content_hash(request.base)
    references = tuple(sorted(request.references.items()))
    version = request.base_version
    return request.rule_set, request.category, request.key, version, base_digest, request.new_digest, references
