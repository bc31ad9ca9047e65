"""Becomes HAProxy, and ends with the process that started it. Run as a script, by what `environment` puts in its place.

When a whole Ray is killed at once, nobody is left to end the HAProxy its Serve has started: it would hold its port for
ever, and the next start would find that in use.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2), Linux only: the signal this process gets when its parent ends; kept across execve(2).

Precisely when the thread that started it ends: Serve's is the loop of an actor, which lasts as long as its process."""


def main() -> None:
    """Become the program the arguments name, tied to the parent's life where the system can do that."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before this process asked to be told
            return
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606  # no shell is wanted here


if __name__ == "__main__":
    main()
