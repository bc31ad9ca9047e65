"""The shard's memory of client sessions: which numbered requests were answered, so that none runs twice (C5, RIFL)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from lightning_state.actors.core.messages import Reply

Identity = tuple[int, str, str]
"""(slot, principal, request id)."""

IDLE_US = 3600 * 1_000_000
"""A session unheard of for an hour is forgotten: no transport delays a frame for that long."""


@dataclass(slots=True)
class Session:
    """One client session. Numbers below `floor` are answered and forgotten."""

    floor: int = 0
    answers: dict[int, Reply] = field(default_factory=dict[int, Reply])
    latest: dict[Identity, int] = field(default_factory=dict[Identity, int])
    """Request id → the highest number under which it was repeated."""
    heard_us: int = 0

    def answer(self, seq: int, identity: Identity) -> Reply | None:
        """The answer to this number, or to a later repetition of the same request: what it overtook never runs."""
        return self.answers.get(seq) or self.answers.get(max(seq, self.latest.get(identity, 0)))

    def repeated(self, seq: int, identity: Identity) -> None:
        """A request that may have been sent before has arrived under this number."""
        self.latest[identity] = max(seq, self.latest.get(identity, 0))


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
        if floor > session.floor:
            session.floor = floor
            session.answers = {seq: reply for seq, reply in session.answers.items() if seq >= floor}
            session.latest = {identity: seq for identity, seq in session.latest.items() if seq >= floor}
        return session

    def remember(self, name: str, seq: int, reply: Reply) -> None:
        """Keep the answer to a numbered request until the session says it has it."""
        session = self._sessions.get(name)
        if session is not None and seq >= session.floor:
            session.answers[seq] = reply

    def supersede(self, name: str, seq: int, reply: Reply) -> None:
        """The answer to a number whose request another session took over, unless it has one already."""
        session = self._sessions.setdefault(name, Session(heard_us=self._now_us))
        if seq >= session.floor:
            session.answers.setdefault(seq, reply)

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
