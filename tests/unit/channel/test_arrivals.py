"""What has arrived is asked of all connections at once, whichever of them are closed meanwhile."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from lightning_state.actors.wire.arrivals import Arrivals


def test_only_what_has_arrived_is_seen() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        arrivals = Arrivals([ours.fileno()])
        assert not arrivals()
        theirs.send(b"x")
        assert arrivals()


def test_a_connection_closed_while_its_number_was_read_is_left_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        closed = os.dup(ours.fileno())
        os.close(closed)
        arrivals = Arrivals([closed, -1, ours.fileno()])
        assert not arrivals()
        theirs.send(b"x")
        assert arrivals()


def test_a_number_that_is_another_files_by_now_is_left_out(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "file").open("w") as file:
        arrivals = Arrivals([file.fileno(), ours.fileno(), ours.fileno()])
        assert not arrivals()
        theirs.send(b"x")
        assert arrivals()


def test_nothing_arrives_where_there_is_no_connection() -> None:
    assert not Arrivals([-1])()
