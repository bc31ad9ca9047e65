"""What a write is made under: the fencing token of a lock that its caller holds."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Protocol


class Fence(Protocol):
    """Whatever knows the token of a key: a lock, several locks, or a token that was handed over."""

    def token_for(self, category: str, key: str) -> int:
        """The fencing token for a write of this key. Raises InvalidStateError when it is of another one."""
        ...


@dataclass(frozen=True, slots=True)
class FencingToken:
    """The token of a lock that somebody else holds: `lock=FencingToken(token)` writes under it."""

    token: int

    def token_for(self, category: str, key: str) -> int:  # noqa: ARG002  # whose it is, is the owner's to check
        """The token, for any key: the owner refuses it where it does not belong."""
        return self.token


def token_of(lock: Fence | None, category: str, key: str) -> int:
    """The token a write of this key carries; 0: none."""
    return 0 if lock is None else lock.token_for(category, key)


def holder() -> str:
    """Who asks for a lock, within this process: the running asyncio task, else the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return f"task-{id(task):x}" if task is not None else f"thread-{threading.get_ident():x}"
