"""Dispatch decisions: nothing is lost, nothing is sent twice at once, bounds hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_state.actors.core.verl.dispatch import ATTEMPTS, Dispatch, Dispatched, Lane, LaneLimits
from lightning_state.actors.errors import OverloadedError


def dispatch(*members: str, queue: int = 100, frames: int = 2, calls: int = 10) -> Dispatch:
    made = Dispatch(LaneLimits(queue=queue, frames=frames, calls=calls), LaneLimits(queue=2, frames=1, calls=1))
    made.set_members(members)
    return made


def admit(to: Dispatch, *calls: int, lane: Lane = Lane.PLAIN) -> None:
    for call in calls:
        to.admit(call, lane, 100)


def test_everything_waiting_goes_in_one_frame() -> None:
    made = dispatch("v1")
    admit(made, 1, 2, 3)
    assert [frame.calls for frame in made.take()] == [(1, 2, 3)]


def test_frames_in_flight_are_bounded_and_an_answer_frees_a_place() -> None:
    made = dispatch("v1", calls=1)
    admit(made, 1, 2, 3)
    first, _ = made.take()
    assert made.take() == []
    made.answered(first.frame)
    assert [frame.calls for frame in made.take()] == [(3,)]


def test_each_frame_goes_to_the_least_loaded_validator() -> None:
    made = dispatch("v1", "v2", calls=1)
    admit(made, 1, 2)
    assert {frame.validator for frame in made.take()} == {"v1", "v2"}


def test_calls_of_a_lost_validator_go_to_another_in_their_order() -> None:
    made = dispatch("v1", "v2")
    admit(made, 1, 2, 3)
    (frame,) = made.take()
    assert made.failed(frame.frame) == []
    resent = made.take()
    assert {other.validator for other in resent} == {"v1", "v2"} - {frame.validator}
    assert made.down == [frame.validator]
    assert [call for other in resent for call in other.calls] == [1]
    made.answered(resent[0].frame)
    assert [other.calls for other in made.take()] == [(2,)]


def test_a_call_that_ends_every_validator_is_given_up_alone() -> None:
    made = dispatch(*(f"v{number}" for number in range(40)), calls=512, queue=600)
    admit(made, *range(600))
    poison, given_up, done = 7, list[int](), set[int]()
    while frames := made.take():
        for frame in frames:
            if poison in frame.calls:
                given_up += made.failed(frame.frame)
                made.came_up(frame.validator)
            else:
                made.answered(frame.frame)
                done.update(frame.calls)
    assert given_up == [poison]
    assert done == set(range(600)) - {poison}


def test_lanes_do_not_share_frames_or_bounds() -> None:
    made = dispatch("v1")
    admit(made, 1, 2, lane=Lane.USER)
    with pytest.raises(OverloadedError):
        made.admit(3, Lane.USER, 100)
    admit(made, 4, 5)
    assert sorted((frame.lane, frame.calls) for frame in made.take()) == [(Lane.PLAIN, (4, 5)), (Lane.USER, (1,))]


def test_large_calls_do_not_make_a_frame_too_large() -> None:
    made = dispatch("v1")
    made.admit(1, Lane.PLAIN, 3 * 1024 * 1024)
    made.admit(2, Lane.PLAIN, 3 * 1024 * 1024)
    assert [frame.calls for frame in made.take()] == [(1,), (2,)]


def test_forgotten_calls_are_not_sent() -> None:
    made = dispatch("v1")
    admit(made, 1, 2)
    made.forget(1)
    assert [frame.calls for frame in made.take()] == [(2,)]


def test_without_validators_calls_wait() -> None:
    made = dispatch()
    admit(made, 1)
    assert made.take() == []
    assert not made.has_validator
    made.set_members(["v1"])
    assert [frame.calls for frame in made.take()] == [(1,)]


@given(st.lists(st.sampled_from(["admit", "answer", "fail", "up", "swap"]), max_size=150))
def test_every_call_is_answered_given_up_or_still_held(events: list[str]) -> None:
    made = dispatch("v1", "v2", calls=4)
    admitted, done, flying = 0, set[int](), list[Dispatched]()
    for step, event in enumerate(events):
        if event == "admit":
            admitted += 1
            admit(made, admitted)
        elif event == "swap":
            made.set_members(["v1", f"v{step}"])
        elif event == "up":
            for name in made.down:
                made.came_up(name)
        elif flying:
            frame = flying.pop(step % len(flying))
            if event == "answer":
                made.answered(frame.frame)
                done.update(frame.calls)
            else:
                done.update(made.failed(frame.frame))
        flying += made.take()
        assert len([call for frame in flying for call in frame.calls]) == len(
            {call for frame in flying for call in frame.calls}
        )
    for _ in range(ATTEMPTS * 200):
        made.set_members(["last"])
        for frame in flying:
            made.answered(frame.frame)
            done.update(frame.calls)
        flying = made.take()
    assert done == set(range(1, admitted + 1))


def test_calls_beside_the_one_that_ends_validators_are_not_given_up_with_it() -> None:
    made = Dispatch()
    made.set_members(["v1", "v2"])
    admit(made, *range(50), lane=Lane.USER)
    admit(made, *range(100, 700))
    poison, given_up, done = {3, 333}, set[int](), set[int]()
    flying = made.take()
    while flying:
        lost = {frame.validator for frame in flying if poison.intersection(frame.calls)}
        for frame in flying:  # a validator that ends takes every frame with it
            if frame.validator in lost:
                given_up.update(made.failed(frame.frame))
            else:
                made.answered(frame.frame)
                done.update(frame.calls)
        for name in made.down:
            made.came_up(name)
        flying = made.take()
    assert given_up <= poison
    assert done == {*range(50), *range(100, 700)} - given_up
    assert given_up == poison


def test_what_is_lost_with_a_validator_that_left_the_pool_and_has_no_caller_any_more_is_dropped() -> None:
    made = dispatch("v1")
    admit(made, 1, 2)
    (frame,) = made.take()
    made.set_members(["v2"])
    made.forget(1)
    assert made.failed(frame.frame) == []
    assert [(other.validator, other.calls) for other in made.take()] == [("v2", (2,))]
    made.set_members([])
    made.answered(2)
    assert made.down == []


def test_a_ping_of_a_validator_that_left_the_pool_changes_nothing() -> None:
    made = dispatch("v1")
    made.came_up("v9")
    assert repr(made) == "<Dispatch validators=1/1 calls=0 frames=0>"
