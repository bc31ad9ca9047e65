"""What transactions use of the shard they are decided in."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from lightning_state.actors.core.effects import Effect
from lightning_state.actors.core.messages import Check, Get, List, Reply
from lightning_state.actors.core.operation import Operation, Waiter
from lightning_state.actors.core.replies import Slot
from lightning_state.actors.limits import Limits


class Host(Protocol):
    """A shard, as its transactions see it."""

    now_us: int
    limits: Limits
    slots: dict[int, Slot]
    queues: dict[tuple[int, str], deque[Operation]]
    ready: deque[Operation]
    effects: list[Effect]

    def enqueue(self, operations: Sequence[Operation], *, is_promised: bool = False) -> None:
        """Put all of them into the queues of their keys, or raise OverloadedError, unless it is promised already."""
        ...

    def withdraw(self, operation: Operation, /) -> None:
        """Take an operation out of its queue; it is not being worked on."""
        ...

    def respond(self, call: int, index: int, reply: Reply, /) -> None:
        """Answer one request."""
        ...

    def conclude(self, waiter: Waiter, reply: Reply, /) -> None:
        """Answer a numbered request for good."""
        ...

    def read_again(self, call: int, index: int, request: Get | List | Check, /) -> None:
        """Answer a read that waited, now."""
        ...

    def read(self, call: int, index: int, request: Check, /) -> None:
        """Answer a Check of an own key, now or later."""
        ...

    def check_place(self, slot: int, key: str, /) -> None:
        """Raise InvalidKeyError, ProtocolError or NotOwnerError unless this is a key of an own slot."""
        ...

    def category_of(self, slot: int, /) -> str:
        """The name of a slot's category."""
        ...

    def ticket(self) -> int:
        """A number not used before."""
        ...
