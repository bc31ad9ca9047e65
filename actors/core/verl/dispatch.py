"""Which validator gets which calls: two lanes, bounded frames in flight, resending when one dies. Decisions only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from lightning_state.actors.errors import OverloadedError


class Lane(StrEnum):
    """Calls that may take long (user validators, analyses of text) travel apart from those that never wait."""

    PLAIN = "plain"
    USER = "user"


@dataclass(frozen=True, kw_only=True)
class LaneLimits:
    """The bounds of one lane."""

    queue: int
    """Calls waiting to be sent; the next is refused as overloaded."""
    frames: int
    """Frames in flight to one validator."""
    calls: int
    """Calls in one frame."""
    frame_bytes: int = 4 * 1024 * 1024


PLAIN_LIMITS = LaneLimits(queue=32_768, frames=2, calls=512)
# A call that waits would hold up its frame's other answers, so each travels alone.
USER_LIMITS = LaneLimits(queue=1_024, frames=8, calls=1)

ATTEMPTS = 4
"""After this many validators were lost under a call, it is given up: it may be what ends them."""


@dataclass(frozen=True)
class Dispatched:
    """A frame to send."""

    frame: int
    validator: str
    lane: Lane
    calls: tuple[int, ...]
    is_suspect: bool
    """Its calls were in flight when a validator was lost."""


class _Waiting(msgspec.Struct, eq=False):
    lane: Lane
    size_bytes: int
    attempts: int = 0


class Dispatch:
    """Calls, named by number, on their way to validators. Pure: it is told what happened and says what to send.

    Calls that were in flight when a validator was lost are suspects: one of them may be what ends validators. They
    travel in ever smaller frames, one such frame to a validator at a time, so that the culprit is given up alone.
    """

    def __init__(self, plain: LaneLimits = PLAIN_LIMITS, user: LaneLimits = USER_LIMITS) -> None:
        self._limits = {Lane.PLAIN: plain, Lane.USER: user}
        self._queues: dict[Lane, deque[int]] = {lane: deque() for lane in Lane}
        self._suspects: deque[int] = deque()
        self._calls: dict[int, _Waiting] = {}
        self._frames: dict[int, Dispatched] = {}
        self._in_flight: dict[tuple[str, Lane], int] = {}
        self._up: dict[str, bool] = {}
        self._last_frame = 0

    def __repr__(self) -> str:
        up = sum(self._up.values())
        return f"<Dispatch validators={up}/{len(self._up)} calls={len(self._calls)} frames={len(self._frames)}>"

    @property
    def has_validator(self) -> bool:
        """Whether any validator is believed to answer."""
        return any(self._up.values())

    @property
    def down(self) -> list[str]:
        """Members that failed and have not answered since."""
        return [name for name, is_up in self._up.items() if not is_up]

    def set_members(self, names: Iterable[str]) -> None:
        """The pool's members now; one not known yet is believed to answer. Frames in flight elsewhere stay."""
        self._up = {name: self._up.get(name, True) for name in names}

    def admit(self, call: int, lane: Lane, size_bytes: int) -> None:
        """Queue a call. Raises OverloadedError when its lane is full."""
        limit = self._limits[lane].queue
        if len(self._queues[lane]) >= limit:
            raise OverloadedError(f"{limit} writes wait for {lane.value} validation already", retry_after_s=0.5)
        self._calls[call] = _Waiting(lane, size_bytes)
        self._queues[lane].append(call)

    def forget(self, call: int) -> None:
        """Nobody waits for this call any more; a frame that carries it goes on."""
        self._calls.pop(call, None)

    def take(self) -> list[Dispatched]:
        """The frames to send now, each to the validator with the fewest in flight."""
        frames: list[Dispatched] = []
        suspects = self._suspects
        while suspects and (validator := self._free_of_suspects()) and (calls := self._next_calls(suspects)):
            frames.append(self._dispatched(validator, calls, is_suspect=True))
        for lane, queue in self._queues.items():
            while queue and (validator := self._least_loaded(lane)) is not None and (calls := self._next_calls(queue)):
                frames.append(self._dispatched(validator, calls, is_suspect=False))
        return frames

    def answered(self, frame: int) -> None:
        """The frame's answers came."""
        dispatched = self._landed(frame)
        for call in dispatched.calls:
            self._calls.pop(call, None)
        if dispatched.validator in self._up:
            self._up[dispatched.validator] = True

    def failed(self, frame: int) -> list[int]:
        """The frame's validator is lost: its calls go to the others as suspects, those given up are returned."""
        dispatched = self._landed(frame)
        if dispatched.validator in self._up:
            self._up[dispatched.validator] = False
        given_up: list[int] = []
        for call in dispatched.calls:
            if (waiting := self._calls.get(call)) is None:
                continue
            waiting.attempts += 1
            if waiting.attempts >= ATTEMPTS:
                given_up.append(call)
                del self._calls[call]
            else:
                self._suspects.append(call)
        return given_up

    def came_up(self, validator: str) -> None:
        """The validator answered a ping."""
        if validator in self._up:
            self._up[validator] = True

    def _landed(self, frame: int) -> Dispatched:
        dispatched = self._frames.pop(frame)
        place = (dispatched.validator, dispatched.lane)
        self._in_flight[place] -= 1
        if not self._in_flight[place]:
            del self._in_flight[place]
        return dispatched

    def _least_loaded(self, lane: Lane) -> str | None:
        limit = self._limits[lane].frames
        loads = [
            (load, name)
            for name, is_up in self._up.items()
            if is_up and (load := self._in_flight.get((name, lane), 0)) < limit
        ]
        return min(loads)[1] if loads else None

    def _free_of_suspects(self) -> str | None:
        busy = {frame.validator for frame in self._frames.values() if frame.is_suspect}
        return next((name for name, is_up in self._up.items() if is_up and name not in busy), None)

    def _dispatched(self, validator: str, calls: tuple[int, ...], *, is_suspect: bool) -> Dispatched:
        self._last_frame += 1
        lane = self._calls[calls[0]].lane
        frame = Dispatched(self._last_frame, validator, lane, calls, is_suspect)
        self._frames[frame.frame] = frame
        self._in_flight[validator, lane] = self._in_flight.get((validator, lane), 0) + 1
        return frame

    def _next_calls(self, queue: deque[int]) -> tuple[int, ...]:
        """The calls of one frame, taken from the front of a queue; none when it is empty."""
        calls: list[int] = []
        lane, attempts, size_bytes, most, most_bytes = None, -1, 0, 1, 0
        while queue:
            waiting = self._calls.get(queue[0])
            if waiting is None:
                queue.popleft()
                continue
            if waiting.lane is not lane or waiting.attempts != attempts:
                if calls and waiting.lane is not lane:
                    break
                lane, attempts = waiting.lane, waiting.attempts
                limits = self._limits[lane]
                allowed = max(1, limits.calls >> 3 * attempts)
                most = min(most, allowed) if calls else allowed
                most_bytes = limits.frame_bytes
            if calls and (len(calls) >= most or size_bytes + waiting.size_bytes > most_bytes):
                break
            size_bytes += waiting.size_bytes
            calls.append(queue.popleft())
        return tuple(calls)
