"""The shard's end of the direct channel: the same frames as the actor method's, answered as they are decided."""

from __future__ import annotations

from lightning_state.actors.core.messages import Replies
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.errors import NotOwnerError, ProtocolError, UnauthenticatedError
from lightning_state.actors.shard_actor.calls import ChannelCall
from lightning_state.actors.shard_actor.runtime import ShardRuntime
from lightning_state.actors.shard_actor.subscribers import Subscribers
from lightning_state.actors.wire.codec import decode_frame, encode
from lightning_state.actors.wire.handshake import Hello
from lightning_state.actors.wire.listener import Listener
from lightning_state.actors.wire.peer import Peer


class ShardChannel:
    """Answers the connections of one shard; see `Served`."""

    def __init__(self, runtime: ShardRuntime, name: str, address: str) -> None:
        """`name`: the shard actor's. `address`: this node's IP, empty for no TCP."""
        self._runtime = runtime
        self._name = name
        self._listener = Listener(self, name=name, address=address)
        self._subscribers: Subscribers = runtime.subscribers
        runtime.on_disown = self._listener.disconnect

    def __repr__(self) -> str:
        return f"<ShardChannel of {self._runtime!r} {self._listener!r}>"

    async def open(self) -> str:
        """Listen; what the shard claims its slots with, so that clients find it."""
        return (await self._listener.open()).encode()

    async def close(self) -> None:
        """Stop listening."""
        await self._listener.close()

    def check(self, hello: Hello) -> None:
        """Raises NotOwnerError unless the client believes in this shard's epoch, UnauthenticatedError for another's."""
        if not self._runtime.epoch:
            raise NotOwnerError(f"{self._name} is starting")
        if hello.target != self._name or hello.service_id != self._runtime.service_id:
            raise UnauthenticatedError(f"this is {self._name}, not {hello.target}")
        if hello.epoch != self._runtime.epoch:
            raise NotOwnerError(f"{self._name} has the epoch {self._runtime.epoch}, the client names {hello.epoch}")
        self._listener.frame_bytes = self._runtime.frame_bytes

    def request(self, peer: Peer, number: int, data: bytes) -> None:
        """Decide a frame's requests; those that wait are answered later."""
        try:
            frame = decode_frame(data)
        except ProtocolError as error:
            peer.reply(number, encode(Replies([refusal(error)])))
            return
        if frame.requests:
            self._runtime.submit(frame, ChannelCall(peer, number, frame, self._subscribers, self._runtime.frame_bytes))
        else:
            peer.reply(number, encode(Replies([])))

    def left(self, peer: Peer) -> None:
        """The connection is gone."""
        self._subscribers.left(peer)
