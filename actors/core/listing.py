"""What can be listed, and how much of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lightning_state.actors.category import Category
from lightning_state.actors.core.checks import check_limit
from lightning_state.actors.core.messages import List, Page
from lightning_state.actors.core.replies import upcast
from lightning_state.actors.core.rows import Entry
from lightning_state.actors.core.slots import category_of_slot
from lightning_state.actors.errors import NotOwnerError, ProtocolError, UnknownCategoryError
from lightning_state.actors.limits import Limits

SCAN_BYTES = 4 * 1024 * 1024
"""Bodies of one shard's part of a page, unless a single one is longer: some milliseconds of its event loop."""


def scan_bytes(limits: Limits) -> int:
    """After how many bytes of bodies a part of a page ends: with its last state it still goes into a frame."""
    return min(SCAN_BYTES, limits.frame_bytes // 2)


def check_list(request: List, category: Category[Any], owned: Iterable[int]) -> None:
    """Refuse what cannot be listed.

    Raises NotOwnerError when no owned slot is the category's, ProtocolError for a list of no state,
    UnknownCategoryError for an index the category does not have.
    """
    if not any(category_of_slot(slot) == request.category_id for slot in owned):
        raise NotOwnerError(f"no slot of {category.name} is owned here")
    if request.limit < 1:
        raise ProtocolError(f"a list of at most {request.limit} states: the limit is at least 1")
    if request.index and request.index not in category.indexes:
        raise UnknownCategoryError(
            f"{category.name} has no index {request.index!r}; it has {', '.join(category.indexes) or 'none'}"
        )
    check_limit(request.limit)


def cut(entries: Iterable[Entry], limit: int, size_bytes: int) -> list[Entry]:
    """The first of these, at most `limit`, up to the one whose body makes them `size_bytes` together."""
    found: list[Entry] = []
    for entry in entries:
        found.append(entry)
        size_bytes -= len(entry.body or b"")
        if len(found) >= limit or size_bytes <= 0:
            break
    return found


def page_of(request: List, entries: Sequence[Entry], category: Category[Any], size_bytes: int) -> Page:
    """The page of what was scanned by `cut`: one that is full in either way may have a successor."""
    is_full = len(entries) >= request.limit or sum(len(entry.body or b"") for entry in entries) >= size_bytes
    return Page([upcast(category, entry) for entry in entries], more=is_full)
