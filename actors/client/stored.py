"""Stored states as bytes: what passes from a shard to another wire format without becoming a model in between."""

from __future__ import annotations

from typing import Any, NamedTuple

from lightning_state.actors.category import Category
from lightning_state.actors.core.freshness import Moment
from lightning_state.actors.core.messages import Absent, Value
from lightning_state.actors.core.rows import Entry
from lightning_state.actors.errors import LightningStateError, StateNotFoundError


class StoredState(NamedTuple):
    """One state as its shard keeps it."""

    key: str
    body: bytes
    """Canonical JSON object, without version and time: the commit gave those."""
    version: int
    updated_us: int
    """Microseconds since 1970, UTC."""
    moment: Moment | None = None
    """What the answer reflects. None in a page, which has those of all its states."""


class StoredStates(NamedTuple):
    """Those that exist of the keys that were asked for, and what their absence or presence reflects."""

    states: dict[str, StoredState]
    moments: tuple[Moment, ...]


class StoredPage(NamedTuple):
    """Part of a list, in key order; `cursor` continues it, None: this was the last one."""

    states: tuple[StoredState, ...]
    cursor: str | None
    moments: tuple[Moment, ...]


def moment_of(reply: Value | Absent) -> Moment:
    """What a reply reflects."""
    return Moment(reply.slot, reply.epoch, reply.revision)


def moment_of_error(error: LightningStateError) -> Moment | None:
    """What a refusal reflects: what it tells of its key was true then. None: it tells nothing of one."""
    return error.details.get("moment")


def stored_of(category: str, key: str, reply: Value | Absent) -> StoredState:
    """The state in a reply. Raises StateNotFoundError, with its `moment`, when nothing is stored under the key."""
    if isinstance(reply, Value) and reply.body is not None:
        return StoredState(key, reply.body, reply.version, reply.updated_us, moment_of(reply))
    moment = moment_of(reply)
    raise StateNotFoundError(f"{category} {key!r} does not exist", category=category, key=key, moment=moment)


def entry_of(category: Category[Any], entry: Entry) -> StoredState:
    """The state of a list's entry, as the current schema version writes it."""
    body = category.upcast(entry.body or b"", entry.schema_version)
    return StoredState(entry.key, body, entry.version, entry.updated_us)
