"""What a client's calls need of whatever carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lightning_state.actors.core.messages import Request
from lightning_state.actors.core.service_map import DirectoryReply, DirectoryRequest
from lightning_state.actors.core.session import Answer, Session
from lightning_state.actors.wire.pushes import PushListener


class Transport(Protocol):
    """Carries one client's requests, from any number of threads."""

    service: str
    frame_bytes: int
    """The longest frame the service accepts."""

    def exchange(
        self, session: Session, plan: Mapping[int, Sequence[Request]], deadline_s: float
    ) -> dict[int, list[Answer]]:
        """Ask every shard of the plan at once; answers come in the order of the requests, `Lost` where there is none.

        Returns at the deadline (seconds of the monotonic clock) at the latest.
        """
        ...

    def ask_directory(self, request: DirectoryRequest, deadline_s: float) -> DirectoryReply:
        """The directory's answer.

        Raises ServiceNotFoundError when the service has no directory, ShardUnavailableError when it does not answer.
        """
        ...

    def ask(self, actor: str, data: bytes, deadline_s: float) -> bytes:
        """An actor's answer to one message of its own protocol. Raises ShardUnavailableError when there is none."""
        ...

    def listen(self, listener: PushListener) -> None:
        """Tell of changes of what is read and written over channels. To be called before the first request."""
        ...

    def has_pushes(self) -> bool:
        """Whether something has reached this process that was not taken in yet. Quick, from any thread."""
        ...

    def take_in(self) -> None:
        """Hear of every push that has reached this process."""
        ...

    def close(self) -> None:
        """Give up what is under way."""
        ...


class AsyncTransport(Protocol):
    """Carries one client's requests, on one event loop. See `Transport`."""

    service: str
    frame_bytes: int

    async def exchange(
        self, session: Session, plan: Mapping[int, Sequence[Request]], deadline_s: float
    ) -> dict[int, list[Answer]]:
        """Ask every shard of the plan at once. Cancelling it withdraws what was not sent yet."""
        ...

    async def ask_directory(self, request: DirectoryRequest, deadline_s: float) -> DirectoryReply:
        """The directory's answer."""
        ...

    async def ask(self, actor: str, data: bytes, deadline_s: float) -> bytes:
        """An actor's answer to one message of its own protocol."""
        ...

    def listen(self, listener: PushListener) -> None:
        """Tell of changes of what is read and written over channels. To be called before the first request."""
        ...

    def has_pushes(self) -> bool:
        """Whether something has reached this process that was not taken in yet. Quick."""
        ...

    async def take_in(self) -> None:
        """Hear of every push that has reached this process."""
        ...

    async def close(self) -> None:
        """Give up what is under way."""
        ...
