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
    BAR = "bar"
    """No change of the key: this request id can never be applied any more (C5, resolve)."""


class JournalRow(msgspec.Struct, frozen=True, array_like=True):
    """One change, the only thing a commit writes. `body` is None for a delete and a bar."""

    slot: int
    revision: int
    """The slot's revision after this change; a bar carries the current one."""
    epoch: int
    key: str
    version: int
    """The key's version after this change; 0 for a bar."""
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


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """The last committed change of a key. A tombstone has no body."""

    key: str
    version: int
    revision: int
    body: bytes | None
    schema_version: int
    updated_us: int


class Applied(msgspec.Struct, frozen=True, array_like=True):
    """What a request id did: found again when the request is repeated. `version` is 0 for a bar."""

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
