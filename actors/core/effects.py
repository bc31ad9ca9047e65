"""What the shard decides and a shell performs. A shell performs them in order and answers by the ticket.

Structs, because a write makes a handful of them: a frozen dataclass takes ten times as long to make.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lightning_state.actors.category import Category
from lightning_state.actors.core.messages import List, Reply
from lightning_state.actors.core.rows import Entry, JournalRow
from lightning_state.actors.core.transition import Transition


class Load(msgspec.Struct, frozen=True):
    """Read a key's last committed entry; answer with `loaded`."""

    ticket: int
    slot: int
    key: str


class Lookup(msgspec.Struct, frozen=True):
    """Read what a request id did; answer with `looked_up`."""

    ticket: int
    slot: int
    principal: str
    request_id: str


class Scan(msgspec.Struct, frozen=True):
    """Read a part of a list; answer with `scanned`."""

    ticket: int
    request: List
    size_bytes: int
    """It ends with the entry whose body makes it so long."""


class ReadHistory(msgspec.Struct, frozen=True):
    """Read a key's changes after a version; answer with `history_read`."""

    ticket: int
    slot: int
    key: str
    after_version: int
    limit: int


class Validate(msgspec.Struct, frozen=True):
    """Get VERL's verdict on a change; answer with `judged`. It is bound to this base version and these bytes."""

    ticket: int
    category: Category[Any]
    key: str
    base: Entry | None
    new: bytes
    timeout_ms: int
    """What is left of the sender's deadline."""


class Commit(msgspec.Struct, frozen=True):
    """Write these rows in one durable transaction; answer with `committed`, `commit_refused` or `commit_unknown`."""

    ticket: int
    rows: Sequence[JournalRow]


class Invalidate(msgspec.Struct, frozen=True):
    """Tell every cache that a key has changed. Comes after the commit and before any reply that reflects it."""

    slot: int
    key: str
    epoch: int
    revision: int
    version: int
    indexes: dict[str, str] = {}
    """Index name → the value of the state it has now: the lists that have it as a member."""


class Notify(msgspec.Struct, frozen=True):
    """A committed change, for watchers and logs; per slot in revision order."""

    row: JournalRow
    transition: Transition | None = None
    """The change of status it made, if it made one."""


class Respond(msgspec.Struct, frozen=True):
    """Answer request number `index` of a received frame."""

    call: int
    index: int
    reply: Reply


class Wake(msgspec.Struct, frozen=True):
    """Call `woken` at this time; an earlier one takes its place, a later one does not."""

    at_us: int


class Recover(msgspec.Struct, frozen=True):
    """A commit's outcome is unknown: reopen the store, take a new epoch, then `adopt` what it says (C3)."""


Effect = Load | Lookup | Scan | Validate | Commit | Invalidate | Notify | Respond | Recover | Wake | ReadHistory
