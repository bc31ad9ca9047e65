"""The output gate of one owner, judged while it runs: nothing leaves before the commit it depends on (C3, C7, C8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lightning_state.actors.core.effects import Invalidate, Notify, Respond
from lightning_state.actors.core.messages import Absent, Page, Value
from lightning_state.actors.core.rows import SlotHead

Durable = Callable[[int, str, str], bool]
"""(slot, request id, principal) → whether the store holds that change."""


class OutputGate:
    """Watches the effects an owner performs; violations are appended to the given list.

    Per slot, events come in revision order without gap or repetition, after their commit and after their invalidation;
    no reply reflects a revision whose invalidation has not left before.
    """

    def __init__(self, name: str, durable: Durable, violations: list[str]) -> None:
        self._name = name
        self._durable = durable
        self._violations = violations
        self._invalidated: dict[int, int] = {}
        self._notified: dict[int, int] = {}

    def begin(self, heads: Iterable[SlotHead]) -> None:
        """A new epoch begins where the store stands."""
        self._notified = {head.slot: head.revision for head in heads}
        self._invalidated = dict(self._notified)

    def invalidate(self, effect: Invalidate) -> None:
        """An invalidation leaves."""
        if effect.revision != self._invalidated[effect.slot] + 1:
            self._violations.append(f"{self._name}: invalidation out of order: {effect}")
        self._invalidated[effect.slot] = effect.revision

    def notify(self, effect: Notify) -> None:
        """An event leaves."""
        row = effect.row
        if row.revision != self._notified[row.slot] + 1 or row.revision != self._invalidated[row.slot]:
            self._violations.append(f"{self._name}: event out of order: {row}")
        if not self._durable(row.slot, row.request_id, row.principal):
            self._violations.append(f"{self._name}: event before its commit: {row}")
        self._notified[row.slot] = row.revision

    def respond(self, effect: Respond) -> None:
        """A reply leaves."""
        reply = effect.reply
        if isinstance(reply, Page):
            newest = max((entry.revision for entry in reply.entries), default=0)
            if newest > max(self._invalidated.values(), default=0):
                self._violations.append(f"{self._name}: a page overtakes invalidations: {reply}")
            if any(revision > self._invalidated.get(slot, 0) for slot, (_, revision) in reply.heads.items()):
                self._violations.append(f"{self._name}: a page's heads overtake invalidations: {reply}")
        elif isinstance(reply, Value | Absent) and reply.revision > self._invalidated.get(reply.slot, 0):
            self._violations.append(f"{self._name}: a reply overtakes its invalidation: {reply}")
