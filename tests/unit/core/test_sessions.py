"""What a shard remembers of a session is bounded, and nothing that was refused runs for it (C5)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_state.actors.core import sessions
from lightning_state.actors.core.messages import Refused, Reply, Resolution, Value
from lightning_state.actors.core.numbers import WINDOW, Numbers
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.request_ids import generated_id
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.sessions import Session
from lightning_state.actors.errors import ValidationFailedError
from lightning_state.actors.testing.driver import ShardDriver

INVALID = refusal(ValidationFailedError("not true"))
X = (0, "p", "x")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> ShardDriver:
    """Its sessions may make it remember three refusals."""
    monkeypatch.setattr(sessions, "REFUSALS_BYTES", 2_500)
    return ShardDriver()


def code(reply: Reply | None) -> str:
    assert isinstance(reply, Refused), reply
    return reply.code


def session_of(driver: ShardDriver) -> Session:
    return driver.shard._sessions._sessions["s"]


def conflict(driver: ShardDriver, seq: int, floor: int) -> str:
    return code(driver.ask(driver.write("b", expected=7, seq=seq), floor=floor))


def test_of_what_was_applied_a_shard_remembers_one_bit(driver: ShardDriver) -> None:
    for seq in range(2, 202):
        assert isinstance(driver.ask(driver.write("a", seq=seq, request_id=f"r-{seq}"), floor=1), Value)
    session = session_of(driver)
    assert repr(session) == "<Session floor=1 refusals=0 <Numbers from 0 bytes=26>>"
    assert session._size_bytes == 0
    assert session._latest == {}


def test_a_session_with_too_many_refusals_is_turned_away_until_it_says_that_it_has_them(driver: ShardDriver) -> None:
    assert [conflict(driver, seq, 1) for seq in range(2, 7)] == [*["version_conflict"] * 4, "overloaded"]
    assert code(driver.ask(driver.write("new", seq=7), floor=1)) == "overloaded"
    assert isinstance(driver.ask(driver.write("new", seq=8), floor=5), Value)
    assert len(driver.store.rows) == 1


def test_what_was_turned_away_never_runs_under_that_number(driver: ShardDriver) -> None:
    for seq in range(2, 6):
        conflict(driver, seq, 1)
    late = driver.write("a", seq=9)
    assert code(driver.ask(late, floor=1)) == "overloaded"
    assert code(driver.ask(late, floor=6)) == "overloaded", "there is room now, but this number was answered"
    renumbered = msgspec.structs.replace(late, seq=10, fresh=False)
    assert isinstance(driver.ask(renumbered, floor=6), Value)
    assert code(driver.ask(late, floor=6)) == "overloaded"
    assert code(driver.ask(late, floor=10)) == "request_barred"
    assert len(driver.store.rows) == 1


def test_what_is_pending_or_applied_is_answered_when_there_is_no_room(driver: ShardDriver) -> None:
    done, pending = driver.write("a", seq=2), driver.write("c", seq=3)
    applied = driver.ask(done, floor=1)
    waiting = driver.send(pending, floor=1)
    for seq in range(4, 8):
        driver.send(driver.write("b", Op.BAR, seq=seq), floor=1)
    assert code(driver.reply(driver.send(driver.write("d", seq=20), floor=1))) == "overloaded"
    joined = driver.send(pending, floor=1)
    assert driver.reply(joined) is None
    driver.settle()
    assert driver.reply(joined) == driver.reply(waiting)
    assert driver.ask(done, floor=1) == applied
    assert driver.ask(pending, floor=1) == driver.reply(waiting)
    assert len(driver.store.rows) == 2


def test_a_number_too_far_ahead_is_turned_away(driver: ShardDriver) -> None:
    assert code(driver.ask(driver.write("a", seq=WINDOW), floor=1)) == "overloaded"
    assert isinstance(driver.ask(driver.write("a", seq=5), floor=1), Value)


def test_a_resolve_asked_again_gives_the_same_answer(driver: ShardDriver) -> None:
    asked = driver.resolve("a", "x")
    assert driver.ask(asked) == driver.ask(asked) == Resolution(applied=False, version=0)
    assert len(driver.store.rows) == 1


def test_ones_own_first_attempt_does_not_run_after_its_repetition_was_applied(driver: ShardDriver) -> None:
    late = msgspec.structs.replace(driver.write("a"), request_id=generated_id(1, "s", 7), seq=7)
    repetition = msgspec.structs.replace(late, seq=9, fresh=False)
    applied = driver.ask(repetition, floor=1)
    assert driver.ask(late, floor=1) == applied
    assert len(driver.store.rows) == 1


def test_another_sessions_repetition_of_what_was_applied_leaves_its_answer_alone(driver: ShardDriver) -> None:
    first = msgspec.structs.replace(driver.write("a"), request_id=generated_id(1, "one", 7), seq=7)
    call = driver.send(first, session="one")
    driver.settle()
    driver.send(msgspec.structs.replace(first, seq=1, fresh=False), session="two")
    driver.settle()
    again = driver.send(first, session="one")
    driver.settle()
    assert driver.reply(again) == driver.reply(call)


def test_what_another_session_joined_is_not_barred_for_the_first_one(driver: ShardDriver) -> None:
    first = msgspec.structs.replace(driver.write("a"), request_id=generated_id(1, "one", 7), seq=7)
    call = driver.send(first, session="one")
    driver.send(msgspec.structs.replace(first, seq=1, fresh=False), session="two")
    driver.settle()
    again = driver.send(first, session="one")
    driver.settle()
    assert isinstance(driver.reply(call), Value)
    assert driver.reply(again) == driver.reply(call)


def test_a_repetition_is_remembered_while_it_is_pending_or_refused() -> None:
    session = Session()
    session.repeated(5, X)
    session.repeated(7, X)
    session.remember(5, X, Value(0, 1, 1, 1, 1, None))
    session.remember(7, X, INVALID)
    assert session.refusal(3, X) == INVALID
    assert session.refusal(3, None) is None
    assert not session.has_applied(7)
    session.raise_floor(8)
    assert session.refusal(7, X) is None


def test_a_number_keeps_its_last_answer() -> None:
    session = Session()
    session.refuse(5, INVALID)
    session.remember(5, X, Value(0, 1, 1, 1, 1, None))
    session.refuse(5, INVALID)
    assert session.refusal(5, X) is None
    assert session.has_applied(5)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3_000)), max_size=60))
def test_numbers_are_a_set_that_forgets_from_below(steps: list[tuple[bool, int]]) -> None:
    numbers, known, floor = Numbers(), set[int](), 0
    for adds, number in steps:
        if adds and number >= floor:
            numbers.add(number)
            known.add(number)
        else:
            floor = max(floor, number)
            numbers.drop_below(floor)
        for each in range(floor, 3_010):
            assert (each in numbers) == (each in known)


def test_numbers_stay_within_their_window() -> None:
    numbers = Numbers()
    numbers.add(WINDOW)
    numbers.add(-1)
    assert WINDOW not in numbers
    assert repr(numbers) == "<Numbers from 0 bytes=0>"
    numbers.add(1_000)
    numbers.drop_below(1_000)
    assert numbers.end == WINDOW + 1_000
    assert 1_000 in numbers
    numbers.add(999)
    assert 999 not in numbers
