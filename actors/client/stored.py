"""Stored states as bytes: what passes from a shard to another wire format without becoming a model in between."""

from __future__ import annotations

from typing import Any, NamedTuple

from lightning_state.actors.category import Category
from lightning_state.actors.client.decoding import unexpected
from lightning_state.actors.core.messages import Absent, Reply, Value
from lightning_state.actors.core.rows import Entry
from lightning_state.actors.errors import StateNotFoundError


class StoredState(NamedTuple):
    """One state as its shard keeps it."""

    key: str
    body: bytes
    """Canonical JSON object, without version and time: the commit gave those."""
    version: int
    updated_us: int
    """Microseconds since 1970, UTC."""


class StoredPage(NamedTuple):
    """Part of a list, in key order; `cursor` continues it, None: this was the last one."""

    states: tuple[StoredState, ...]
    cursor: str | None


def stored_of(category: str, key: str, reply: Reply, sent: bytes | None = None) -> StoredState:
    """The state in a reply; `sent` is the body of the write it answers, which a shard need not repeat.

    Raises StateNotFoundError when nothing is stored under the key.
    """
    if isinstance(reply, Value):
        body = sent if reply.body is None else reply.body
        if body is not None:
            return StoredState(key, body, reply.version, reply.updated_us)
    if isinstance(reply, (Absent, Value)):
        raise StateNotFoundError(f"{category} {key!r} does not exist", category=category, key=key)
    raise unexpected(reply)


def entry_of(category: Category[Any], entry: Entry) -> StoredState:
    """The state of a list's entry, as the current schema version writes it."""
    body = category.upcast(entry.body or b"", entry.schema_version)
    return StoredState(entry.key, body, entry.version, entry.updated_us)
