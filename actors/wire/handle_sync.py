"""Frames over actor handles, for threads, by flat combining: a thread that sends takes along what the others ask."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ray import ObjectRef

from lightning_state.actors.core.messages import Request
from lightning_state.actors.core.service_map import DirectoryReply, DirectoryRequest
from lightning_state.actors.core.session import Answer, Lost, Session
from lightning_state.actors.errors import ServiceNotFoundError, ShardUnavailableError
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


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request whose thread waits."""

    request: Request
    answer: Answer | None = None
    sent: bool = False
    unwanted: bool = False


@dataclass(slots=True, eq=False)
class _Lane:
    """The queue to one shard, for either the requests that may wait or those that do not."""

    actor: str
    queue: deque[_Waiting] = field(default_factory=deque[_Waiting])
    in_flight: int = 0


@dataclass(slots=True, eq=False)
class _Frame:
    """A frame one thread carries, from the moment its requests left the queue."""

    lane: _Lane
    batch: list[_Waiting]
    sent: ObjectRef[bytes] | None = None
    expires_s: float = 0.0


class HandleTransport:
    """Carries one client's requests, from any number of threads, without a thread of its own."""

    def __init__(self, service: str, calls: ActorCalls | None = None) -> None:
        self.service = service
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self._calls = calls or ActorCalls()
        self._lanes: dict[tuple[int, bool], _Lane] = {}
        self._turn = threading.Condition()
        # Guards lanes, queues and answers; notified when answers arrive or a lane has room again.

    def __repr__(self) -> str:
        return f"<HandleTransport {self.service} lanes={len(self._lanes)}>"

    def exchange(
        self, session: Session, plan: Mapping[int, Sequence[Request]], deadline_s: float
    ) -> dict[int, list[Answer]]:
        """Ask every shard of the plan at once; answers come in the order of the requests, `Lost` where there is none.

        Returns at the deadline (seconds of the monotonic clock) at the latest.
        """
        mine, lanes = self._enqueue(plan)
        everything = [each for several in mine.values() for each in several]
        carried: list[_Frame] = []
        try:
            while self._take_turn(everything, lanes, carried, deadline_s):
                for frame in [each for each in carried if each.sent is None]:
                    self._submit(session, frame, carried)
                if carried and not self._land(carried, deadline_s):
                    break
        finally:
            self._leave(everything, carried)
        return {shard: [self._answer(shard, each) for each in several] for shard, several in mine.items()}

    def ask_directory(self, request: DirectoryRequest, deadline_s: float) -> DirectoryReply:
        """The directory's answer.

        Raises ServiceNotFoundError when the service has no directory, ShardUnavailableError when it does not answer.
        """
        name = directory_name(self.service)
        try:
            self._calls.find(name)
        except ShardUnavailableError as error:
            raise ServiceNotFoundError(
                f"no service {self.service!r} runs on this Ray cluster: start one with `lightning-state up`"
            ) from error
        return decode_directory_reply(self.ask(name, encode(request), deadline_s))

    def ask(self, actor: str, data: bytes, deadline_s: float) -> bytes:
        """An actor's answer to one message of its own protocol. Raises ShardUnavailableError when there is none."""
        try:
            sent = self._calls.submit(actor, data)
            return self._calls.result(sent, min(deadline_s, time.monotonic() + FRAME_TIMEOUT_S))
        except Exception as error:  # every failure of the call is translated, at this one boundary
            self._calls.forget(actor)
            raise translate(error, actor) from error

    def listen(self, listener: PushListener) -> None:
        """Nothing is pushed over actor handles: the listener hears of no channel, so nothing is cached."""

    def has_pushes(self) -> bool:
        """Never."""
        return False

    def take_in(self) -> None:
        """There is nothing to take in."""

    def close(self) -> None:
        """Nothing to give up: each thread carries its own frames to their end."""

    def _enqueue(self, plan: Mapping[int, Sequence[Request]]) -> tuple[dict[int, list[_Waiting]], list[_Lane]]:
        mine: dict[int, list[_Waiting]] = {}
        lanes: dict[int, _Lane] = {}
        with self._turn:
            for shard, requests in plan.items():
                mine[shard] = [_Waiting(request) for request in requests]
                for each in mine[shard]:
                    place = (shard, may_wait(each.request))
                    lane = self._lanes.get(place)
                    if lane is None:
                        lane = self._lanes[place] = _Lane(shard_name(self.service, shard))
                    lane.queue.append(each)
                    lanes[id(lane)] = lane
        return mine, list(lanes.values())

    def _take_turn(
        self, mine: Sequence[_Waiting], lanes: Sequence[_Lane], carried: list[_Frame], deadline_s: float
    ) -> bool:
        """Add to `carried` what this thread shall send now; with nothing to do, wait. False: it may leave."""
        with self._turn:
            while True:
                settled = all(each.answer is not None for each in mine)
                if not settled:
                    for lane in lanes:
                        self._take(lane, carried)
                if carried:
                    return True
                remaining_s = deadline_s - time.monotonic()
                if settled or remaining_s <= 0:
                    return False
                self._turn.wait(remaining_s)

    def _take(self, lane: _Lane, carried: list[_Frame]) -> None:
        while lane.in_flight < FRAMES_IN_FLIGHT and (batch := take(lane.queue, self.frame_bytes)):
            lane.in_flight += 1
            carried.append(_Frame(lane, batch))

    def _submit(self, session: Session, frame: _Frame, carried: list[_Frame]) -> None:
        try:
            data = encode(session.frame([each.request for each in frame.batch]))
            frame.sent = self._calls.submit(frame.lane.actor, data)
        except Exception as error:  # noqa: BLE001  # whatever failed, those who wait must hear that nothing was sent
            carried.remove(frame)
            self._fail(frame, error)
            return
        frame.expires_s = time.monotonic() + FRAME_TIMEOUT_S
        for each in frame.batch:
            each.sent = True

    def _land(self, carried: list[_Frame], deadline_s: float) -> bool:
        """Wait for one of the frames this thread carries. False when the deadline passed first."""
        frames = {frame.sent: frame for frame in carried if frame.sent is not None}
        until_s = min(deadline_s, *(frame.expires_s for frame in carried))
        sent = self._calls.first(list(frames), until_s)
        if sent is None:  # none in time: the oldest one is given up
            sent = min(frames, key=lambda each: frames[each].expires_s)
        frame = frames[sent]
        try:
            answers: Sequence[Answer] = read_replies(self._calls.result(sent, until_s), len(frame.batch))
        except Exception as error:  # noqa: BLE001  # whatever failed, those who wait must hear that the frame was lost
            carried.remove(frame)
            self._fail(frame, error)
        else:
            carried.remove(frame)
            self._settle(frame, answers)
        return time.monotonic() < deadline_s

    def _fail(self, frame: _Frame, error: BaseException) -> None:
        self._calls.forget(frame.lane.actor)
        self._settle(frame, [lost(error, frame.lane.actor, sent=each.sent) for each in frame.batch])

    def _settle(self, frame: _Frame, answers: Sequence[Answer]) -> None:
        with self._turn:
            for each, answer in zip(frame.batch, answers, strict=True):
                each.answer = answer
            frame.lane.in_flight -= 1
            self._turn.notify_all()

    def _leave(self, mine: Sequence[_Waiting], carried: Sequence[_Frame]) -> None:
        """This thread stops waiting: others whose requests it carried send them again, under the same request ids."""
        left = Lost(sent=True, code=ShardUnavailableError.code, message="the thread that carried the frame gave up")
        for frame in carried:
            self._settle(frame, [left] * len(frame.batch))
        with self._turn:
            for each in mine:
                each.unwanted = True

    @staticmethod
    def _answer(shard: int, waiting: _Waiting) -> Answer:
        if waiting.answer is not None:
            return waiting.answer
        return Lost(waiting.sent, ShardUnavailableError.code, f"shard {shard} did not answer before the deadline")
