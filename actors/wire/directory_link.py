"""The directory as its callers see it: typed requests over the actor handle, errors raised by their class."""

from __future__ import annotations

from typing import Protocol, TypeVar, cast

import msgspec
import ray

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.service_map import (
    Claim,
    Describe,
    Described,
    DirectoryReply,
    DirectoryRequest,
    Granted,
    Register,
    ServiceMap,
)
from lightning_state.actors.errors import ProtocolError, error_from_code
from lightning_state.actors.wire.names import NAMESPACE, directory_name

_requests = msgspec.msgpack.Decoder(DirectoryRequest)
_replies = msgspec.msgpack.Decoder(DirectoryReply)

Answer = TypeVar("Answer", Described, Granted)


class _Frame(Protocol):
    def remote(self, frame: bytes, /) -> ray.ObjectRef[bytes]: ...


class _Handle(Protocol):
    frame: _Frame


def decode_request(data: bytes) -> DirectoryRequest:
    """What a caller asks. Raises ProtocolError."""
    try:
        return _requests.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ProtocolError(f"not a directory request: {error}") from error


def encode_reply(reply: DirectoryReply) -> bytes:
    """The bytes of an answer."""
    return msgspec.msgpack.encode(reply)


class DirectoryLink:
    """Asks the directory of a service, found by name at each call: it may have been restarted."""

    def __init__(self, service: str) -> None:
        self._name = directory_name(service)

    async def claim(self, claim: Claim) -> Granted:
        """A new epoch for a shard that holds its store."""
        return await self._ask(claim, Granted)

    async def describe(self) -> ServiceMap:
        """The current map."""
        return (await self._ask(Describe(), Described)).map

    async def register(self, request: Register) -> ServiceMap:
        """The map with the category in it."""
        return (await self._ask(request, Described)).map

    async def _ask(self, request: DirectoryRequest, kind: type[Answer]) -> Answer:
        handle = cast("_Handle", ray.get_actor(self._name, namespace=NAMESPACE))
        reply = _replies.decode(await handle.frame.remote(msgspec.msgpack.encode(request)))
        if isinstance(reply, Refused):
            raise error_from_code(reply.code, reply.message, reply.details)
        if not isinstance(reply, kind):
            raise ProtocolError(f"the directory answered {type(reply).__name__} to {type(request).__name__}")
        return reply
