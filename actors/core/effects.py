"""What the shard decides and a shell performs. A shell performs them in order and answers by the ticket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.core.messages import List, Reply
from lightning_state.actors.core.rows import Entry, JournalRow


@dataclass(frozen=True, slots=True)
class Load:
    """Read a key's last committed entry; answer with `loaded`."""

    ticket: int
    slot: int
    key: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """Read what a request id did; answer with `looked_up`."""

    ticket: int
    slot: int
    principal: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Scan:
    """Read a part of a list; answer with `scanned`."""

    ticket: int
    request: List


@dataclass(frozen=True, slots=True)
class Validate:
    """Get VERL's verdict on a change; answer with `judged`. It is bound to this base version and these bytes."""

    ticket: int
    category: Category[Any]
    key: str
    base: Entry | None
    new: bytes
    timeout_ms: int
    """What is left of the sender's deadline."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Write these rows in one durable transaction; answer with `committed`, `commit_refused` or `commit_unknown`."""

    ticket: int
    rows: list[JournalRow]


@dataclass(frozen=True, slots=True)
class Invalidate:
    """Tell every cache that a key has changed. Comes after the commit and before any reply that reflects it."""

    slot: int
    key: str
    epoch: int
    revision: int
    version: int


@dataclass(frozen=True, slots=True)
class Notify:
    """A committed change, for watchers and logs; per slot in revision order."""

    row: JournalRow


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer request number `index` of a received frame."""

    call: int
    index: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class Recover:
    """A commit's outcome is unknown: reopen the store, take a new epoch, then `adopt` what it says (C3)."""


Effect = Load | Lookup | Scan | Validate | Commit | Invalidate | Notify | Respond | Recover
