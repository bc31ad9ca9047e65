"""One call of a public operation, while it lasts."""

from __future__ import annotations

import msgspec

from lightning_state.actors.client.fencing import Fence
from lightning_state.actors.core.session import Session


class Call(msgspec.Struct, frozen=True):
    """What every step of a call needs to know."""

    name: str
    """Such as `agents.get`."""
    session: Session
    deadline_s: float
    """By the monotonic clock."""
    request_id: str | None = None
    """The caller's own, for a write."""
    lock: Fence | None = None
    """What a write is made under."""
