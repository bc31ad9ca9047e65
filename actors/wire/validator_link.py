"""Asks the VERL pool for verdicts: the shard's, and any client's, side of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

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
)
from lightning_state.actors.core.verl.rule_set import rule_set_of
from lightning_state.actors.errors import (
    LightningStateError,
    ProtocolError,
    UnknownCategoryError,
)
from lightning_state.actors.settings import Settings
from lightning_state.actors.wire.validator_courier import Courier
from lightning_state.actors.wire.validator_transport import ChannelValidatorTransport, RayTransport, ValidatorTransport

A = TypeVar("A", Verdict, FactReport, ReasoningReport, ConsistencyReport)
_CacheKey = tuple[str, str, int, int, bytes, tuple[tuple[str, bool], ...]]

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
        self._cache: OrderedDict[_CacheKey, Verdict] = OrderedDict()
        # The oldest goes first: a verdict is asked for again soon or, as its key's version has moved on, never.

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
        key = _cache_key(request)
        if (known := self._cache.get(key)) is not None:
            return known
        size_bytes = len(request.new) + len(request.base or b"")
        answer = await self._courier.ask(request, self._lane(request.rule_set), size_bytes, deadline_s)
        verdict = self._checked(request, key, answer)
        if isinstance(verdict, LightningStateError):
            raise verdict
        return verdict

    def begin(
        self, request: VerdictRequest, deadline_s: float, conclude: Callable[[Verdict | LightningStateError], None]
    ) -> None:
        """Ask without waiting: `conclude` gets what `verdict` returns or raises, at once or later on the loop."""
        key = _cache_key(request)
        if (known := self._cache.get(key)) is not None:
            conclude(known)
            return
        size_bytes = len(request.new) + len(request.base or b"")
        land = partial(self._landed, request, key, conclude)
        try:
            self._courier.submit(request, self._lane(request.rule_set), size_bytes, deadline_s, land)
        except LightningStateError as error:
            conclude(error)

    def _landed(
        self,
        request: VerdictRequest,
        key: _CacheKey,
        conclude: Callable[[Verdict | LightningStateError], None],
        answer: Answer | LightningStateError,
    ) -> None:
        conclude(answer if isinstance(answer, LightningStateError) else self._checked(request, key, answer))

    def _checked(self, request: VerdictRequest, key: _CacheKey, verdict: Answer) -> Verdict | LightningStateError:
        """The verdict, remembered, if it is one on this request."""
        if not isinstance(verdict, Verdict):
            return ProtocolError(f"a validator answered {type(verdict).__name__} instead of Verdict")
        if verdict.content_hash != request.new_digest or verdict.rule_set != request.rule_set:
            return ProtocolError("the verdict is for another content than was asked about")
        if not verdict.is_transient:
            self._cache[key] = verdict
            if len(self._cache) > _CACHED_VERDICTS:
                self._cache.popitem(last=False)
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
        answer = await self._courier.ask(call, lane, size_bytes, deadline_s)
        if not isinstance(answer, expected):
            raise ProtocolError(f"a validator answered {type(answer).__name__} instead of {expected.__name__}")
        return answer


def _text_bytes(items: list[Any]) -> int:
    return sum(len(item.text) for item in items)


def _cache_key(request: VerdictRequest) -> _CacheKey:
    # Of one key's version there is one base. Who asks about changes of its own making may have several: Python's hash
    # of bytes, keyed at random in each process, tells them apart at a quarter of a digest's cost.
    references = tuple(sorted(request.references.items())) if request.references else ()
    return request.rule_set, request.key, request.base_version, hash(request.base), request.new_digest, references
