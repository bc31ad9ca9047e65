"""What a store keeps: journal rows, the entries they project to, slot heads. Times are microseconds since 1970, UTC."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Op(StrEnum):
    """What a journal row records."""

    SET = "set"
    PATCH = "patch"
    STATUS = "status"
    PROGRESS = "progress"
    DELETE = "delete"
    EXPIRE = "expire"
    """The state reached the end of its time to live: a delete by the owner."""
    BAR = "bar"
    """No change of the key: this request id can never be applied any more (C5, resolve)."""
    LOCK = "lock"
    """No change of the key: it is leased; the body is the grant (C6)."""
    UNLOCK = "unlock"
    """No change of the key: its lease was given back or taken back."""
    PREPARE = "prepare"
    """No change of the key yet: it is held for a transaction; the body is what that will do (C4)."""
    ABORT = "abort"
    """No change of the key: what a transaction held is let go."""
    DECIDE = "decide"
    """No change of a key: a transaction's outcome, in a slot of its coordinator; the body says which."""


class JournalRow(msgspec.Struct, frozen=True, array_like=True):
    """One change, the only thing a commit writes. `body` is None for a delete and a bar."""

    slot: int
    revision: int
    """The slot's revision after this change; a row that changes no key carries the current one."""
    epoch: int
    key: str
    version: int
    """The key's version after this change; 0 for a row that changes no key."""
    op: Op
    body: bytes | None
    schema_version: int
    indexes: dict[str, str]
    """Index name → value of the state written here."""
    principal: str
    request_id: str
    digest: bytes
    """Digest of the request, to tell a repeated one from another under the same id."""
    time_us: int
    expires_us: int = 0
    """When the state written here ends; 0: never."""
    transaction: str = ""
    """The transaction this is a part of; empty for a write of its own."""
    transaction_size: int = 0
    """How many keys that transaction writes."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """The last committed change of a key. A tombstone has no body."""

    key: str
    version: int
    revision: int
    body: bytes | None
    schema_version: int
    updated_us: int
    expires_us: int = 0
    """When it ends by itself; 0: never."""


class Applied(msgspec.Struct, frozen=True, array_like=True):
    """What a request id did: found again when the request is repeated. `version` is 0 for what changed no key."""

    key: str
    version: int
    revision: int
    op: Op
    body: bytes | None
    schema_version: int
    digest: bytes
    time_us: int


class SlotHead(msgspec.Struct, frozen=True, array_like=True):
    """Where a slot stands."""

    slot: int
    epoch: int
    revision: int
    floor: int
    """Keys without a tombstone are created at floor + 1: no version is ever used twice (C2)."""


def entry_of(row: JournalRow) -> Entry:
    """The entry a change left behind."""
    return Entry(row.key, row.version, row.revision, row.body, row.schema_version, row.time_us, row.expires_us)


def applied_of(row: JournalRow) -> Applied:
    """What the request of a change did."""
    return Applied(row.key, row.version, row.revision, row.op, row.body, row.schema_version, row.digest, row.time_us)


Hold = tuple[int, str, str]
"""(slot, kind, key) of something held beyond one commit: kind is the Op that begins it, LOCK or PREPARE."""


def begun_hold(row: JournalRow) -> Hold | None:
    """What this row begins to hold, in place of what was held before under the same name; None: nothing."""
    return (row.slot, row.op.value, row.key) if row.op in (Op.LOCK, Op.PREPARE) else None


def ended_hold(row: JournalRow) -> Hold | None:
    """What is held no longer after this row; None: nothing ends.

    A PREPARE is ended by the next row of its key that is part of a transaction: the change itself, or an ABORT.
    """
    if row.op is Op.UNLOCK:
        return row.slot, Op.LOCK.value, row.key
    if row.transaction and row.op not in (Op.PREPARE, Op.DECIDE):
        return row.slot, Op.PREPARE.value, row.key
    return None
