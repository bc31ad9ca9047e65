"""One connection of the direct channel, for threads: whoever waits for an answer reads for all (leader/follower)."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from lightning_state.actors.core.messages import Reply, Request
from lightning_state.actors.core.session import Answer, Lost, Session
from lightning_state.actors.errors import ClientClosedError, LightningStateError, ProtocolError, ShardUnavailableError
from lightning_state.actors.wire import handshake
from lightning_state.actors.wire.batching import may_wait, read_partial, read_replies, take
from lightning_state.actors.wire.codec import encode
from lightning_state.actors.wire.framing import Kind, Record, RecordParser, pack
from lightning_state.actors.wire.handshake import Welcome
from lightning_state.actors.wire.pushes import Pushed, decode_pushed
from lightning_state.actors.wire.revival import PING_S, SILENT_S
from lightning_state.actors.wire.translate import translate

_CHUNK_BYTES = 64 * 1024
"""Read at once. Memory for more than 128 KiB would come from the kernel anew for every read: ten times as slow."""


class Caller(msgspec.Struct, eq=False):
    """One thread's call over one connection."""

    left: int
    """Its requests without an answer."""
    wake: threading.Lock = msgspec.field(default_factory=threading.Lock)
    """Held while the thread has no reason to wake up."""
    is_following: bool = False


class Asked(msgspec.Struct, eq=False):
    """One request of a call."""

    request: Request
    caller: Caller
    answer: Answer | None = None
    sent: bool = False
    unwanted: bool = False


class Link:
    """The client's end of one connection, after its handshake; used by any number of threads.

    One thread at a time sends, and takes along what the others queued; one thread at a time reads, and gives the
    others their answers. When it has its own, it hands over to one that still waits.
    """

    def __init__(
        self,
        sock: socket.socket,
        parser: RecordParser,
        session: Session,
        *,
        name: str,
        frame_bytes: int,
        on_push: Callable[[Pushed], None],
        on_lost: Callable[[Link], None],
        on_proof: Callable[[float], None] | None = None,
    ) -> None:
        """`sock` blocks, for PING_S at a time. `on_proof` hears when what was answered just now had been sent."""
        self.frame_bytes = frame_bytes
        self.failure: LightningStateError | None = None
        """Why it is closed; None while it is open."""
        self._socket = sock
        self._parser = parser
        self._session = session
        self._name = name
        self._on_push = on_push
        self._on_lost = on_lost
        self._on_proof = on_proof
        self._sent_s: dict[tuple[int, int], float] = {}
        # (kind, number) of requests and pings → when they were sent.
        self._pings = 0
        self._lock = threading.Lock()
        # Guards everything below. Sending and reading happen outside of it, by the one thread that is at it.
        self._queues: tuple[deque[Asked], deque[Asked]] = (deque(), deque())
        self._in_flight: dict[int, list[Asked]] = {}
        self._number = 0
        self._is_sending = False
        self._leader: Caller | None = None
        self._followers: list[Caller] = []
        self._silent_since_s: float | None = None
        # Since when something is expected and nothing came.

    def __repr__(self) -> str:
        return f"<Link {self._name} open={self.failure is None} in_flight={len(self._in_flight)}>"

    def ask(self, requests: Sequence[Request]) -> list[Asked]:
        """Send requests, with those of other threads that wait to be sent; their answers come by `wait`."""
        caller = Caller(len(requests))
        asked = [Asked(request, caller) for request in requests]
        with self._lock:
            if self.failure is not None:
                self._give_up(asked, self.failure)
                return asked
            for each in asked:
                self._queues[may_wait(each.request)].append(each)
            if self._is_sending:
                return asked
            self._is_sending = True
        self._send(b"")
        return asked

    def wait(self, asked: Sequence[Asked], deadline_s: float) -> None:
        """Return when all of them are answered or lost, or at the deadline (monotonic clock)."""
        caller = asked[0].caller
        while caller.left:
            remaining_s = deadline_s - time.monotonic()
            with self._lock:
                if not caller.left:
                    break
                if remaining_s <= 0:
                    for each in asked:
                        each.unwanted = True
                    self._promote()  # this thread may have been chosen to read: not any more
                    break
                leads = self._leader is None
                if leads:
                    self._leader = caller
                else:
                    caller.wake.acquire(blocking=False)
                    caller.is_following = True
                    self._followers.append(caller)
            if leads:
                self._lead(caller, deadline_s)
            else:
                self._follow(caller, remaining_s)

    def take_in(self, *, ping: bool = False) -> None:
        """Read what has arrived, without waiting, unless another thread is reading. `ping`: and ask for a sign of life.

        A connection found lost tells by `on_lost`.
        """
        caller = Caller(0)
        with self._lock:
            if self.failure is not None or self._leader is not None:
                return
            self._leader = caller
        try:
            while self.failure is None and _is_readable(self._socket, 0.0):
                self._read()
            if ping:
                self._keep_alive()
        except (OSError, LightningStateError) as error:
            self._break(error)
        finally:
            self._step_down()

    def track(self) -> None:
        """From now on be told of changes of the keys that are read and written over this connection."""
        with self._lock:
            self._is_sending = True  # before anybody else: the connection is new
        self._send(pack(Kind.TRACK, 0))

    def fileno(self) -> int:
        """The socket's number; -1 when it is closed."""
        return self._socket.fileno()

    def close(self, failure: LightningStateError) -> None:
        """Close; whatever is in flight is lost."""
        self._break(failure)

    def abandon(self) -> None:
        """In the child of a fork: let go of the parent's connection without a word. Its lock may be held for ever."""
        self.failure = ShardUnavailableError("the process was forked")
        self._socket.close()

    # -- sending: one thread at a time, for all ---

    def _send(self, record: bytes) -> None:
        """Send a record if there is one, then all that is queued. Only for the thread that set `_is_sending`."""
        try:
            if record:
                self._socket.sendall(record)
            while True:
                with self._lock:
                    batch = take(self._queues[0], self.frame_bytes) or take(self._queues[1], self.frame_bytes)
                    if not batch or self.failure is not None:
                        self._is_sending = False
                        self._close_if_unused()
                        if batch and self.failure is not None:
                            self._give_up(batch, self.failure)
                        return
                    self._number = number = self._number % 0xFFFF_FFFF + 1
                    self._in_flight[number] = batch
                    if self._silent_since_s is None:
                        self._silent_since_s = time.monotonic()
                    if self._on_proof is not None:
                        self._sent_s[Kind.REQUEST, number] = time.monotonic()
                    for each in batch:
                        each.sent = True
                self._socket.sendall(
                    pack(Kind.REQUEST, number, encode(self._session.frame([each.request for each in batch])))
                )
        except (OSError, LightningStateError) as error:
            with self._lock:
                self._is_sending = False
            self._break(error)

    def _keep_alive(self) -> None:
        """Raises ShardUnavailableError when nothing came for SILENT_S though it was expected; else asks for a sign."""
        now_s = time.monotonic()
        with self._lock:
            if self._silent_since_s is None:
                self._silent_since_s = now_s
            elif now_s - self._silent_since_s >= SILENT_S:
                raise ShardUnavailableError(f"{self._name} was silent for {SILENT_S:g} s")
            if self._is_sending:
                return
            self._is_sending = True
            self._pings = number = self._pings % 0xFFFF_FFFF + 1
            if self._on_proof is not None:
                self._sent_s[Kind.PING, number] = now_s
        self._send(pack(Kind.PING, number))

    # -- reading: one thread at a time, for all ---

    def _lead(self, caller: Caller, deadline_s: float) -> None:
        """Read until this thread has its answers, or its time is over."""
        try:
            while caller.left and self.failure is None:
                remaining_s = deadline_s - time.monotonic()
                # The socket itself waits for PING_S at most: a call with more time than that needs no poll first.
                if remaining_s < PING_S and not _is_readable(self._socket, max(0.0, remaining_s)):
                    self._check_silence()
                    return
                try:
                    self._read()
                except BlockingIOError:
                    self._keep_alive()
        except (OSError, LightningStateError) as error:
            self._break(error)
        finally:
            self._step_down()

    def _follow(self, caller: Caller, remaining_s: float) -> None:
        """Wait to be answered, or to be chosen as the next one to read."""
        caller.wake.acquire(timeout=remaining_s)
        with self._lock:
            if caller.is_following:
                caller.is_following = False
                self._followers.remove(caller)

    def _step_down(self) -> None:
        with self._lock:
            self._leader = None
            self._promote()
            self._close_if_unused()

    def _promote(self) -> None:
        """Wake one follower to read, if nobody does."""
        if self._leader is None and self._followers:
            self._wake(self._followers[0])

    def _wake(self, caller: Caller) -> None:
        caller.is_following = False
        self._followers.remove(caller)
        caller.wake.release()

    def _check_silence(self) -> None:
        since_s = self._silent_since_s
        if since_s is not None and time.monotonic() - since_s >= SILENT_S:
            raise ShardUnavailableError(f"{self._name} was silent for {SILENT_S:g} s")

    def _read(self) -> None:
        data = self._socket.recv(_CHUNK_BYTES)
        if not data:
            raise ShardUnavailableError(f"{self._name} closed the channel")
        for record in self._parser.feed(data):
            self._take(record)
        with self._lock:
            self._silent_since_s = time.monotonic() if self._in_flight else None

    def _take(self, record: Record) -> None:
        kind, number, payload = record
        if self._on_proof is not None and kind in (Kind.REPLY, Kind.PONG):
            sent_s = self._sent_s.pop((Kind.REQUEST if kind == Kind.REPLY else Kind.PING, number), None)
            if sent_s is not None:
                self._on_proof(sent_s)
        if kind == Kind.REPLY:
            batch = self._in_flight.get(number, [])
            if batch:
                self._settle(number, zip(batch, read_replies(payload, len(batch)), strict=True))
        elif kind == Kind.PARTIAL:
            batch = self._in_flight.get(number, [])
            self._settle(number, read_partial(payload, batch))
        elif kind == Kind.PUSH:
            self._on_push(decode_pushed(payload))
        elif kind == Kind.REFUSED:
            handshake.read(record, Kind.WELCOME, Welcome)
        elif kind != Kind.PONG:
            raise ProtocolError(f"a record of kind {kind} from {self._name}")

    def _settle(self, number: int, answers: Iterable[tuple[Asked, Reply]]) -> None:
        with self._lock:
            for each, reply in answers:
                self._answer(each, reply)
            if all(each.answer is not None for each in self._in_flight.get(number, ())):
                self._in_flight.pop(number, None)
                self._sent_s.pop((Kind.REQUEST, number), None)

    # -- with the lock held ---

    def _answer(self, asked: Asked, answer: Answer) -> None:
        if asked.answer is None:
            asked.answer = answer
            caller = asked.caller
            caller.left -= 1
            if not caller.left and caller.is_following:
                self._wake(caller)

    def _give_up(self, asked: Iterable[Asked], failure: LightningStateError) -> None:
        code = ClientClosedError.code if isinstance(failure, ClientClosedError) else ShardUnavailableError.code
        for each in asked:
            self._answer(each, Lost(each.sent, code, str(failure)))

    def _close_if_unused(self) -> None:
        """A number of an open file may mean another one when it is closed under a thread that uses it."""
        if self.failure is not None and self._leader is None and not self._is_sending:
            self._socket.close()

    def _break(self, error: Exception) -> None:
        """The connection is over: everybody who waits is told."""
        with self._lock:
            if self.failure is not None:
                self._close_if_unused()
                return
            self.failure = failure = translate(error, self._name)
            with contextlib.suppress(OSError):  # it may not be connected any more
                self._socket.shutdown(socket.SHUT_RDWR)  # ends the reads and writes of other threads
            lost = [each for batch in self._in_flight.values() for each in batch]
            lost += [each for queue in self._queues for each in queue]
            self._in_flight.clear()
            for queue in self._queues:
                queue.clear()
            self._give_up(lost, failure)
            self._close_if_unused()
        self._on_lost(self)


def _is_readable(sock: socket.socket, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
