"""What a shard answers from: the slots it owns, and the replies made of what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.messages import Absent, Refused, Resolution, Value, Write
from lightning_state.actors.core.operation import Operation
from lightning_state.actors.core.rows import Applied, Entry, JournalRow, Op, SlotHead
from lightning_state.actors.core.slots import category_of_slot
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


def found(slot: int, owned: Slot, entry: Entry) -> Value | Absent:
    """The reply to a read."""
    if entry.body is None:
        return Absent(slot, owned.epoch, owned.revision, entry.version)
    return Value(slot, owned.epoch, entry.revision, entry.version, entry.updated_us, entry.body, owned.revision)


def heads(slots: Mapping[int, Slot], category_id: int) -> dict[int, tuple[int, int]]:
    """Slot → (epoch, revision) of those of a category that are owned and have ever changed."""
    return {
        slot: (owned.epoch, owned.revision)
        for slot, owned in slots.items()
        if owned.revision and category_of_slot(slot) == category_id
    }


def result(row: JournalRow) -> Value | Resolution:
    """The reply to a write, or to a Resolve that wrote a bar, that is committed."""
    if row.op is Op.BAR:
        return Resolution(applied=False, version=0)
    # Whoever sent a whole state has its body already; a patch learns the result.
    body = None if row.op is Op.SET else row.body
    return Value(row.slot, row.epoch, row.revision, row.version, row.time_us, body, row.revision)


def check_same(digest: bytes, repeated: Operation) -> None:
    """Raise IdempotencyMismatchError when a request id comes back with another request."""
    if digest != repeated.digest:
        raise IdempotencyMismatchError(
            f"request id {repeated.request.request_id!r} was used for another request: every write needs its own"
        )


def repeated(operation: Operation, write: Write, applied: Applied, slot: Slot) -> Value:
    """The stored result of a request that was applied before. Raises when it was barred or was another request."""
    if applied.op is Op.BAR:
        raise RequestBarredError(f"request {write.request_id!r} was declared not applied; use a new id")
    check_same(applied.digest, operation)
    body = None if applied.op is Op.SET else applied.body
    return Value(write.slot, slot.epoch, applied.revision, applied.version, applied.time_us, body, slot.revision)


def showing(refused: Refused, slot: int, owned: Slot) -> Refused:
    """A refusal that tells something of its key (that it exists, its version), with the moment when that was so."""
    return msgspec.structs.replace(refused, details={**refused.details, "moment": (slot, owned.epoch, owned.revision)})


def upcast(category: Category[Any], entry: Stored) -> Stored:
    """What is stored, in the category's current schema."""
    if entry.body is None or entry.schema_version == category.schema_version:
        return entry
    body = category.upcast(entry.body, entry.schema_version)
    return msgspec.structs.replace(entry, body=body, schema_version=category.schema_version)
