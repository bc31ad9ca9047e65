"""The directory as shards and launchers ask it: typed requests over the actor handle, errors raised by their class."""

from __future__ import annotations

import time
from typing import TypeVar

from lightning_state.actors.core.messages import Refused
from lightning_state.actors.core.service_map import (
    Claim,
    Describe,
    Described,
    DirectoryRequest,
    Granted,
    Register,
    ServiceMap,
)
from lightning_state.actors.errors import ProtocolError, error_from_code
from lightning_state.actors.wire.actor_calls import ActorCalls
from lightning_state.actors.wire.codec import decode_directory_reply, encode
from lightning_state.actors.wire.names import directory_name
from lightning_state.actors.wire.translate import translate

Answer = TypeVar("Answer", Described, Granted)

_ANSWERED_WITHIN_S = 10.0


class DirectoryLink:
    """Asks the directory of a service. Every call raises ShardUnavailableError while the directory is away."""

    def __init__(self, service: str) -> None:
        self._name = directory_name(service)
        self._calls = ActorCalls()

    async def claim(self, claim: Claim) -> Granted:
        """A new epoch for a shard that holds its store."""
        try:
            data = await self._calls.submit(self._name, encode(claim))
        except Exception as error:  # Ray's errors, translated in their one place
            raise self._failed(error) from error
        return _answer(data, Granted)

    def describe(self) -> ServiceMap:
        """The current map. Blocks; not for an event loop."""
        return self._ask(Describe()).map

    def register(self, request: Register) -> ServiceMap:
        """The map with the category in it. Blocks; not for an event loop."""
        return self._ask(request).map

    def _ask(self, request: DirectoryRequest) -> Described:
        try:
            sent = self._calls.submit(self._name, encode(request))
            data = self._calls.result(sent, time.monotonic() + _ANSWERED_WITHIN_S)
        except Exception as error:  # Ray's errors, translated in their one place
            raise self._failed(error) from error
        return _answer(data, Described)

    def _failed(self, error: Exception) -> Exception:
        self._calls.forget(self._name)
        return translate(error, self._name)


def _answer(data: bytes, kind: type[Answer]) -> Answer:
    reply = decode_directory_reply(data)
    if isinstance(reply, Refused):
        raise error_from_code(reply.code, reply.message, reply.details)
    if not isinstance(reply, kind):
        raise ProtocolError(f"the directory answered with {type(reply).__name__}")
    return reply
