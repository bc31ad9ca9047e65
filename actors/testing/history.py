"""What clients did and saw: the input of every checker, independent of where it was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from lightning_state.actors.core.messages import ANY
from lightning_state.actors.core.rows import JournalRow, Op

NEVER = 1 << 62
"""The return time of a call that nobody waited for to the end."""

Seen = tuple[str, str]
"""The two parts of a state a history distinguishes: its mark, unique to the write that set it, and its status."""

Token = tuple[int, int]
"""A fencing token: (owner epoch, lock generation)."""


class _Fields(msgspec.Struct):
    mark: str = msgspec.field(name="agentType")
    status: str = ""


_decoder = msgspec.json.Decoder(_Fields)


class Kind(StrEnum):
    """What was asked for."""

    READ = "read"
    SET = "set"
    PATCH = "patch"
    STATUS = "status"
    DELETE = "delete"
    RESOLVE = "resolve"


class Outcome(StrEnum):
    """How a call ended."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation of one client on one key.

    Times are numbers of one total order; where ages or leases are judged, ticks of one clock that agrees with it.
    """

    client: str
    kind: Kind
    key: str
    invoked: int
    returned: int = NEVER
    request_id: str = ""
    expected: int = ANY
    mark: str = ""
    """What a SET or PATCH wrote."""
    status: str = ""
    """What a SET or STATUS wrote."""
    outcome: Outcome = Outcome.UNKNOWN
    version: int = 0
    """OK: the version written or read, a tombstone's or 0 for absence; RESOLVE: 0 says never applied."""
    seen: Seen | None = None
    """OK: what a read found (None: nothing) or a write left behind."""
    code: str = ""
    """REFUSED: the error's code."""
    observed: int | None = None
    """REFUSED by a version conflict: the version said to be current, 0 for none. Such a refusal is a read."""
    cached: bool = False
    """READ: a cache may have answered."""
    token: Token | None = None
    """The fencing token a write carried."""

    @property
    def writes(self) -> bool:
        """Whether the call may change its key."""
        return self.kind not in (Kind.READ, Kind.RESOLVE)


def by_key(history: Iterable[Call]) -> dict[str, list[Call]]:
    """The history of each key, in order of invocation."""
    found: dict[str, list[Call]] = {}
    for call in sorted(history, key=lambda call: call.invoked):
        found.setdefault(call.key, []).append(call)
    return found


def settle(history: Iterable[Call], rows: Sequence[JournalRow]) -> list[Call]:
    """The history with its unknown writes looked up in the journal: those found there happened, the rest did not.

    A write found happened at some moment after its invocation: its return stays open.
    """
    written = {row.request_id: row for row in rows if row.op is not Op.BAR}
    settled: list[Call] = []
    for call in history:
        if not call.writes or call.outcome is not Outcome.UNKNOWN:
            settled.append(call)
        elif (row := written.get(call.request_id)) is not None:
            settled.append(replace(call, outcome=Outcome.OK, version=row.version, seen=seen_in(row.body)))
    return settled


def seen_in(body: bytes | None) -> Seen | None:
    """What a history distinguishes of a stored agent state."""
    if body is None:
        return None
    fields = _decoder.decode(body)
    return fields.mark, fields.status
