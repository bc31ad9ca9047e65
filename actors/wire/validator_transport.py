"""How frames reach the validator pool. By actor handle; whatever carries the same bytes can replace it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol, cast

import ray
from ray.exceptions import RayError

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.verl.messages import Members, Ping, Pong, PoolView
from lightning_state.actors.errors import ProtocolError, ShardUnavailableError
from lightning_state.actors.wire.names import NAMESPACE, pool_name
from lightning_state.actors.wire.verl_codec import decode_from_pool, decode_from_validator, encode


class ValidatorTransport(Protocol):
    """Carries frames. Every failure is a ShardUnavailableError: the frame may or may not have been examined."""

    async def members(self) -> PoolView:
        """The pool, as its supervisor sees it."""
        ...

    async def send(self, validator: str, frame: bytes) -> bytes:
        """The validator's answer to a frame."""
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
