"""How often this process was forked since its ancestor imported this: what one client numbers must not be two's."""

from __future__ import annotations

import os

_count = 0


def count() -> int:
    """Changes in the child of every fork."""
    return _count


def _forked() -> None:
    global _count  # noqa: PLW0603  # one number of the process, changed in the child before anything else runs there
    _count += 1


os.register_at_fork(after_in_child=_forked)
