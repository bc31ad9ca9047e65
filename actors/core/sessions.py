"""The shard's memory of client sessions: which numbered requests were answered, so that none runs twice (C5, RIFL).

What was applied is in the journal with its id: of it only the number is remembered, one bit, so that a sending that
arrives late is looked up there. A refusal is remembered itself. What a session may make a shard remember is bounded
in bytes: beyond that its newer writes are refused as overloaded, and that is remembered as a range of numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from lightning_state.actors.core.messages import Refused, Reply
from lightning_state.actors.core.numbers import Numbers
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.replies import RETRY_S
from lightning_state.actors.core.request_ids import origin_of
from lightning_state.actors.errors import OverloadedError, RequestBarredError

Identity = tuple[int, str, str]
"""(slot, principal, request id)."""

IDLE_US = 3600 * 1_000_000
"""A session unheard of for an hour is forgotten: no transport delays a frame for that long."""

REFUSALS_BYTES = 16 * 1024 * 1024
"""What one session's refusals may take while it does not say that it has them."""

_REFUSAL_BYTES = 700
"""Of a refusal beside its text: the objects, the tables' rows (rounded up)."""

_FULL = refusal(
    OverloadedError(
        "too many of this client's writes were answered while an older one of its waits: try again later",
        retry_after_s=RETRY_S,
    )
)


class Session:
    """One client session. Numbers below `floor` are answered and forgotten."""

    __slots__ = ("_applied", "_latest", "_refused", "_size_bytes", "_turned_away", "floor", "heard_us")

    def __init__(self, heard_us: int = 0) -> None:
        self.floor = 0
        self.heard_us = heard_us
        self._refused: dict[int, Refused] = {}
        self._size_bytes = 0
        self._applied = Numbers()
        self._latest: dict[Identity, int] = {}
        # Request id → the highest number under which it was repeated, while that one is pending or refused.
        self._turned_away = range(0)
        # Refused as overloaded without an entry each: who had no answer yet gets none but that.

    def __repr__(self) -> str:
        return f"<Session floor={self.floor} refusals={len(self._refused)} {self._applied!r}>"

    def raise_floor(self, floor: int) -> None:
        """The session has the answers to everything below; a lower floor than before, of a late frame, says nothing."""
        if floor <= self.floor:
            return
        self.floor = floor
        self._applied.drop_below(floor)
        for seq in [seq for seq in self._refused if seq < floor]:
            self._drop(seq)
        if self._latest:
            self._latest = {identity: seq for identity, seq in self._latest.items() if seq >= floor}
        if self._turned_away.stop <= floor:
            self._turned_away = range(0)

    def refusal(self, seq: int, identity: Identity | None) -> Refused | None:
        """That of this number, or of a later repetition of the same write: what it overtook never runs."""
        latest = self._latest.get(identity, 0) if identity is not None else 0
        return self._refused.get(seq) or self._refused.get(max(seq, latest))

    def has_applied(self, seq: int) -> bool:
        """Whether what this number asked for may be in the journal: it has to be looked up, fresh as it may look."""
        return seq in self._applied

    def turns_away(self, seq: int) -> Refused | None:
        """The refusal of a new request under this number, when there is no room to remember its answer."""
        is_full = self._size_bytes > REFUSALS_BYTES or seq >= self._applied.end
        if not is_full and seq not in self._turned_away:
            return None
        first = min(seq, self._turned_away.start) if self._turned_away else seq
        self._turned_away = range(first, max(seq + 1, self._turned_away.stop))
        return _FULL

    def repeated(self, seq: int, identity: Identity) -> None:
        """A request that may have been sent before has arrived under this number."""
        self._latest[identity] = max(seq, self._latest.get(identity, 0))

    def look_up(self, seq: int) -> None:
        """Whatever arrives under this number has been repeated."""
        self._applied.add(seq)

    def remember(self, seq: int, identity: Identity, reply: Reply) -> None:
        """The answer to a numbered request, until the session says it has it."""
        if seq < self.floor:
            return
        self._drop(seq)  # another session's repetition may have barred it meanwhile, and joined it
        if isinstance(reply, Refused):
            self.refuse(seq, reply)
            return
        self._applied.add(seq)
        if self._latest.get(identity) == seq:
            del self._latest[identity]  # whoever comes late under a lower number finds it in the journal

    def refuse(self, seq: int, refused: Refused) -> None:
        """A refusal is the final answer to a number that has none yet: the same sending, arriving late, never runs."""
        if seq >= self.floor and seq not in self._refused and seq not in self._applied:
            self._refused[seq] = refused
            self._size_bytes += _size_bytes(refused)

    def _drop(self, seq: int) -> None:
        refused = self._refused.pop(seq, None)
        if refused is not None:
            self._size_bytes -= _size_bytes(refused)


class Sessions:
    """All sessions heard of in this epoch."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._now_us = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def hear(self, name: str, floor: int, now_us: int) -> Session:
        """The session of a frame, its floor raised to what the frame says and the answers below it dropped."""
        session = self._sessions.setdefault(name, Session())
        self._sessions.move_to_end(name)
        session.heard_us = self._now_us = now_us
        session.raise_floor(floor)
        return session

    def remember(self, name: str, seq: int, identity: Identity, reply: Reply) -> None:
        """Keep the answer to a numbered request until the session says it has it."""
        session = self._sessions.get(name)
        if session is not None:
            session.remember(seq, identity, reply)

    def supersede(self, name: str, seq: int, request_id: str) -> None:
        """A session repeats a request, which may be what another one gave up, under a number that is in its id.

        The first attempt, should it still arrive: the same session's is looked up, another's is refused.
        """
        origin = origin_of(request_id)
        if origin is None or origin == (name, seq):
            return
        session = self._sessions.setdefault(origin[0], Session(self._now_us))
        if origin[0] == name:
            session.look_up(origin[1])
        else:
            error = RequestBarredError(f"request {request_id!r} was repeated by another session")
            session.refuse(origin[1], refusal(error))

    def forget_idle(self, now_us: int) -> None:
        """Drop sessions unheard of for IDLE_US."""
        while self._sessions:
            name, session = next(iter(self._sessions.items()))
            if now_us - session.heard_us < IDLE_US:
                return
            del self._sessions[name]

    def clear(self) -> None:
        """Forget everything: a new epoch begins, under which no earlier frame is accepted."""
        self._sessions.clear()


def _size_bytes(refused: Refused) -> int:
    return _REFUSAL_BYTES + len(refused.message) + sum(map(_value_bytes, refused.details.values()))


def _value_bytes(value: Any) -> int:
    return len(value) if isinstance(value, (bytes, str)) else 0
