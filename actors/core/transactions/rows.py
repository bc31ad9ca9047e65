"""The journal rows of transactions: keys held, changes made, keys let go, and the decision."""

from __future__ import annotations

import msgspec

from lightning_state.actors.core.change import Change
from lightning_state.actors.core.messages import Refused, Transact, Write
from lightning_state.actors.core.operation import Operation, Part
from lightning_state.actors.core.replies import Slot
from lightning_state.actors.core.rows import JournalRow, Op


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """The body of a DECIDE row."""

    is_committed: bool
    versions: list[int]
    is_otherwise: bool
    refused: Refused | None
    """Why it was aborted."""

    def encode(self) -> bytes:
        """The body of its row."""
        return _encode(self)


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """The body of a PREPARE row: all that is needed to carry it out."""

    slot: int
    """Where the decision is written."""
    op: Op
    change: Change


_encode = msgspec.msgpack.Encoder().encode
_decisions = msgspec.msgpack.Decoder(Decision)
_holds = msgspec.msgpack.Decoder(Hold)


def decision_of(body: bytes | None) -> Decision | None:
    """The decision in a row's body; None: the row bars the transaction."""
    return None if body is None else _decisions.decode(body)


def hold_of(row: JournalRow) -> Hold:
    """What a PREPARE row holds a key for."""
    return _holds.decode(row.body or b"")


def changes_revision(operation: Operation) -> bool:
    """Whether this operation's next row is a change of its key."""
    part = operation.part
    return operation.change is not None and (part is None or part.writes_as is None)


def part_row(operation: Operation, part: Part, slot: Slot, revision: int, now_us: int) -> JournalRow:
    """The row of a part's operation in the next commit.

    Rows by which the transaction is over here have its id as their request id, to be found by: the decision, and what
    another shard's decision changes or lets go.
    """
    request, change = operation.request, operation.change
    row = JournalRow(
        slot=request.slot,
        revision=revision,
        epoch=slot.epoch,
        key=request.key,
        version=0,
        op=Op.BAR,
        body=None,
        schema_version=0,
        indexes={},
        principal=part.principal,
        request_id=part.transaction,
        digest=part.digest,
        time_us=max(now_us, part.time_us),
        transaction=part.transaction,
        transaction_size=part.size,
    )
    replace = msgspec.structs.replace
    if isinstance(request, Transact):
        return replace(row, op=Op.DECIDE, body=part.decision_body)
    if not isinstance(request, Write) or change is None:
        return replace(row, transaction="", transaction_size=0)
    if part.writes_as is Op.ABORT:
        return replace(row, op=Op.ABORT)
    time_us = max(row.time_us, operation.base.updated_us if operation.base is not None else 0)
    row = replace(row, time_us=time_us, schema_version=change.schema_version, indexes=change.indexes)
    if part.writes_as is Op.PREPARE:
        hold = Hold(part.decided_in or 0, request.op, change)
        return replace(row, op=Op.PREPARE, request_id="", body=_encode(hold))
    request_id = "" if part.decided_in is None else part.transaction
    return replace(row, op=request.op, request_id=request_id, body=change.body, version=change.version)
