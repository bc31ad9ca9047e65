"""Processes told apart by when they started, and by who started them."""

import os
import subprocess
import sys

from lightning_state.actors.processes import has_ended, name_of, parent_of, start_time_ticks


def test_a_child_knows_its_parent_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        assert parent_of(child.pid) == os.getpid()
        assert name_of(os.getpid()) != ""
        assert not has_ended(child.pid)
        assert start_time_ticks(child.pid) is not None
    assert has_ended(child.pid)
    assert (parent_of(child.pid), name_of(child.pid), start_time_ticks(child.pid)) == (None, "", None)
