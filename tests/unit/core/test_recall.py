"""C5 for writes worked out from what was read: their id is asked for first, and their repetitions share an intent."""

from __future__ import annotations

import msgspec
import pytest

from lightning_state.actors.core.messages import Absent, Get, Recall, Recalled, Refused, Resolution, Value, Write
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.rows import Op
from lightning_state.actors.errors import ValidationFailedError
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.driver import ShardDriver, agent


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver()


def code(reply: object) -> str:
    assert isinstance(reply, Refused), reply
    return reply.code


def recall(driver: ShardDriver, key: str = "a", request_id: str = "x", intent: bytes = b"i") -> Recall:
    return Recall(driver.slot(key), key, Op.SET, intent, request_id)


def write(driver: ShardDriver, kind: str, expected: int, request_id: str = "x", intent: bytes = b"i") -> Write:
    made = driver.write("a", Op.SET, agent("a", kind=kind), expected, request_id=request_id)
    return msgspec.structs.replace(made, intent=intent)


def test_what_was_not_applied_is_answered_by_what_is_stored(driver: ShardDriver) -> None:
    absent = driver.ask(recall(driver))
    assert isinstance(absent, Absent)
    driver.ask(driver.write("a"))
    assert driver.ask(recall(driver)) == driver.ask(Get(driver.slot("a"), "a"))
    driver.evict()
    assert driver.ask(recall(driver)) == driver.ask(Get(driver.slot("a"), "a"))
    assert len(driver.store.rows) == 1, "asking writes nothing"
    assert isinstance(driver.ask(write(driver, "x", 1)), Value), "and bars nothing"


def test_what_was_applied_is_answered_by_its_result_with_the_body(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    first = driver.ask(write(driver, "x", 1))
    assert isinstance(first, Value)
    assert first.body is not None
    driver.ask(driver.write("a"))
    assert driver.ask(recall(driver)) == Recalled(first)


def test_another_body_under_the_same_intent_is_the_same_request(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    pending, joined = driver.send(write(driver, "x", 1)), driver.send(write(driver, "y", 7))
    driver.settle()
    assert driver.reply(joined) == driver.reply(pending)
    assert driver.ask(write(driver, "z", 2)) == driver.reply(pending)
    assert len(driver.store.rows) == 2


@pytest.mark.parametrize("other", [b"j", b""])
def test_another_intent_is_another_request(driver: ShardDriver, other: bytes) -> None:
    driver.ask(driver.write("a"))
    driver.ask(write(driver, "x", 1))
    assert code(driver.ask(write(driver, "x", 1, intent=other))) == "idempotency_mismatch"
    assert code(driver.ask(recall(driver, intent=other))) == "idempotency_mismatch"
    assert code(driver.ask(recall(driver, "b"))) == "idempotency_mismatch"


def test_the_question_waits_for_the_writes_before_it(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    writing, asking = driver.send(write(driver, "x", 1)), driver.send(recall(driver))
    assert driver.reply(asking) is None
    driver.settle()
    reply = driver.reply(writing)
    assert isinstance(reply, Value)
    assert driver.reply(asking) == Recalled(reply)


def test_a_refused_write_was_not_applied(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.send(write(driver, "x", 1))
    driver.look_up()
    driver.judge(refusal(ValidationFailedError("no")))
    found = driver.ask(recall(driver))
    assert isinstance(found, Value)
    assert found.version == 1


def test_a_barred_id_is_told(driver: ShardDriver) -> None:
    assert driver.ask(driver.resolve("a", "x")) == Resolution(applied=False, version=0)
    assert code(driver.ask(recall(driver))) == "request_barred"
    driver.take(driver.shard.disown("moved", maybe=False))
    driver.recover()
    assert code(driver.ask(recall(driver))) == "request_barred"


def test_the_question_has_no_number_and_is_asked_anew_each_time(driver: ShardDriver) -> None:
    first = driver.ask(recall(driver))
    driver.ask(driver.write("a"))
    assert driver.ask(recall(driver)) != first


def test_a_question_that_cannot_be_is_refused(driver: ShardDriver) -> None:
    assert code(driver.ask(recall(driver, request_id=""))) == "invalid_state"
    assert code(driver.ask(recall(driver, "a//b"))) == "invalid_key"
    driver.take(driver.shard.disown("moved", maybe=False))
    assert code(driver.ask(recall(driver))) == "not_owner"


def test_questions_are_bounded_like_writes() -> None:
    driver = ShardDriver(limits=Limits(key_queue=1))
    call = driver.send(recall(driver), recall(driver))
    assert code(driver.reply(call, 1)) == "overloaded"


def test_whoever_asks_is_sent_to_the_next_owner(driver: ShardDriver) -> None:
    call = driver.send(recall(driver))
    driver.take(driver.shard.disown("moved", maybe=True))
    assert code(driver.reply(call)) == "not_owner"
