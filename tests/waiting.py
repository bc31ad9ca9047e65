"""Waiting for a condition, with a deadline; never for a duration."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, probe: Callable[[], T], within_s: float = 30.0) -> T:
    """The first true result of `probe`; fails with `what` when none came in time."""
    deadline_s = time.monotonic() + within_s
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline_s, f"within {within_s} s not seen: {what}"
        time.sleep(0.02)
