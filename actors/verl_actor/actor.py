"""The Ray shell of one validator."""

from __future__ import annotations

import asyncio

import ray

from lightning_state.actors.errors import UnauthenticatedError
from lightning_state.actors.settings import JudgeSettings
from lightning_state.actors.verl_actor.validator import Validator
from lightning_state.actors.wire.handshake import Hello
from lightning_state.actors.wire.listener import Listener
from lightning_state.actors.wire.peer import Peer


class ValidatorActor:
    """A validator and its two entrances: the actor's method, and the direct channel (see `Served`)."""

    def __init__(self, name: str, judge: JudgeSettings | None) -> None:
        self._name = name
        self._validator = Validator(name, judge)
        self._listener = Listener(self, name=name, address=ray.util.get_node_ip_address())
        self._answering: set[asyncio.Task[None]] = set()
        # Runs on the actor's loop, before any call. A constructor that raises would end the actor for good.
        self._opening = asyncio.get_running_loop().create_task(self._open())

    def __repr__(self) -> str:
        return f"<ValidatorActor {self._validator!r} {self._listener!r}>"

    async def frame(self, data: bytes) -> bytes:
        """Answer a batch or a ping."""
        return await self._validator.frame(data)

    async def close(self) -> None:
        """Stop listening on the direct channel; the process is ended by whoever asked."""
        await self._listener.close()

    def check(self, hello: Hello) -> None:
        """Raises UnauthenticatedError for whoever wants another validator."""
        if hello.target != self._name:
            raise UnauthenticatedError(f"this is {self._name}, not {hello.target}")

    def request(self, peer: Peer, number: int, data: bytes) -> None:
        """Answer a frame of the direct channel."""
        task = asyncio.get_running_loop().create_task(self._reply(peer, number, data))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def left(self, peer: Peer) -> None:
        """Nothing is kept for a connection."""

    async def _reply(self, peer: Peer, number: int, data: bytes) -> None:
        peer.reply(number, await self._validator.frame(data))

    async def _open(self) -> None:
        self._validator.endpoint = (await self._listener.open()).encode()
