"""A change of status."""

from __future__ import annotations

import msgspec


class Transition(msgspec.Struct, frozen=True):
    """A stored state went from one status of its category's table to another."""

    category: str
    before: str
    after: str
