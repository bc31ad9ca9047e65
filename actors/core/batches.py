"""What is committed together: the rows of all operations that are ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lightning_state.actors.core.messages import Write
from lightning_state.actors.core.operation import Operation
from lightning_state.actors.core.replies import Slot
from lightning_state.actors.core.rows import JournalRow, Op

_ROWS = 1_024
_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations and their rows, one each, in the order of the journal, and the ticket of their commit."""

    ticket: int
    operations: Sequence[Operation]
    rows: Sequence[JournalRow]


NOTHING = Batch(0, (), ())
"""No commit is under way; no ticket is 0."""


def take_batch(
    ticket: int,
    ready: deque[Operation],
    slots: Mapping[int, Slot],
    now_us: int,
    still_admits: Callable[[Operation], bool],
) -> Batch:
    """What is ready, as much as one commit holds. What `still_admits` says no to has been refused by then."""
    operations: list[Operation] = []
    rows: list[JournalRow] = []
    revisions: dict[int, int] = {}
    size_bytes = 0
    while ready and len(rows) < _ROWS and size_bytes < _BYTES:
        operation = ready.popleft()
        if not still_admits(operation):
            continue
        number = operation.request.slot
        revisions[number] = revisions.get(number, slots[number].revision) + (operation.change is not None)
        row = _row(operation, slots[number].epoch, revisions[number], now_us)
        size_bytes += len(row.body or b"")
        operations.append(operation)
        rows.append(row)
    return Batch(ticket, operations, rows)


def _row(operation: Operation, epoch: int, revision: int, now_us: int) -> JournalRow:
    request, change, grant, base = operation.request, operation.change, operation.grant, operation.base
    return JournalRow(
        slot=request.slot,
        revision=revision,
        epoch=epoch,
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
