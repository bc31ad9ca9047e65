"""One connection of the direct channel, for asyncio: requests in any number, answered in any order."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any, cast

from lightning_state.actors.errors import LightningStateError, ProtocolError, ShardUnavailableError
from lightning_state.actors.wire import handshake
from lightning_state.actors.wire.endpoint import Endpoint
from lightning_state.actors.wire.framing import HANDSHAKE_BYTES, RECORD_BYTES, Kind, Record, RecordParser, pack
from lightning_state.actors.wire.handshake import NONCE_BYTES, Challenge, Hello, Target, Welcome
from lightning_state.actors.wire.pushes import Pushed, decode_pushed
from lightning_state.actors.wire.revival import CONNECT_S, PING_S, SILENT_S
from lightning_state.actors.wire.translate import translate

Landing = Callable[[int, bytes], bool]
"""Takes (kind, payload) of a REPLY or PARTIAL, or (0, b"") when the connection is lost; whether that was all."""


class AsyncLink(asyncio.Protocol):
    """The client's end of one connection, made by `connect_link`. Belongs to the loop it was made on."""

    def __init__(
        self,
        target: Target,
        token: bytes,
        *,
        on_push: Callable[[Pushed], None],
        on_lost: Callable[[], None],
        on_proof: Callable[[float], None] | None,
    ) -> None:
        """`on_proof` hears when what was answered just now had been sent (monotonic clock)."""
        self.frame_bytes = 0
        """The longest frame the service accepts."""
        self.is_open = False
        self.failure: LightningStateError = ShardUnavailableError(f"{target.name} closed the channel")
        """Why it is not open any more."""
        self._target = target
        self._token = token
        self._on_push = on_push
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._parser = RecordParser(HANDSHAKE_BYTES)
        self._welcomed: asyncio.Future[None] = self._loop.create_future()
        self._challenge: Challenge | None = None
        self._hello: Hello | None = None
        self._landings: dict[int, Landing] = {}
        self._number = 0
        self._tracks = False
        self._on_proof = on_proof
        self._sent_s: dict[tuple[int, int], float] = {}
        # (kind, number) of requests and pings → when they were sent.
        self._pings = 0
        self._retires = False
        self._heard_s = 0.0
        self._ticking: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<AsyncLink {self._target.name} open={self.is_open} in_flight={len(self._landings)}>"

    async def welcomed(self) -> None:
        """Wait until the handshake is over. Raises what the service refused with, or ShardUnavailableError."""
        await self._welcomed

    def request(self, payload: bytes, landing: Landing) -> None:
        """Send a frame; `landing` hears of its answers, or of the connection's loss. Only while it is open."""
        self._number = number = self._number % 0xFFFF_FFFF + 1
        self._landings[number] = landing
        if self._on_proof is not None:
            self._sent_s[Kind.REQUEST, number] = time.monotonic()
        self._transport.write(pack(Kind.REQUEST, number, payload))
        if self._ticking is None:
            self._heard_s = self._loop.time()
            self._ticking = self._loop.call_later(PING_S, self._tick)

    def track(self) -> None:
        """From now on be told of changes of the keys that are read and written over this connection."""
        self._tracks = True
        self._transport.write(pack(Kind.TRACK, 0))
        if self._ticking is None:
            self._heard_s = self._loop.time()
            self._ticking = self._loop.call_later(PING_S, self._tick)

    def fileno(self) -> int:
        """The socket's number; -1 when it is closed."""
        sock = self._transport.get_extra_info("socket")
        return -1 if sock is None else sock.fileno()

    def close(self, failure: LightningStateError | None = None) -> None:
        """Close; whatever is in flight is lost."""
        if failure is not None:
            self.failure = failure
        transport = getattr(self, "_transport", None)
        if transport is not None:
            transport.abort()
        self._end()

    def retire(self) -> None:
        """Close as soon as nothing is in flight."""
        self._retires = True
        if not self._landings:
            self.close()

    # -- the event loop's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The service speaks first."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in what came; what is not understood ends the connection."""
        self._heard_s = self._loop.time()
        try:
            for record in self._parser.feed(data):
                self._take(record)
        except LightningStateError as error:
            self.close(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Everybody who waits for an answer hears of it."""
        if exc is not None:
            self.failure = translate(exc, self._target.name)
        self._end()

    def _take(self, record: Record) -> None:
        kind, number, payload = record
        if not self.is_open:
            self._shake_hands(record)
        elif kind in (Kind.REPLY, Kind.PARTIAL):
            landing = self._landings.get(number)
            if landing is not None and landing(kind, payload):
                del self._landings[number]
                self._prove(Kind.REQUEST, number)
                if self._retires:
                    self.retire()
        elif kind == Kind.PUSH:
            self._on_push(decode_pushed(payload))
        elif kind == Kind.PING:
            self._transport.write(pack(Kind.PONG, number))
        elif kind == Kind.REFUSED:
            handshake.read(record, Kind.WELCOME, Welcome)
        elif kind == Kind.PONG:
            self._prove(Kind.PING, number)
        else:
            raise ProtocolError(f"a record of kind {kind} from {self._target.name}")

    def _prove(self, kind: int, number: int) -> None:
        """What was sent under this number is answered."""
        sent_s = self._sent_s.pop((kind, number), None)
        if sent_s is not None and self._on_proof is not None:
            self._on_proof(sent_s)

    def _ping(self) -> None:
        self._pings = number = self._pings % 0xFFFF_FFFF + 1
        if self._on_proof is not None:
            self._sent_s[Kind.PING, number] = time.monotonic()
        self._transport.write(pack(Kind.PING, number))

    def _shake_hands(self, record: Record) -> None:
        if self._challenge is None or self._hello is None:
            self._challenge = handshake.read(record, Kind.CHALLENGE, Challenge)
            nonce = secrets.token_bytes(NONCE_BYTES)
            self._hello = handshake.hello(self._challenge, self._target, self._token, nonce)
            self._transport.write(pack(Kind.HELLO, 0, handshake.encode(self._hello)))
            return
        welcome = handshake.read(record, Kind.WELCOME, Welcome)
        handshake.check_welcome(welcome, self._challenge, self._hello, self._token)
        self.frame_bytes = welcome.frame_bytes
        self._parser.limit_bytes = RECORD_BYTES
        self.is_open = True
        if not self._welcomed.done():
            self._welcomed.set_result(None)

    def _tick(self) -> None:
        self._ticking = None
        if not self.is_open or not (self._landings or self._tracks):
            return
        if self._loop.time() - self._heard_s > SILENT_S:
            self.close(ShardUnavailableError(f"{self._target.name} was silent for {SILENT_S:g} s"))
            return
        self._ping()
        self._ticking = self._loop.call_later(PING_S, self._tick)

    def _end(self) -> None:
        was_open, self.is_open = self.is_open, False
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if not self._welcomed.done():
            self._welcomed.set_exception(self.failure)
            self._welcomed.exception()  # whoever waits for it is told; if nobody does any more, that is no error
        landings, self._landings = self._landings, {}
        for landing in landings.values():
            landing(0, b"")
        if was_open:
            self._on_lost()


async def connect_link(
    endpoint: Endpoint,
    target: Target,
    *,
    on_push: Callable[[Pushed], None] = lambda _: None,
    on_lost: Callable[[], None] = lambda: None,
    on_proof: Callable[[float], None] | None = None,
) -> AsyncLink:
    """A connection after its handshake: by the Unix socket on the same host, else, or when that fails, by TCP.

    Raises ShardUnavailableError, NotOwnerError (another epoch), UnauthenticatedError or ProtocolError; within
    CONNECT_S per way.
    """
    loop = asyncio.get_running_loop()

    def protocol() -> AsyncLink:
        return AsyncLink(target, endpoint.token, on_push=on_push, on_lost=on_lost, on_proof=on_proof)

    ways: list[Callable[[], Any]] = []
    if endpoint.unix and endpoint.is_here:
        ways.append(lambda: loop.create_unix_connection(protocol, endpoint.unix))
    if endpoint.port:
        ways.append(lambda: loop.create_connection(protocol, endpoint.address, endpoint.port))
    failure: LightningStateError = ShardUnavailableError(f"{target.name} has no channel that can be reached from here")
    for way in ways:
        made: list[AsyncLink] = []
        try:
            async with asyncio.timeout(CONNECT_S):
                made.append((await way())[1])
                await made[0].welcomed()
        except (OSError, TimeoutError) as error:
            failure = translate(error, target.name)
        else:
            return made[0]
        finally:
            for link in made:
                if not link.is_open:
                    link.close()
    raise failure
