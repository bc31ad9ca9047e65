"""What is committed together: the rows of all operations that are ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lightning_state.actors.core.messages import Write
from lightning_state.actors.core.operation import Operation
from lightning_state.actors.core.replies import Slot
from lightning_state.actors.core.rows import JournalRow, Op
from lightning_state.actors.core.transactions.rows import changes_revision, part_row

_ROWS = 1_024
_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Batch:
    """Operations and their rows, one each, in the order of the journal."""

    ticket: int
    operations: list[Operation] = field(default_factory=list[Operation])
    rows: list[JournalRow] = field(default_factory=list[JournalRow])

    def fill(
        self,
        ready: deque[Operation],
        slots: Mapping[int, Slot],
        now_us: int,
        still_admits: Callable[[Operation], bool],
    ) -> None:
        """Take what is ready, as much as one commit holds. What is no longer admitted has been refused by then."""
        revisions: dict[int, int] = {}
        size_bytes = 0
        while ready and len(self.rows) < _ROWS and size_bytes < _BYTES:
            leader = ready.popleft()
            together = (leader, *leader.followers)
            if not all(map(still_admits, together)):
                continue
            changed: set[int] = set()
            for operation in together:
                slot = operation.request.slot
                revision = revisions.get(slot, slots[slot].revision)
                if changes_revision(operation) and slot not in changed:
                    changed.add(slot)  # the changes of one transaction in a slot share a revision
                    revision += 1
                row = _row(operation, slots[slot], revision, now_us)
                revisions[slot] = revision
                size_bytes += len(row.body or b"")
                self.operations.append(operation)
                self.rows.append(row)


def _row(operation: Operation, slot: Slot, revision: int, now_us: int) -> JournalRow:
    if operation.part is not None:
        return part_row(operation, operation.part, slot, revision, now_us)
    request, change, grant, base = operation.request, operation.change, operation.grant, operation.base
    return JournalRow(
        slot=request.slot,
        revision=revision,
        epoch=slot.epoch,
        key=request.key,
        version=change.version if change else 0,
        op=request.op if isinstance(request, Write) else grant.op if grant else Op.BAR,
        body=change.body if change else grant.encode() if grant else None,
        schema_version=change.schema_version if change else 0,
        indexes=change.indexes if change else {},
        principal=operation.principal,
        request_id=request.request_id,
        digest=operation.digest,
        # Times of one key never go back, whatever the clock does; order comes from versions all the same.
        time_us=max(now_us, base.updated_us if base else 0),
    )
