"""What a shard answers from: the slots it owns, and the replies made of what is stored."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.messages import Absent, Checked, Recall, Resolution, Value, Write
from lightning_state.actors.core.operation import Operation
from lightning_state.actors.core.rows import Applied, Entry, JournalRow, Op, SlotHead
from lightning_state.actors.errors import IdempotencyMismatchError, RequestBarredError

Stored = TypeVar("Stored", Entry, Applied)


class Slot:
    """A slot this shard owns: its epoch, its last committed revision, its version floor, its barred request ids."""

    __slots__ = ("barred", "epoch", "floor", "revision")

    def __init__(self, head: SlotHead) -> None:
        self.epoch = head.epoch
        self.revision = head.revision
        self.floor = head.floor
        self.barred: set[tuple[str, str]] = set()

    def check_not_barred(self, operation: Operation) -> None:
        """Raises RequestBarredError when a Resolve was told that this request is not applied and never will be."""
        request_id = operation.request.request_id
        if (operation.principal, request_id) in self.barred:
            raise RequestBarredError(f"request {request_id!r} was declared not applied; use a new id")


def found(slot: int, owned: Slot, entry: Entry, *, bare: bool = False) -> Value | Absent | Checked:
    """The reply to a read; `bare`: of its version only."""
    if bare:
        return Checked(entry.version if entry.body is not None else 0)
    if entry.body is None:
        return Absent(slot, owned.epoch, owned.revision, entry.version)
    return Value(slot, owned.epoch, entry.revision, entry.version, entry.updated_us, entry.body)


def result(operation: Operation, row: JournalRow) -> Value | Resolution:
    """The reply to a write, or to a Resolve that wrote a bar, that is committed."""
    if row.op is Op.BAR:
        return Resolution(applied=False, version=0)
    body = None if _is_known(operation.request) else row.body
    return Value(row.slot, row.epoch, row.revision, row.version, row.time_us, body)


def check_same(digest: bytes, repeated: Operation) -> None:
    """Raise IdempotencyMismatchError when a request id comes back with another request."""
    if digest != repeated.digest:
        raise IdempotencyMismatchError(
            f"request id {repeated.request.request_id!r} was used for another request: every write needs its own"
        )


def repeated(operation: Operation, write: Write | Recall, applied: Applied, slot: Slot) -> Value:
    """The stored result of a request that was applied before. Raises when it was barred or was another request."""
    if applied.op is Op.BAR:
        raise RequestBarredError(f"request {write.request_id!r} was declared not applied; use a new id")
    check_same(applied.digest, operation)
    body = None if _is_known(write) else applied.body
    return Value(write.slot, slot.epoch, applied.revision, applied.version, applied.time_us, body)


def _is_known(request: object) -> bool:
    """Whether who asks has the resulting body already: who sent a whole state does, while a patch learns the result.

    Under an intent, another whole state may have been stored.
    """
    return isinstance(request, Write) and request.op is Op.SET and not request.intent


def upcast(category: Category[Any], entry: Stored) -> Stored:
    """What is stored, in the category's current schema."""
    if entry.body is None or entry.schema_version == category.schema_version:
        return entry
    body = category.upcast(entry.body, entry.schema_version)
    return msgspec.structs.replace(entry, body=body, schema_version=category.schema_version)
