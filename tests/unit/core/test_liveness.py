"""Silence ends a shard; a slow start does not (C9, C13)."""

from __future__ import annotations

import pytest

from lightning_state.actors.core.liveness import START_WITHIN_S, Liveness


def test_a_process_that_answered_before_is_silent_at_once() -> None:
    shard = Liveness(0.0)
    shard.answered(1.0)
    assert shard.timed_out(4.0, lives=True)


@pytest.mark.parametrize("lives", [False, None])
def test_a_process_that_never_answered_is_left_to_start(lives: bool | None) -> None:
    shard = Liveness(0.0)
    for now_s in range(3, int(START_WITHIN_S), 3):
        assert not shard.timed_out(float(now_s), lives=lives)
    assert shard.timed_out(START_WITHIN_S, lives=lives)
    assert not shard.timed_out(START_WITHIN_S + 3.0, lives=lives), "the next start has its own time"


def test_an_owner_that_answered_nobody_yet_is_silent_all_the_same() -> None:
    # The directory itself restarted, and has not heard of anybody: the owner of the slots is there and says nothing.
    assert Liveness(0.0).timed_out(3.0, lives=True)


def test_a_successor_is_starting_whatever_its_predecessor_said() -> None:
    shard = Liveness(0.0)
    shard.answered(1.0)
    shard.ended(2.0)
    assert not shard.timed_out(5.0, lives=None)
    shard.answered(6.0)
    assert not shard.timed_out(9.0, lives=False), "the process that answered is gone: another one is starting"
    assert shard.timed_out(9.0, lives=None)
