"""Calling the service's Ray actors by name: handles are looked up once, and again after an error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol, cast

import ray
from ray import ObjectRef

from lightning_state.actors.errors import ServiceNotFoundError, ShardUnavailableError
from lightning_state.actors.wire.names import NAMESPACE


class FrameMethod(Protocol):
    """The one generic method of every service actor."""

    def remote(self, frame: bytes, /) -> ObjectRef[bytes]:
        """Submit a frame."""
        ...


class FrameActor(Protocol):
    """A handle of a shard or the directory, as far as clients use it."""

    @property
    def frame(self) -> FrameMethod:
        """Frame in, replies out."""
        ...


class ActorCalls:
    """Submits frames to actors and waits for their answers; Ray's own errors come through unchanged."""

    def __init__(self) -> None:
        self._handles: dict[str, FrameActor] = {}

    def knows(self, name: str) -> bool:
        """Whether `submit` need not ask Ray for the handle first (a few ms, seconds while Ray's head is away)."""
        return name in self._handles

    def find(self, name: str) -> FrameActor:
        """The handle of an actor.

        Raises ShardUnavailableError when there is no such actor (yet), ServiceNotFoundError when this process has
        left Ray: a call would otherwise start a new, empty Ray by itself.
        """
        if not ray.is_initialized():
            self._handles.clear()
            raise ServiceNotFoundError("this process is not connected to Ray any more: connect again")
        handle = self._handles.get(name)
        if handle is None:
            try:
                handle = cast("FrameActor", ray.get_actor(name, namespace=NAMESPACE))
            except ValueError as error:
                raise ShardUnavailableError(f"there is no actor {name} on this Ray cluster") from error
            self._handles[name] = handle
        return handle

    def forget(self, name: str) -> None:
        """Look the actor up again next time."""
        self._handles.pop(name, None)

    def submit(self, name: str, data: bytes) -> ObjectRef[bytes]:
        """Send a frame. An error from here means that nothing was sent; see `find`."""
        return self.find(name).frame.remote(data)

    def first(self, sent: Sequence[ObjectRef[bytes]], deadline_s: float) -> ObjectRef[bytes] | None:
        """The first one answered, failed ones included; None when the deadline passes (monotonic clock)."""
        if len(sent) == 1:
            return sent[0]
        timeout_s = max(0.0, deadline_s - time.monotonic())
        ready, _ = ray.wait(list(sent), num_returns=1, timeout=timeout_s)
        return ready[0] if ready else None

    def result(self, sent: ObjectRef[bytes], deadline_s: float) -> bytes:
        """The answer. Raises GetTimeoutError when the deadline passes."""
        return ray.get(sent, timeout=max(0.0, deadline_s - time.monotonic()))
