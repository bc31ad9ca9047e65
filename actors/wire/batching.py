"""What both actor-handle transports share: which requests go into one frame, and reading its replies."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeVar

from lightning_state.actors.core.messages import Get, History, List, Refused, Renew, Reply, Request, Write
from lightning_state.actors.errors import ProtocolError
from lightning_state.actors.wire.codec import decode_replies
from lightning_state.actors.wire.pushes import decode_partial

FRAMES_IN_FLIGHT = 2
"""Frames of one lane under way at once; what comes meanwhile gathers for the next one. Measured with 16 threads on two
cores: more frames carry less each and are slower for reads, a single one is slower for writes."""

FRAME_TIMEOUT_S = 5.0
"""A shard answers within about a second, if only "pending": a frame silent for this long is lost."""

FRAME_REQUESTS = 1_024
"""Requests in one frame."""

DEFAULT_FRAME_BYTES = 16 * 1024 * 1024
"""The service's own limit unless its settings say otherwise."""

_OVERHEAD_BYTES = 128


class Carried(Protocol):
    """A request on its way."""

    @property
    def request(self) -> Request:
        """What is asked."""
        ...

    @property
    def unwanted(self) -> bool:
        """Nobody waits for the answer any more: it need not be sent."""
        ...


C = TypeVar("C", bound=Carried)
A = TypeVar("A")


def may_wait(request: Request) -> bool:
    """Whether a shard may hold the answer back: such requests never share a frame with those it answers at once."""
    return not isinstance(request, (Get, List, Renew, History))


def size_bytes(request: Request) -> int:
    """About how many bytes a request takes in a frame, from above."""
    if isinstance(request, Write):
        return len(request.body) + len(request.key) + len(request.request_id) + _OVERHEAD_BYTES
    return _OVERHEAD_BYTES + 4 * (len(request.prefix) + len(request.value) if isinstance(request, List) else 256)


def take(queue: deque[C], most_bytes: int) -> list[C]:
    """Remove from the queue what goes into the next frame: in order, at least one, unwanted ones dropped."""
    batch: list[C] = []
    total = 0
    while queue and len(batch) < FRAME_REQUESTS:
        each = queue[0]
        if each.unwanted:
            queue.popleft()
            continue
        total += size_bytes(each.request)
        if batch and total > most_bytes:
            break
        batch.append(queue.popleft())
    return batch


def read_replies(data: bytes, expected: int) -> list[Reply]:
    """The replies to a frame of `expected` requests. Raises ProtocolError for damage or another number of them.

    A frame that was not understood is refused by one reply for all of its requests.
    """
    replies = decode_replies(data).replies
    if len(replies) == 1 and isinstance(replies[0], Refused) and replies[0].code == ProtocolError.code:
        return replies * expected
    if len(replies) != expected:
        raise ProtocolError(f"{len(replies)} replies to {expected} requests")
    return replies


def read_partial(data: bytes, batch: Sequence[A]) -> list[tuple[A, Reply]]:
    """Some replies to a frame, each with what asked for it. Raises ProtocolError for damage or one nobody asked for."""
    part = decode_partial(data)
    indexes = part.indexes
    if len(indexes) != len(part.replies) or (indexes and not 0 <= min(indexes) <= max(indexes) < len(batch)):
        raise ProtocolError("a part of replies to another frame")
    return [(batch[index], reply) for index, reply in zip(indexes, part.replies, strict=True)]
