"""Answers batches: plain rules at once, user validators beside each other with a timeout. Knows no Ray."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.answers import analyse
from lightning_state.actors.core.verl.context import VerdictContext
from lightning_state.actors.core.verl.evaluate import Plan, conclude, examine, failed_issue, load_plan
from lightning_state.actors.core.verl.messages import (
    Answer,
    Answers,
    Batch,
    Call,
    CheckConsistency,
    EvaluateConfidence,
    Issue,
    Severity,
    ValidateReasoning,
    Verdict,
    VerdictRequest,
    VerifyFacts,
    content_hash,
)
from lightning_state.actors.core.verl.rule_set import RuleSet
from lightning_state.actors.errors import LightningStateError, UnknownCategoryError
from lightning_state.actors.settings import JudgeSettings

_THREADS = 16
_PLANS = 256
_MOST_ISSUES = 100
"""Findings taken from one user validator."""


class Examiner:
    """Examines batches of calls. Holds imported rule sets and nothing else; must be used on one event loop."""

    def __init__(self, judge: JudgeSettings | None = None) -> None:
        self._judge = judge
        self._plans: dict[str, Plan] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="user-validator")
        self._overrun = 0

    @property
    def is_stuck(self) -> bool:
        """Every thread is held by a user validator that overran its timeout (threads cannot be ended)."""
        return self._overrun >= _THREADS

    async def examine(self, batch: Batch) -> Answers:
        """One answer a call, in order; what goes wrong with one call is that call's answer."""
        answers = self.begin(batch)
        return answers if isinstance(answers, Answers) else await answers

    def begin(self, batch: Batch) -> Answers | Coroutine[Any, Any, Answers]:
        """The same at once, when no call of the batch waits for anything; else what is to be awaited."""
        answers = [self._answer(call, batch.rule_sets) for call in batch.calls]
        return Answers(answers) if all(type(answer) is Verdict for answer in answers) else _gathered(answers)

    def _answer(self, call: Call, rule_sets: dict[str, RuleSet]) -> Any:
        # Plain calls of known rule sets never become coroutines: a task each would cost more than the rules.
        if isinstance(call, EvaluateConfidence):
            call = VerdictRequest("", call.key, 0, None, call.body, content_hash(call.body), {}, call.rule_set)
        if not isinstance(call, VerdictRequest):
            return _analysed(call)
        plan = self._plans.get(call.rule_set)
        if plan is None or plan.validators:
            return self._answer_waiting(call, rule_sets)
        return conclude(plan, call, examine(plan, call, self._judge).issues)

    async def _answer_waiting(self, call: VerdictRequest, rule_sets: dict[str, RuleSet]) -> Verdict | Refused:
        try:
            plan = await self._plan(call.rule_set, rule_sets)
        except LightningStateError as error:
            return Refused(error.code, str(error), {})
        examined = examine(plan, call, self._judge)
        issues = examined.issues
        # A state that is refused anyway is not shown to validators that may be slow or cost money.
        if examined.context is not None and all(issue.severity is not Severity.ERROR for issue in issues):
            context = examined.context
            runs = (self._run(path, validator, context, plan) for path, validator in plan.validators)
            for found in await asyncio.gather(*runs):
                issues.extend(found)
        return conclude(plan, call, issues)

    async def _plan(self, rule_set_id: str, rule_sets: dict[str, RuleSet]) -> Plan:
        if (plan := self._plans.get(rule_set_id)) is not None:
            return plan
        rule_set = rule_sets.get(rule_set_id)
        if rule_set is None or rule_set.id != rule_set_id:
            raise UnknownCategoryError(f"the batch does not carry its rule set {rule_set_id}")
        importlib.invalidate_caches()  # the module may have been written after this process looked for it
        plan = await asyncio.to_thread(load_plan, rule_set)
        if len(self._plans) >= _PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[rule_set_id] = plan
        return plan

    async def _run(
        self, path: str, validator: Callable[[VerdictContext], Any], context: VerdictContext, plan: Plan
    ) -> list[Issue]:
        timeout_s = plan.rule_set.validator_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                found = await self._call(validator, context)
            return _checked(found)
        except TimeoutError:
            return [failed_issue("validator", path, f"did not answer within {timeout_s:g} s")]
        except Exception as error:  # noqa: BLE001  # user code may raise anything; its text may hold secrets, its class not
            return [failed_issue("validator", path, f"raised {type(error).__name__}")]

    async def _call(self, validator: Callable[[VerdictContext], Any], context: VerdictContext) -> Any:
        inner = getattr(validator, "__call__", validator)  # noqa: B004  # its type is asked for, not whether it exists
        if inspect.iscoroutinefunction(validator) or inspect.iscoroutinefunction(inner):
            return await validator(context)
        running = self._threads.submit(validator, context)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            if running.running():
                self._overrun += 1
                loop = asyncio.get_running_loop()
                running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._returned))
            raise

    def _returned(self) -> None:
        self._overrun -= 1


class BusyClock:
    """Seconds with work in hand, for the utilisation that scales the pool."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._busy_s = 0.0
        self._since_s = 0.0
        self.in_hand = 0

    def __enter__(self) -> None:
        if not self.in_hand:
            self._since_s = time.monotonic()
        self.in_hand += 1

    def __exit__(self, *_: object) -> None:
        self.in_hand -= 1
        if not self.in_hand:
            self._busy_s += time.monotonic() - self._since_s

    def read(self) -> tuple[float, float]:
        """(busy, alive) in seconds since the start."""
        now_s = time.monotonic()
        current_s = now_s - self._since_s if self.in_hand else 0.0
        return self._busy_s + current_s, now_s - self._began_s


async def _gathered(answers: list[Any]) -> Answers:
    return Answers(await asyncio.gather(*(_settle(answer) for answer in answers)))


async def _settle(answer: Any) -> Answer:
    return answer if isinstance(answer, Verdict) else await answer


async def _analysed(call: VerifyFacts | ValidateReasoning | CheckConsistency) -> Answer:
    try:
        # On a thread: a validator that answers no ping for three seconds is taken for dead.
        return await asyncio.to_thread(analyse, call)
    except LightningStateError as error:
        return Refused(error.code, str(error), {})


def _checked(found: Any) -> list[Issue]:
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(issue, Issue) for issue in found):
        raise TypeError("a validator returns a list of Issue, or None")
    # Through plain values and back: msgspec checks a struct's fields when it reads one, not when one is made.
    return msgspec.convert(msgspec.to_builtins(found[:_MOST_ISSUES]), list[Issue])
