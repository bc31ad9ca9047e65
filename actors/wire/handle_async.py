"""Frames over actor handles, for asyncio: what waits at one moment for one shard goes in one frame."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lightning_state.actors.core.messages import Reply, Request
from lightning_state.actors.core.service_map import DirectoryReply, DirectoryRequest
from lightning_state.actors.core.session import Answer, Lost, Session
from lightning_state.actors.errors import ClientClosedError, ServiceNotFoundError, ShardUnavailableError
from lightning_state.actors.wire.actor_calls import ActorCalls
from lightning_state.actors.wire.batching import (
    DEFAULT_FRAME_BYTES,
    FRAME_TIMEOUT_S,
    FRAMES_IN_FLIGHT,
    may_wait,
    read_replies,
    take,
)
from lightning_state.actors.wire.codec import decode_directory_reply, encode
from lightning_state.actors.wire.names import directory_name, shard_name
from lightning_state.actors.wire.pushes import PushListener
from lightning_state.actors.wire.translate import lost, translate

_CLOSED = "the client was closed"


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request whose caller waits."""

    request: Request
    answer: asyncio.Future[Answer]
    deadline_s: float
    sent: bool = False

    @property
    def unwanted(self) -> bool:
        return self.answer.done()


@dataclass(slots=True, eq=False)
class _Lane:
    """The queue to one shard, for either the requests that may wait or those that do not."""

    actor: str
    queue: deque[_Waiting] = field(default_factory=deque[_Waiting])
    in_flight: int = 0
    scheduled: bool = False


class AsyncHandleTransport:
    """Carries one client's requests. Belongs to the event loop it is first used on."""

    def __init__(self, service: str, calls: ActorCalls | None = None) -> None:
        self.service = service
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self._calls = calls or ActorCalls()
        self._lanes: dict[tuple[int, bool], _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<AsyncHandleTransport {self.service} lanes={len(self._lanes)} frames={len(self._tasks)}>"

    async def exchange(
        self, session: Session, plan: Mapping[int, Sequence[Request]], deadline_s: float
    ) -> dict[int, list[Answer]]:
        """Ask every shard of the plan at once; answers come in the order of the requests, `Lost` where there is none.

        Returns at the deadline (seconds of the monotonic clock) at the latest. Cancelling it withdraws what was not
        sent yet.
        """
        waiting = {shard: [self._enqueue(session, shard, r, deadline_s) for r in rs] for shard, rs in plan.items()}
        answers = [each.answer for several in waiting.values() for each in several]
        try:
            if answers:
                await asyncio.wait(answers, timeout=max(0.0, deadline_s - time.monotonic()))
        finally:
            for answer in answers:
                answer.cancel()
        return {shard: [self._answer(shard, each) for each in several] for shard, several in waiting.items()}

    async def ask_directory(self, request: DirectoryRequest, deadline_s: float) -> DirectoryReply:
        """The directory's answer.

        Raises ServiceNotFoundError when the service has no directory, ShardUnavailableError when it does not answer.
        """
        name = directory_name(self.service)
        try:
            await self._look_up(name)
        except ShardUnavailableError as error:
            raise ServiceNotFoundError(
                f"no service {self.service!r} runs on this Ray cluster: start one with `lightning-state up`"
            ) from error
        return decode_directory_reply(await self.ask(name, encode(request), deadline_s))

    async def ask(self, actor: str, data: bytes, deadline_s: float) -> bytes:
        """An actor's answer to one message of its own protocol. Raises ShardUnavailableError when there is none."""
        try:
            await self._look_up(actor)
            async with asyncio.timeout(max(0.0, min(FRAME_TIMEOUT_S, deadline_s - time.monotonic()))):
                return await self._calls.submit(actor, data)
        except Exception as error:  # every failure of the call is translated, at this one boundary
            self._calls.forget(actor)
            raise translate(error, actor) from error

    def listen(self, listener: PushListener) -> None:
        """Nothing is pushed over actor handles: the listener hears of no channel, so nothing is cached."""

    def has_pushes(self) -> bool:
        """Never."""
        return False

    async def take_in(self) -> None:
        """There is nothing to take in."""

    async def close(self) -> None:
        """Give up what is under way: those who wait for it are told so."""
        self._closed = True
        for lane in self._lanes.values():
            while lane.queue:
                _settle(lane.queue.popleft(), Lost(sent=False, code=ClientClosedError.code, message=_CLOSED))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look_up(self, name: str) -> None:
        # Asking Ray for a handle blocks, and for long while its head is away: never on the event loop.
        if not self._calls.knows(name):
            await asyncio.to_thread(self._calls.find, name)

    def _enqueue(self, session: Session, shard: int, request: Request, deadline_s: float) -> _Waiting:
        waiting = _Waiting(request, asyncio.get_running_loop().create_future(), deadline_s)
        place = (shard, may_wait(request))
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = _Lane(shard_name(self.service, shard))
        lane.queue.append(waiting)
        self._schedule(session, lane)
        return waiting

    @staticmethod
    def _answer(shard: int, waiting: _Waiting) -> Answer:
        if waiting.answer.done() and not waiting.answer.cancelled():
            return waiting.answer.result()
        return Lost(waiting.sent, ShardUnavailableError.code, f"shard {shard} did not answer before the deadline")

    def _schedule(self, session: Session, lane: _Lane) -> None:
        # Later in this turn of the loop, so that everything asked for in the turn shares a frame.
        if not lane.scheduled and not self._closed:
            lane.scheduled = True
            asyncio.get_running_loop().call_soon(self._pump, session, lane)

    def _pump(self, session: Session, lane: _Lane) -> None:
        lane.scheduled = False
        while lane.in_flight < FRAMES_IN_FLIGHT and (batch := take(lane.queue, self.frame_bytes)):
            lane.in_flight += 1
            task = asyncio.get_running_loop().create_task(self._carry(session, lane, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, session: Session, lane: _Lane, batch: list[_Waiting]) -> None:
        outcome: Sequence[Answer] = ()
        try:
            outcome = await self._send(session, lane, batch)
        except Exception as error:  # noqa: BLE001  # whatever failed, those who wait must hear that the frame was lost
            self._calls.forget(lane.actor)
            outcome = [lost(error, lane.actor, sent=each.sent) for each in batch]
        finally:
            if not outcome:  # cancelled by close
                outcome = [Lost(each.sent, ClientClosedError.code, _CLOSED) for each in batch]
            for each, answer in zip(batch, outcome, strict=True):
                _settle(each, answer)
            lane.in_flight -= 1
            self._schedule(session, lane)

    async def _send(self, session: Session, lane: _Lane, batch: list[_Waiting]) -> list[Reply]:
        deadline_s = max(each.deadline_s for each in batch)
        timeout_s = min(deadline_s - time.monotonic(), FRAME_TIMEOUT_S)
        async with asyncio.timeout(max(0.0, timeout_s)):
            await self._look_up(lane.actor)
            sent = self._calls.submit(lane.actor, encode(session.frame([each.request for each in batch])))
            for each in batch:
                each.sent = True
            return read_replies(await sent, len(batch))


def _settle(waiting: _Waiting, answer: Answer) -> None:
    if not waiting.answer.done():
        waiting.answer.set_result(answer)
