"""Pages of a list: merged from the parts of all shards, in key order, continued by a cursor."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lightning_state.actors.category import Category
from lightning_state.actors.core.messages import Page
from lightning_state.actors.core.rows import Entry
from lightning_state.actors.errors import InvalidStateError
from lightning_state.actors.models import State
from lightning_state.actors.tables import flat_table

S = TypeVar("S", bound=State)

_CURSOR = b"k1:"


@dataclass(frozen=True, slots=True)
class StatePage(Generic[S]):
    """Part of a list, in key order. States that were there throughout all pages appear exactly once."""

    states: tuple[S, ...]
    cursor: str | None
    """Give it to `list` for the next page; None: this was the last one."""

    def __iter__(self) -> Iterator[S]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def _repr_html_(self) -> str:
        kinds = "/".join(sorted({type(state).__name__ for state in self.states})) or "State"
        more = "; list() with its cursor continues" if self.cursor else ""
        return flat_table(self.states, f"{len(self)} × {kinds}{more}")


def key_after(cursor: str | None) -> str:
    """The key a cursor continues after; empty: from the start. Raises InvalidStateError for what `list` never gave."""
    if cursor is None:
        return ""
    try:
        data = urlsafe_b64decode(cursor.encode())
        if not data.startswith(_CURSOR):
            raise ValueError(cursor)
        return data[len(_CURSOR) :].decode()
    except (ValueError, UnicodeError) as error:
        raise InvalidStateError("this cursor was not made by list(): pass page.cursor unchanged") from error


def merge(category: Category[S], parts: Sequence[Page], limit: int) -> StatePage[S]:
    """One page of at most `limit` states out of the shards' parts, each in key order."""
    entries, cursor = merge_entries(parts, limit)
    return StatePage(tuple(_state(category, entry) for entry in entries), cursor)


def merge_entries(parts: Sequence[Page], limit: int) -> tuple[list[Entry], str | None]:
    """The page's entries, at most `limit`, and the cursor that continues after them, None at the end.

    A part that ends early (`more`) hides what follows its last key, so nothing beyond that key is given yet.
    """
    entries = sorted((entry for part in parts for entry in part.entries), key=lambda entry: entry.key)
    ends = [part.entries[-1].key for part in parts if part.more and part.entries]
    if ends:
        horizon = min(ends)
        entries = [entry for entry in entries if entry.key <= horizon]
    more = bool(ends) or len(entries) > limit
    entries = entries[:limit]
    cursor = urlsafe_b64encode(_CURSOR + entries[-1].key.encode()).decode() if more and entries else None
    return entries, cursor


def _state(category: Category[S], entry: Entry) -> S:
    body = category.upcast(entry.body or b"", entry.schema_version)
    return category.decode(body, entry.version, entry.updated_us)
