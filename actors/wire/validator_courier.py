"""Carries calls to the validator pool and answers back; performs what `Dispatch` decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.dispatch import Dispatch, Dispatched, Lane
from lightning_state.actors.core.verl.messages import (
    VERL_PROTOCOL,
    Answer,
    Answers,
    Batch,
    Call,
    EvaluateConfidence,
    VerdictRequest,
)
from lightning_state.actors.core.verl.rule_set import RuleSet
from lightning_state.actors.errors import (
    DeadlineExceededError,
    LightningStateError,
    ProtocolError,
    ShardUnavailableError,
    ValidationUnavailableError,
    error_from_code,
)
from lightning_state.actors.wire.validator_transport import ValidatorTransport, ping
from lightning_state.actors.wire.verl_codec import decode_from_validator, encode

_TICK_S = 0.1
_REFRESH_S = 1.0
_IDLE_S = 3.0
"""Unused for this long, the courier stops asking who the validators are."""
_SUSPECT_S = 1.0
"""A frame out for this long makes its validator answer a ping."""
_SILENT_S = 2.0

Land = Callable[[Answer | LightningStateError], None]
"""Gets the answer to a call, or why there is none; called once, on the loop. An answer is never a Refused."""


class _Pending(msgspec.Struct, eq=False):
    call: Call
    land: Land
    admitted_s: float
    deadline_s: float


@dataclass
class _Carried:
    frame: Dispatched
    sent_s: float
    answer: asyncio.Future[bytes]


class Courier:
    """Batches calls, bounded in flight, resent when a validator dies. One event loop."""

    def __init__(self, transport: ValidatorTransport, unavailable_after_s: float) -> None:
        self._transport = transport
        self._unavailable_after_s = unavailable_after_s
        self._dispatch = Dispatch()
        self._rule_sets: dict[str, RuleSet] = {}
        self._pending: dict[int, _Pending] = {}
        self._carried: dict[int, _Carried] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._flush_due = self._is_closed = False
        self._refreshed_s = self._used_s = 0.0
        self._down_since_s: float | None = None
        self._last_call = 0

    def __repr__(self) -> str:
        return f"<Courier pending={len(self._pending)} {self._dispatch!r}>"

    def know(self, rule_set_id: str, rule_set: RuleSet) -> None:
        """Send this rule set along with calls that name it."""
        self._rule_sets[rule_set_id] = rule_set

    async def ask(self, call: Call, lane: Lane, size_bytes: int, deadline_s: float) -> Answer:
        """The answer to a call, at most `deadline_s` seconds from now.

        Raises OverloadedError at once, later ValidationUnavailableError, DeadlineExceededError or the validator's own
        typed error.
        """
        landed: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def land(answer: Answer | LightningStateError) -> None:
            if landed.done():
                return
            if isinstance(answer, LightningStateError):
                landed.set_exception(answer)
            else:
                landed.set_result(answer)

        number = self.submit(call, lane, size_bytes, deadline_s, land)
        try:
            return await landed
        finally:
            self.withdraw(number)

    def submit(self, call: Call, lane: Lane, size_bytes: int, deadline_s: float, land: Land) -> int:
        """The same without a future or a task for each call: `land` gets what `ask` returns or raises, later.

        Returns a number to withdraw it by. Raises OverloadedError at once.
        """
        number = self._last_call = self._last_call + 1
        self._dispatch.admit(number, lane, size_bytes)
        now_s = time.monotonic()
        self._pending[number] = _Pending(call, land, now_s, now_s + deadline_s)
        self._used_s = now_s
        if not self._flush_due:
            # At the end of this turn of the loop: what arrived together travels together.
            self._flush_due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._flush)
            if self._watching is None:
                self._watching = loop.create_task(self._watch())
                self._refresh(now_s)
        return number

    def withdraw(self, number: int) -> None:
        """Nobody waits for this call any more, if anybody did."""
        if self._pending.pop(number, None) is not None:
            self._dispatch.forget(number)

    async def close(self) -> None:
        """Stop; calls without an answer fail with ValidationUnavailableError."""
        self._is_closed = True
        tasks: list[asyncio.Future[Any]] = [carried.answer for carried in self._carried.values()]
        tasks += [task for task in (*self._probes.values(), self._watching, self._refreshing) if task is not None]
        for number in list(self._pending):
            self._settle(number, ValidationUnavailableError("the service is stopping"))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()

    def _flush(self) -> None:
        self._flush_due = False
        if self._is_closed:
            return
        for frame in self._dispatch.take():
            self._carry(frame)

    def _carry(self, frame: Dispatched) -> None:
        calls = [self._pending[number].call for number in frame.calls]
        named = {call.rule_set for call in calls if isinstance(call, (VerdictRequest, EvaluateConfidence))}
        rule_sets = {name: self._rule_sets[name] for name in named if name in self._rule_sets}
        data = encode(Batch(VERL_PROTOCOL, rule_sets, calls))
        # What the transport returns is a future already when the channel is there: then no task is made.
        answer = asyncio.ensure_future(self._transport.send(frame.validator, data))
        self._carried[frame.frame] = _Carried(frame, time.monotonic(), answer)
        answer.add_done_callback(partial(self._landed, frame))

    def _landed(self, frame: Dispatched, answer: asyncio.Future[bytes]) -> None:
        del self._carried[frame.frame]
        if answer.cancelled():
            self._lost(frame, ShardUnavailableError(f"{frame.validator} is silent"))
        elif (error := answer.exception()) is not None:
            self._lost(frame, error)
        else:
            try:
                answers = _answers(answer.result(), len(frame.calls))
            except ProtocolError as damage:
                self._lost(frame, damage)
            else:
                self._dispatch.answered(frame.frame)
                for number, each in zip(frame.calls, answers, strict=True):
                    self._settle(number, each)
        self._flush()

    def _lost(self, frame: Dispatched, error: BaseException) -> None:
        for number in self._dispatch.failed(frame.frame):
            self._fail(number, ValidationUnavailableError(f"several validators were lost under this call: {error}"))
        self._refresh(time.monotonic())

    def _settle(self, number: int, answer: Answer | LightningStateError) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:
            return
        if isinstance(answer, Refused):
            pending.land(error_from_code(answer.code, answer.message, answer.details))
        else:
            pending.land(answer)

    def _fail(self, number: int, error: LightningStateError) -> None:
        self._dispatch.forget(number)
        self._settle(number, error)

    async def _watch(self) -> None:
        """Every tick while in use: deadlines, lost validators, the list of members."""
        try:
            while True:
                await asyncio.sleep(_TICK_S)
                now_s = time.monotonic()
                if not self._pending and now_s - self._used_s > _IDLE_S:
                    return
                if now_s - self._refreshed_s >= (_REFRESH_S if self._dispatch.has_validator else 2 * _TICK_S):
                    self._refresh(now_s)
                self._expire(now_s)
                late = {c.frame.validator for c in self._carried.values() if now_s - c.sent_s > _SUSPECT_S}
                for validator in late.union(self._dispatch.down):
                    if validator not in self._probes:
                        self._probes[validator] = asyncio.get_running_loop().create_task(self._probe(validator))
        finally:
            self._watching = None

    def _expire(self, now_s: float) -> None:
        if self._dispatch.has_validator:
            self._down_since_s = None
        elif self._down_since_s is None:
            self._down_since_s = now_s
        for number, pending in list(self._pending.items()):
            if self._down_since_s is not None:
                waited_s = now_s - max(pending.admitted_s, self._down_since_s)
                if now_s >= pending.deadline_s or waited_s >= self._unavailable_after_s:
                    self._fail(number, ValidationUnavailableError())
            elif now_s >= pending.deadline_s:
                self._fail(number, DeadlineExceededError("no verdict before the deadline; nothing was written"))

    async def _probe(self, validator: str) -> None:
        try:
            await ping(self._transport, validator, _SILENT_S)
        except (ShardUnavailableError, ProtocolError):
            for carried in list(self._carried.values()):
                if carried.frame.validator == validator:
                    carried.answer.cancel()
        else:
            self._dispatch.came_up(validator)
            self._flush()
            # Its frames wait for a user's validator: ask again, but not every tick.
            await asyncio.sleep(_SUSPECT_S)
        finally:
            del self._probes[validator]

    def _refresh(self, now_s: float) -> None:
        if self._refreshing is None:
            self._refreshed_s = now_s
            self._refreshing = asyncio.get_running_loop().create_task(self._learn_members())

    async def _learn_members(self) -> None:
        try:
            async with asyncio.timeout(_SILENT_S):
                view = await self._transport.members()
        except (TimeoutError, ShardUnavailableError, ProtocolError):
            return  # the supervisor is away: the validators known so far go on
        else:
            self._dispatch.set_members(view.members)
            self._flush()
        finally:
            self._refreshing = None


def _answers(data: bytes, expected: int) -> list[Answer]:
    message = decode_from_validator(data)
    if isinstance(message, Refused):
        return [message] * expected
    if not isinstance(message, Answers) or len(message.answers) != expected:
        raise ProtocolError("a validator answered another number of calls than it was sent")
    return message.answers
