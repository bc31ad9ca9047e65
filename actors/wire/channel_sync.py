"""The direct channel for threads, with the actor handle behind it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from lightning_state.actors.core.messages import Request
from lightning_state.actors.core.service_map import Describe, Described, DirectoryReply, DirectoryRequest
from lightning_state.actors.core.session import Answer, Lost, Session
from lightning_state.actors.errors import ClientClosedError, LightningStateError, ShardUnavailableError
from lightning_state.actors.wire.arrivals import Arrivals
from lightning_state.actors.wire.batching import DEFAULT_FRAME_BYTES
from lightning_state.actors.wire.connect_sync import connect_socket
from lightning_state.actors.wire.endpoint import Endpoint
from lightning_state.actors.wire.handshake import Target
from lightning_state.actors.wire.link_sync import Asked, Link
from lightning_state.actors.wire.names import shard_name
from lightning_state.actors.wire.pushes import FlushAll, Pushed, PushListener
from lightning_state.actors.wire.revival import PING_S, Revival
from lightning_state.actors.wire.transport import Transport

_DESCRIBED_WITHIN_S = 5.0


@dataclass(slots=True, eq=False)
class _Way:
    """The way to one shard."""

    number: int
    link: Link | None = None
    revival: Revival = field(default_factory=Revival)
    connecting: threading.Event | None = None
    """Set when the attempt under way is over."""
    is_first: bool = False
    """That attempt is the first one at its address: it is worth waiting for."""


class ChannelTransport:
    """Carries one client's requests, from any number of threads.

    A shard without a live channel is asked through `fallback`; the channel is tried again beside that. In the child of
    a fork it connects anew.
    """

    def __init__(self, service: str, fallback: Transport) -> None:
        self.service = service
        self.frame_bytes = DEFAULT_FRAME_BYTES
        self._fallback = fallback
        self._ways: dict[int, _Way] = {}
        self._lock = threading.Lock()
        self._listener: PushListener | None = None
        self._reader: threading.Thread | None = None
        self._closed = threading.Event()
        self._arrivals = Arrivals()
        _transports.add(self)

    def __repr__(self) -> str:
        return f"<ChannelTransport {self.service} connected={self.connected}>"

    @property
    def connected(self) -> list[int]:
        """The shards with a live channel."""
        return [number for number, way in list(self._ways.items()) if way.link is not None]

    def listen(self, listener: PushListener) -> None:
        """Be told of changes of the keys read and written over channels from now on.

        Call it before the first request. A thread reads, and asks for signs of life, while no call does.
        """
        self._listener = listener
        self._reader = threading.Thread(target=self._read_idle, name="lightning-state-channel", daemon=True)
        self._reader.start()

    def has_pushes(self) -> bool:
        """Whether something has reached this process that was not taken in yet. Quick, from any thread."""
        return self._arrivals()

    def take_in(self) -> None:
        """Hear of every push that has reached this process, without waiting. What another thread reads, it tells."""
        for way in list(self._ways.values()):
            if (link := way.link) is not None:
                link.take_in()

    def exchange(
        self, session: Session, plan: Mapping[int, Sequence[Request]], deadline_s: float
    ) -> dict[int, list[Answer]]:
        """Ask every shard of the plan at once; answers come in the order of the requests, `Lost` where there is none.

        Returns at the deadline (seconds of the monotonic clock) at the latest.
        """
        asked: dict[int, tuple[Link, list[Asked]]] = {}
        others: dict[int, Sequence[Request]] = {}
        for shard, requests in plan.items():
            way = self._ways.get(shard)
            link = way.link if way is not None else None
            if link is None:
                link = self._connected(session, shard, deadline_s)
            if link is None:
                others[shard] = requests
            else:
                asked[shard] = link, link.ask(requests)
        answers = self._fallback.exchange(session, others, deadline_s) if others else {}
        for shard, (link, several) in asked.items():
            link.wait(several, deadline_s)
            answers[shard] = [_answer(shard, each) for each in several]
        return answers

    def ask_directory(self, request: DirectoryRequest, deadline_s: float) -> DirectoryReply:
        """The directory's answer, through its handle."""
        return self._fallback.ask_directory(request, deadline_s)

    def ask(self, actor: str, data: bytes, deadline_s: float) -> bytes:
        """An actor's answer to one message of its own protocol, through its handle."""
        return self._fallback.ask(actor, data, deadline_s)

    def close(self) -> None:
        """Give up what is under way: those who wait for it are told so."""
        self._closed.set()
        with self._lock:
            links = [way.link for way in self._ways.values() if way.link is not None]
        for link in links:
            link.close(ClientClosedError())
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()
        self._fallback.close()

    # -- channels ---

    def _connected(self, session: Session, shard: int, deadline_s: float) -> Link | None:
        """The live channel of a shard; None: take the handle. The first attempt at an address is waited for."""
        with self._lock:
            way = self._ways.get(shard)
            if way is None:
                way = self._ways[shard] = _Way(shard)
            if way.link is None and way.connecting is None and not self._closed.is_set():
                self._begin(session, way)
            connecting = way.connecting
        if connecting is not None and way.is_first:
            connecting.wait(max(0.0, deadline_s - time.monotonic()))
        return way.link

    def _begin(self, session: Session, way: _Way) -> None:
        """Begin an attempt in a thread of its own, if one is due. Called with the lock."""
        now_s = time.monotonic()
        address = _address(session, way.number)
        way.is_first = bool(address[0]) and way.revival.is_new(address)
        if way.is_first or way.revival.is_due(now_s):
            way.revival.tries(address, now_s)
            way.connecting = threading.Event()
            threading.Thread(
                target=self._connect,
                args=(session, way, way.connecting),
                name="lightning-state-connect",
                daemon=True,
            ).start()

    def _connect(self, session: Session, way: _Way, over: threading.Event) -> None:
        link, epoch = None, 0
        try:
            if not way.is_first:
                reply = self._fallback.ask_directory(Describe(), time.monotonic() + _DESCRIBED_WITHIN_S)
                if isinstance(reply, Described):
                    session.learn(reply.map)
            link, epoch = self._open(session, way)
        except LightningStateError:
            pass  # the handle serves meanwhile, and the next attempt is due later
        finally:
            with self._lock:
                way.connecting = None
                if link is not None and link.failure is None:
                    way.link = link
                    way.revival.came_up()
                    self._watch()
                    if self._listener is not None:
                        self._listener.opened(way.number, epoch)
            over.set()
        if link is not None and self._closed.is_set():
            link.close(ClientClosedError())

    def _open(self, session: Session, way: _Way) -> tuple[Link | None, int]:
        """A connection to the shard's newest owner and that one's epoch."""
        text, epoch = address = _address(session, way.number)
        endpoint = Endpoint.decode(text)
        if endpoint is None:
            return None, epoch
        way.revival.tries(address, time.monotonic())
        target = Target(shard_name(self.service, way.number), session.map.service_id, epoch)
        sock, parser, frame_bytes = connect_socket(endpoint, target)
        link = Link(
            sock,
            parser,
            session,
            name=target.name,
            frame_bytes=min(frame_bytes, self.frame_bytes),
            on_push=partial(self._pushed, way),
            on_lost=partial(self._lost, way),
            on_proof=partial(self._listener.proved, way.number) if self._listener is not None else None,
        )
        if self._listener is not None:
            link.track()
        return link, epoch

    def _pushed(self, way: _Way, message: Pushed) -> None:
        if self._listener is None:
            return
        if isinstance(message, FlushAll):
            self._listener.flushed(way.number)
        else:
            self._listener.invalidated(way.number, message)

    def _lost(self, way: _Way, link: Link) -> None:
        with self._lock:
            if way.link is link:
                way.link = None
                self._watch()
                if self._listener is not None:
                    self._listener.lost(way.number)

    def _watch(self) -> None:
        """Ask the connections there are now. Called with the lock."""
        links = [way.link for way in self._ways.values() if way.link is not None]
        self._arrivals = Arrivals(link.fileno() for link in links if link.failure is None)

    def _read_idle(self) -> None:
        """Pushes and signs of life, when no call reads."""
        while not self._closed.wait(PING_S / 2):
            for way in list(self._ways.values()):
                if (link := way.link) is not None:
                    link.take_in(ping=True)

    def forked(self) -> None:
        """In the child of a fork: nothing of the parent's may be used, its locks may be held for ever."""
        links = [way.link for way in self._ways.values() if way.link is not None]
        self._ways = {}
        self._arrivals = Arrivals()
        self._lock = threading.Lock()
        self._closed = _copied(self._closed)
        for link in links:
            link.abandon()
        if self._listener is not None:
            self._listener.forked()
            self.listen(self._listener)


def _answer(shard: int, asked: Asked) -> Answer:
    if asked.answer is not None:
        return asked.answer
    return Lost(asked.sent, ShardUnavailableError.code, f"shard {shard} did not answer before the deadline")


def _address(session: Session, shard: int) -> tuple[str, int]:
    info = next((info for info in session.map.shards if info.number == shard), None)
    return (info.endpoint, info.epoch) if info is not None else ("", 0)


def _copied(event: threading.Event) -> threading.Event:
    copy = threading.Event()
    if event.is_set():
        copy.set()
    return copy


_transports: weakref.WeakSet[ChannelTransport] = weakref.WeakSet()


def _after_fork() -> None:
    for transport in list(_transports):
        transport.forked()


os.register_at_fork(after_in_child=_after_fork)
