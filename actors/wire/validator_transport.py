"""How frames reach the validator pool: over the direct channel, or by actor handle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol, cast

import ray
from ray.exceptions import RayError

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.messages import Members, Ping, Pong, PoolView
from lightning_state.actors.errors import LightningStateError, ProtocolError, ShardUnavailableError
from lightning_state.actors.wire.endpoint import Endpoint
from lightning_state.actors.wire.framing import Kind
from lightning_state.actors.wire.handshake import Target
from lightning_state.actors.wire.link_async import AsyncLink, connect_link
from lightning_state.actors.wire.names import NAMESPACE, pool_name
from lightning_state.actors.wire.revival import Revival
from lightning_state.actors.wire.verl_codec import decode_from_pool, decode_from_validator, encode

logger = logging.getLogger(__name__)


class ValidatorTransport(Protocol):
    """Carries frames. Every failure is a ShardUnavailableError: the frame may or may not have been examined."""

    async def members(self) -> PoolView:
        """The pool, as its supervisor sees it."""
        ...

    def send(self, validator: str, frame: bytes) -> Awaitable[bytes]:
        """The validator's answer to a frame."""
        ...

    async def close(self) -> None:
        """Let go of what is held open."""
        ...


class _FrameMethod(Protocol):
    def remote(self, frame: bytes, /) -> Awaitable[bytes]: ...


class _Handle(Protocol):
    @property
    def frame(self) -> _FrameMethod: ...


class RayTransport:
    """Frames by actor call, about 1 ms each whatever they carry."""

    def __init__(self, service: str) -> None:
        self._pool = pool_name(service)
        self._handles: dict[str, _Handle] = {}

    async def members(self) -> PoolView:
        """The pool, as its supervisor sees it. Raises ShardUnavailableError."""
        return decode_from_pool(await self.send(self._pool, encode(Members())))

    async def send(self, validator: str, frame: bytes) -> bytes:
        """The actor's answer. Raises ShardUnavailableError when it is not there or dies meanwhile."""
        try:
            handle = self._handles.get(validator)
            if handle is None:
                # In a thread: it asks Ray's control store, which may be slow or away, and the loop must not wait.
                found = await asyncio.to_thread(ray.get_actor, validator, NAMESPACE)
                handle = self._handles[validator] = cast("_Handle", found)
            return await handle.frame.remote(frame)
        except (RayError, ValueError) as error:
            # A handle outlives its actor; one started anew under this name has another.
            self._handles.pop(validator, None)
            raise ShardUnavailableError(f"{validator} did not answer: {type(error).__name__}") from error

    async def close(self) -> None:
        """Nothing is held open."""


class _Member:
    """The way to one validator."""

    __slots__ = ("connecting", "endpoint", "link", "revival")

    def __init__(self) -> None:
        self.endpoint = ""
        self.link: AsyncLink | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.revival = Revival()


class ChannelValidatorTransport:
    """Frames over the direct channel of each validator; by actor call while there is none.

    A frame whose connection breaks is not sent again from here: it may be what ends validators, and whoever counts
    that decides what follows.
    """

    def __init__(self, fallback: ValidatorTransport) -> None:
        self._fallback = fallback
        self._members: dict[str, _Member] = {}
        self._closed = False

    async def members(self) -> PoolView:
        """The pool, as its supervisor sees it. Raises ShardUnavailableError."""
        view = await self._fallback.members()
        for name in self._members.keys() - view.endpoints.keys():
            self._drop(self._members.pop(name))
        for name, endpoint in view.endpoints.items():
            self._members.setdefault(name, _Member()).endpoint = endpoint
        return view

    def send(self, validator: str, frame: bytes) -> Awaitable[bytes]:
        """The validator's answer. Raises ShardUnavailableError when there is none, ProtocolError for damage."""
        member = self._members.get(validator)
        if member is None:
            return self._fallback.send(validator, frame)
        if member.link is None:
            return self._send_connected(validator, member, frame)
        return _sent(member.link, validator, frame)

    async def _send_connected(self, validator: str, member: _Member, frame: bytes) -> bytes:
        await self._connect(validator, member)
        if member.link is None:
            return await self._fallback.send(validator, frame)
        return await _sent(member.link, validator, frame)

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        for member in self._members.values():
            self._drop(member)
        self._members.clear()

    async def _connect(self, validator: str, member: _Member) -> None:
        """Try to reach an address that was not tried yet, or is due again; an attempt under way is waited for."""
        loop = asyncio.get_running_loop()
        address = (member.endpoint, 0)
        if member.connecting is None and not self._closed:
            if not member.revival.is_new(address) and not member.revival.is_due(loop.time()):
                return
            member.revival.tries(address, loop.time())
            member.connecting = loop.create_task(self._open(validator, member))
        if member.connecting is not None:
            await asyncio.wait([member.connecting])

    async def _open(self, validator: str, member: _Member) -> None:
        def ended() -> None:
            member.link = None

        try:
            endpoint = Endpoint.decode(member.endpoint)
            if endpoint is not None:
                member.link = await connect_link(endpoint, Target(validator), on_lost=ended)
                member.revival.came_up()
        except LightningStateError as error:
            logger.debug("no channel to %s: %s", validator, error)  # the handle serves meanwhile
        finally:
            member.connecting = None

    def _drop(self, member: _Member) -> None:
        if member.connecting is not None:
            member.connecting.cancel()
        if member.link is not None:
            member.link.retire()


def _sent(link: AsyncLink, validator: str, frame: bytes) -> asyncio.Future[bytes]:
    """The answer to a frame that was sent just now."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def land(kind: int, payload: bytes) -> bool:
        if not answer.done():
            if kind == Kind.REPLY:
                answer.set_result(payload)
            else:
                answer.set_exception(ShardUnavailableError(f"the channel to {validator} broke: {link.failure}"))
        return True

    link.request(frame, land)
    return answer


async def ping(transport: ValidatorTransport, validator: str, timeout_s: float) -> Pong:
    """A validator's load. Raises ShardUnavailableError when it does not answer in time."""
    try:
        async with asyncio.timeout(timeout_s):
            answer = decode_from_validator(await transport.send(validator, encode(Ping())))
    except TimeoutError as error:
        raise ShardUnavailableError(f"{validator} is silent for {timeout_s:g} s") from error
    if isinstance(answer, Refused) or not isinstance(answer, Pong):
        raise ProtocolError(f"{validator} answered a ping with {type(answer).__name__}")
    return answer
