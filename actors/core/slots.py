"""Slots: the unit of order, ownership, journal and movement. A slot number carries its category."""

from __future__ import annotations

from zlib import crc32

_SLOT_BITS = 16


def slot_of(category_id: int, key: str, slots: int) -> int:
    """The slot of a key in a category that has `slots` slots; the same in every process and version."""
    return category_id << _SLOT_BITS | crc32(key.encode()) % slots


def category_of_slot(slot: int) -> int:
    """The id of the category a slot belongs to."""
    return slot >> _SLOT_BITS


def index_of_slot(slot: int) -> int:
    """A slot's number within its category, from 0."""
    return slot & ((1 << _SLOT_BITS) - 1)


def slots_of_category(category_id: int, slots: int) -> range:
    """All slots of a category."""
    return range(category_id << _SLOT_BITS, (category_id << _SLOT_BITS) + slots)
