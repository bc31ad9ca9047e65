"""A key's past, read from the journal: no reply shows a change of which caches and callers have not heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from lightning_state.actors.core.checks import LIST_LIMIT
from lightning_state.actors.core.effects import Effect, ReadHistory
from lightning_state.actors.core.messages import Changes, History, PastVersion, Refused, Reply
from lightning_state.actors.core.rows import JournalRow
from lightning_state.actors.errors import ProtocolError

BODIES_MOST_BYTES = 4 * 1024 * 1024
"""Of one reply, the first version apart: the next ones are asked for after it."""


class _Asked(msgspec.Struct, frozen=True):
    call: int
    index: int
    request: History


class Histories:
    """The reads of history under way in one shard."""

    def __init__(self, respond: Callable[[int, int, Reply], None]) -> None:
        self._respond = respond
        self._asked: dict[int, _Asked] = {}
        self._held: list[tuple[_Asked, Changes]] = []

    def __len__(self) -> int:
        return len(self._asked) + len(self._held)

    def begin(self, ticket: int, call: int, index: int, request: History) -> Effect:
        """What to read. Raises ProtocolError for a limit out of range."""
        if not 1 <= request.limit <= LIST_LIMIT or request.after_version < 0:
            raise ProtocolError(f"a history of {request.limit} versions: 1 to {LIST_LIMIT} are given at a time")
        self._asked[ticket] = _Asked(call, index, request)
        return ReadHistory(ticket, request.slot, request.key, request.after_version, request.limit)

    def read(self, ticket: int, rows: Sequence[JournalRow], committing: Iterable[JournalRow]) -> None:
        """The journal's rows, at most as many as asked for; they may show a commit that was not told of yet."""
        asked = self._asked.pop(ticket, None)
        if asked is None:
            return
        request = asked.request
        shown = _cut(rows)
        past = [PastVersion(row.version, row.op, row.time_us, row.body, row.schema_version) for row in shown]
        changes = Changes(past, more=len(shown) < len(rows) or len(rows) >= request.limit)
        place = request.slot, request.key
        if any((row.slot, row.key) == place and row.version for row in committing):
            self._held.append((asked, changes))
        else:
            self._respond(asked.call, asked.index, changes)

    def fail(self, ticket: int, refused: Refused) -> None:
        """It could not be read."""
        asked = self._asked.pop(ticket, None)
        if asked is not None:
            self._respond(asked.call, asked.index, refused)

    def release(self) -> None:
        """The commit is over and told: what waited for that goes."""
        held, self._held = self._held, []
        for asked, changes in held:
            self._respond(asked.call, asked.index, changes)

    def disown(self, refused: Refused) -> None:
        """Send everybody who asked to the next owner."""
        for asked in (*self._asked.values(), *(asked for asked, _ in self._held)):
            self._respond(asked.call, asked.index, refused)
        self._asked.clear()
        self._held.clear()


def _cut(rows: Sequence[JournalRow]) -> Sequence[JournalRow]:
    """As many of them as one reply carries, at least one."""
    size_bytes = 0
    for number, row in enumerate(rows):
        size_bytes += len(row.body or b"")
        if size_bytes > BODIES_MOST_BYTES and number:
            return rows[:number]
    return rows
