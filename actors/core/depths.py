"""How much of what waits where in a shard."""

from __future__ import annotations

import msgspec


class Depths(msgspec.Struct, frozen=True):
    """Writes by where they are; `pending` is all of them, from arrival to reply."""

    pending: int = 0
    queued: int = 0
    """Behind an earlier write of their key."""
    longest_queue: int = 0
    """Writes of the one key with most of them."""
    judging: int = 0
    """With VERL."""
    ready: int = 0
    """For the next commit."""
    committing: int = 0
    loading: int = 0
    """Keys on their way from the store, for reads too."""
    locks_held: int = 0
    """Leases that were granted and not released."""
    locks_waiting: int = 0
    """Requests that wait for a lease."""
    scanning: int = 0
    """Lists being read or held back."""
