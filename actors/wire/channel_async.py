"""The direct channel for asyncio, with the actor handle behind it: what waits at one moment goes in one frame."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from lightning_state.actors.core.messages import Request
from lightning_state.actors.core.service_map import Describe, Described, DirectoryReply, DirectoryRequest
from lightning_state.actors.core.session import Answer, Lost, Session
from lightning_state.actors.errors import ClientClosedError, LightningStateError, ShardUnavailableError
from lightning_state.actors.wire.arrivals import Arrivals
from lightning_state.actors.wire.batching import DEFAULT_FRAME_BYTES, may_wait, read_partial, read_replies, take
from lightning_state.actors.wire.codec import encode
from lightning_state.actors.wire.endpoint import Endpoint
from lightning_state.actors.wire.framing import Kind
from lightning_state.actors.wire.handshake import Target
from lightning_state.actors.wire.link_async import AsyncLink, connect_link
from lightning_state.actors.wire.names import shard_name
from lightning_state.actors.wire.pushes import FlushAll, Pushed, PushListener
from lightning_state.actors.wire.revival import Revival
from lightning_state.actors.wire.transport import AsyncTransport

_DESCRIBED_WITHIN_S = 5.0
_TURNS = 4
"""Of the event loop, at most, for taking in what has arrived: it reads what it saw in one turn in the next."""


class _Round:
    """One call of `exchange` over channels: done when the last of its requests is answered."""

    __slots__ = ("done", "left")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.left = 0


class _Asked(msgspec.Struct, eq=False):
    """One request of a round."""

    request: Request
    round: _Round
    answer: Answer | None = None
    sent: bool = False

    @property
    def unwanted(self) -> bool:
        return self.round.done.done()

    def settle(self, answer: Answer) -> None:
        if self.answer is None:
            self.answer = answer
            self.round.left -= 1
            if not self.round.left and not self.round.done.done():
                self.round.done.set_result(None)


@dataclass(slots=True, eq=False)
class _Way:
    """The way to one shard."""

    number: int
    link: AsyncLink | None = None
    revival: Revival = field(default_factory=Revival)
    connecting: asyncio.Task[None] | None = None
    is_first: bool = False
    """The attempt under way is the first one at its address: it is worth waiting for."""
    queues: tuple[deque[_Asked], deque[_Asked]] = field(default_factory=lambda: (deque(), deque()))
    """What is answered at once and what may wait never share a frame."""
    scheduled: bool = False


class AsyncChannelTransport:
    """Carries one client's requests. Belongs to the event loop it is first used on.

    A shard without a live channel is asked through `fallback`; the channel is tried again beside that.
    """

    def __init__(self, service: str, fallback: AsyncTransport) -> None:
        self.service = service
        self._fallback = fallback
        self._ways: dict[int, _Way] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: PushListener | None = None
        self._deadlines = _Deadlines()
        self._closed = False
        self._arrivals = Arrivals()
        self.frame_bytes = DEFAULT_FRAME_BYTES

    def __repr__(self) -> str:
        return f"<AsyncChannelTransport {self.service} connected={self.connected}>"

    @property
    def connected(self) -> list[int]:
        """The shards with a live channel."""
        return [number for number, way in self._ways.items() if way.link is not None]

    def listen(self, listener: PushListener) -> None:
        """Be told of changes of what is read and written over channels. Call it before the first request."""
        self._listener = listener

    def has_pushes(self) -> bool:
        """Whether something has reached this process that was not taken in yet. Quick."""
        return self._arrivals()

    async def take_in(self) -> None:
        """Let the event loop read what has reached this process."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if not self._arrivals():
                return

    async def exchange(
        self, session: Session, plan: Mapping[int, Sequence[Request]], deadline_s: float
    ) -> dict[int, list[Answer]]:
        """Ask every shard of the plan at once; answers come in the order of the requests, `Lost` where there is none.

        Returns at the deadline (seconds of the monotonic clock) at the latest. Cancelling it withdraws what was not
        sent yet.
        """
        for shard in plan:
            way = self._ways.get(shard)
            if way is None or way.link is None:
                await self._prepare(session, shard)
        waits = _Round(asyncio.get_running_loop().create_future())
        asked: dict[int, list[_Asked]] = {}
        others: dict[int, Sequence[Request]] = {}
        for shard, requests in plan.items():
            way = self._ways[shard]
            if way.link is None:
                others[shard] = requests
                continue
            asked[shard] = several = [_Asked(request, waits) for request in requests]
            waits.left += len(several)
            self._enqueue(session, way, several)
        if not asked:
            return await self._by_handle(session, plan, deadline_s)
        self._deadlines.add(waits, deadline_s)
        try:
            if others:
                found, _ = await asyncio.gather(self._by_handle(session, others, deadline_s), waits.done)
            else:
                found = {}
                await waits.done
        finally:
            self._deadlines.discard(waits)
            waits.done.cancel()
        for shard, several in asked.items():
            found[shard] = [_answer(shard, each) for each in several]
        return found

    async def ask_directory(self, request: DirectoryRequest, deadline_s: float) -> DirectoryReply:
        """The directory's answer, through its handle."""
        return await self._fallback.ask_directory(request, deadline_s)

    async def ask(self, actor: str, data: bytes, deadline_s: float) -> bytes:
        """An actor's answer to one message of its own protocol, through its handle."""
        return await self._fallback.ask(actor, data, deadline_s)

    async def close(self) -> None:
        """Give up what is under way: those who wait for it are told so."""
        self._closed = True
        self._deadlines.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for way in self._ways.values():
            self._fail_queued(way, ClientClosedError())
            if way.link is not None:
                way.link.close(ClientClosedError())
        await self._fallback.close()

    # -- channels ---

    async def _prepare(self, session: Session, shard: int) -> _Way:
        """The way to a shard, its channel connected if this is the first time; else that is tried again beside."""
        way = self._ways.get(shard)
        if way is None:
            way = self._ways[shard] = _Way(shard)
        if way.link is None and way.connecting is None and not self._closed:
            address = _address(session, shard)
            way.is_first = bool(address[0]) and way.revival.is_new(address)
            if way.is_first or way.revival.is_due(time.monotonic()):
                way.revival.tries(address, time.monotonic())
                work = self._connect(session, way, learn=not way.is_first)
                way.connecting = asyncio.get_running_loop().create_task(work)
                self._tasks.add(way.connecting)
                way.connecting.add_done_callback(partial(self._ended, way))
        if way.connecting is not None and way.is_first:
            await asyncio.wait([way.connecting])
        return way

    async def _connect(self, session: Session, way: _Way, *, learn: bool) -> None:
        try:
            if learn:
                reply = await self._fallback.ask_directory(Describe(), time.monotonic() + _DESCRIBED_WITHIN_S)
                if isinstance(reply, Described):
                    session.learn(reply.map)
            text, epoch = address = _address(session, way.number)
            endpoint = Endpoint.decode(text)
            if endpoint is None:
                return
            way.revival.tries(address, time.monotonic())
            target = Target(shard_name(self.service, way.number), session.map.service_id, epoch)
            pushed, ended = partial(self._pushed, way), partial(self._lost, way)
            proved = partial(self._listener.proved, way.number) if self._listener is not None else None
            link = await connect_link(endpoint, target, on_push=pushed, on_lost=ended, on_proof=proved)
        except LightningStateError:
            return  # the handle serves meanwhile, and the next attempt is due later
        if not link.is_open:
            return  # lost before this task went on
        way.link = link
        self._watch()
        if self._listener is not None:
            link.track()
            self._listener.opened(way.number, epoch)
        way.revival.came_up()

    def _ended(self, way: _Way, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        way.connecting = None

    def _pushed(self, way: _Way, message: Pushed) -> None:
        if self._listener is None:
            return
        if isinstance(message, FlushAll):
            self._listener.flushed(way.number)
        else:
            self._listener.invalidated(way.number, message)

    def _lost(self, way: _Way) -> None:
        link, way.link = way.link, None
        self._watch()
        if self._listener is not None:
            self._listener.lost(way.number)
        if link is not None:
            self._fail_queued(way, link.failure)

    def _watch(self) -> None:
        """Ask the connections there are now."""
        links = [way.link for way in self._ways.values() if way.link is not None]
        self._arrivals = Arrivals(link.fileno() for link in links)

    def _fail_queued(self, way: _Way, failure: LightningStateError) -> None:
        for queue in way.queues:
            while queue:
                queue.popleft().settle(Lost(sent=False, code=failure.code, message=str(failure)))

    async def _by_handle(
        self, session: Session, plan: Mapping[int, Sequence[Request]], deadline_s: float
    ) -> dict[int, list[Answer]]:
        return await self._fallback.exchange(session, plan, deadline_s)

    # -- frames ---

    def _enqueue(self, session: Session, way: _Way, several: Sequence[_Asked]) -> None:
        for each in several:
            way.queues[may_wait(each.request)].append(each)
        if not way.scheduled:  # later in this turn of the loop: everything asked for in it shares a frame
            way.scheduled = True
            asyncio.get_running_loop().call_soon(self._pump, session, way)

    def _pump(self, session: Session, way: _Way) -> None:
        way.scheduled = False
        for queue in way.queues:
            while way.link is not None and (batch := take(queue, min(self.frame_bytes, way.link.frame_bytes))):
                data = encode(session.frame([each.request for each in batch]))
                for each in batch:
                    each.sent = True
                way.link.request(data, _Landing(batch, way.link))


class _Landing:
    """A frame under way: gives its replies to whoever asked."""

    __slots__ = ("_batch", "_left", "_link")

    def __init__(self, batch: list[_Asked], link: AsyncLink) -> None:
        self._batch = batch
        self._left = len(batch)
        self._link = link

    def __call__(self, kind: int, payload: bytes) -> bool:
        batch = self._batch
        if kind == Kind.REPLY:
            for each, reply in zip(batch, read_replies(payload, len(batch)), strict=True):
                each.settle(reply)
            return True
        if kind == Kind.PARTIAL:
            for each, reply in read_partial(payload, batch):
                self._left -= each.answer is None
                each.settle(reply)
            return not self._left
        failure = self._link.failure
        for each in batch:
            each.settle(Lost(sent=True, code=_lost_code(failure), message=str(failure)))
        return True


def _lost_code(failure: LightningStateError) -> str:
    return ClientClosedError.code if isinstance(failure, ClientClosedError) else ShardUnavailableError.code


def _answer(shard: int, asked: _Asked) -> Answer:
    if asked.answer is not None:
        return asked.answer
    return Lost(asked.sent, ShardUnavailableError.code, f"shard {shard} did not answer before the deadline")


def _address(session: Session, shard: int) -> tuple[str, int]:
    info = next((info for info in session.map.shards if info.number == shard), None)
    return (info.endpoint, info.epoch) if info is not None else ("", 0)


class _Deadlines:
    """Ends rounds at their deadlines, by one timer for all: one for each would cost as much as sending."""

    def __init__(self) -> None:
        self._rounds: dict[_Round, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def add(self, waits: _Round, deadline_s: float) -> None:
        """End the round at this moment of the monotonic clock."""
        self._rounds[waits] = deadline_s
        if self._timer is None or deadline_s < self._due_s:
            self._schedule(deadline_s)

    def discard(self, waits: _Round) -> None:
        """The round is over."""
        self._rounds.pop(waits, None)

    def close(self) -> None:
        """End nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = due_s
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due_s - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        for waits in [waits for waits, deadline_s in self._rounds.items() if deadline_s <= now_s]:
            del self._rounds[waits]
            if not waits.done.done():
                waits.done.set_result(None)
        if self._rounds:
            self._schedule(min(self._rounds.values()))
