"""A validator's end of the direct channel."""

from __future__ import annotations

import asyncio

from lightning_state.actors.errors import UnauthenticatedError
from lightning_state.actors.verl_actor.validator import Validator
from lightning_state.actors.wire.handshake import Hello
from lightning_state.actors.wire.listener import Listener
from lightning_state.actors.wire.peer import Peer


class ValidatorChannel:
    """Answers the connections of one validator; see `Served`. No actor itself: Ray wraps every method of those."""

    def __init__(self, validator: Validator, name: str, address: str) -> None:
        """`name`: the validator actor's. `address`: this node's IP, empty for no TCP."""
        self._validator = validator
        self._name = name
        self._listener = Listener(self, name=name, address=address)
        self._answering: set[asyncio.Task[bytes]] = set()

    def __repr__(self) -> str:
        return f"<ValidatorChannel {self._listener!r}>"

    async def open(self) -> None:
        """Listen, and say where in every answer to a ping."""
        self._validator.endpoint = (await self._listener.open()).encode()

    async def close(self) -> None:
        """Stop listening."""
        await self._listener.close()

    def check(self, hello: Hello) -> None:
        """Raises UnauthenticatedError for whoever wants another validator."""
        if hello.target != self._name:
            raise UnauthenticatedError(f"this is {self._name}, not {hello.target}")

    def request(self, peer: Peer, number: int, data: bytes) -> None:
        """Answer a frame: one that waits for nothing at once, without a task of its own."""
        answer = self._validator.answer(data)
        if isinstance(answer, bytes):
            peer.reply(number, answer)
            return
        task = asyncio.get_running_loop().create_task(answer)
        self._answering.add(task)
        task.add_done_callback(lambda done: self._reply(peer, number, done))

    def left(self, peer: Peer) -> None:
        """Nothing is kept for a connection."""

    def _reply(self, peer: Peer, number: int, done: asyncio.Task[bytes]) -> None:
        self._answering.discard(done)
        if not done.cancelled() and done.exception() is None:
            peer.reply(number, done.result())
