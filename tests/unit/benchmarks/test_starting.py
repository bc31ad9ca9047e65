"""How long a command takes until it says that it is ready: it is waited for, and ended."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lightning_state.cluster.benchmarks.errors import BenchmarkError
from lightning_state.cluster.benchmarks.starting import ready_after_s

WAITS_FOR_EVER = "import threading; print('is ready', flush=True); threading.Event().wait()"


def test_a_command_is_timed_until_it_is_ready_and_then_ended(tmp_path: Path) -> None:
    began_s = time.monotonic()
    taken_s = ready_after_s(("timeit", "-n", "1", "-r", "1", WAITS_FOR_EVER), tmp_path)
    assert 0 < taken_s <= time.monotonic() - began_s


def test_a_command_that_ends_before_it_is_ready_is_said_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"did not become ready: .*no_such_module"):
        ready_after_s(("no_such_module",), tmp_path)
