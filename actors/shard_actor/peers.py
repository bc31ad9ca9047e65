"""Reads keys of other shards, for rules that depend on them."""

from __future__ import annotations

import asyncio

from lightning_state.actors.core.messages import PROTOCOL, Frame, Get, Refused, Value
from lightning_state.actors.core.service_map import ServiceMap
from lightning_state.actors.errors import ShardUnavailableError, error_from_code
from lightning_state.actors.wire.actor_calls import ActorCalls
from lightning_state.actors.wire.codec import decode_replies, encode
from lightning_state.actors.wire.names import shard_name
from lightning_state.actors.wire.translate import translate

_ANSWERED_WITHIN_S = 5.0
_RETRY_S = 0.05


class Peers:
    """The service's shards, this one included, as one of them asks the others."""

    def __init__(self, service: str) -> None:
        self.map: ServiceMap | None = None
        self._service = service
        self._calls = ActorCalls()

    async def exists(self, category: str, key: str, deadline_s: float) -> bool:
        """Whether a state is stored now, asked of its owner (linearizable). `deadline_s` is in seconds from now.

        An owner that is being replaced is asked again. Raises ShardUnavailableError when none answers in time.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + min(deadline_s, _ANSWERED_WITHIN_S)
        while True:
            try:
                return await self._ask(category, key, until_s - loop.time())
            except ShardUnavailableError:
                if loop.time() + _RETRY_S >= until_s:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def _ask(self, category: str, key: str, deadline_s: float) -> bool:
        info = self.map.categories.get(category) if self.map is not None else None
        if info is None or self.map is None:
            return False
        slot, number = self.map.locate(info, key)
        name = shard_name(self._service, number)
        frame = encode(Frame(PROTOCOL, "", 0, "", [Get(slot, key)]))
        try:
            async with asyncio.timeout(deadline_s):
                data = await self._calls.submit(name, frame)
        except Exception as error:  # Ray's errors and time-outs, translated in their one place
            self._calls.forget(name)
            raise translate(error, name) from error
        reply = decode_replies(data).replies[0]
        if isinstance(reply, Refused):
            raise error_from_code(reply.code, reply.message, reply.details)
        return isinstance(reply, Value)
