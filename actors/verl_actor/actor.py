"""The Ray shell of one validator."""

from __future__ import annotations

import asyncio

import ray

from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.verl_actor.channel import ValidatorChannel
from lightning_state.actors.verl_actor.validator import Validator


class ValidatorActor:
    """A validator and its two entrances: the actor's method and the direct channel."""

    def __init__(self, name: str, judge: JudgeSettings | None) -> None:
        self._validator = Validator(name, judge)
        self._channel = ValidatorChannel(self._validator, name, ray.util.get_node_ip_address())
        # Runs on the actor's loop, before any call. A constructor that raises would end the actor for good.
        self._opening = asyncio.get_running_loop().create_task(self._channel.open())

    def __repr__(self) -> str:
        return f"<ValidatorActor {self._validator!r} {self._channel!r}>"

    async def frame(self, data: bytes) -> bytes:
        """Answer a batch or a ping."""
        return await self._validator.frame(data)

    async def close(self) -> None:
        """Stop listening on the direct channel; the process is ended by whoever asked."""
        await self._channel.close()
