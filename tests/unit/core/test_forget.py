"""Forgetting by hand, and what answers that are of no one key reflect: decided in the pure shard."""

from __future__ import annotations

import pytest

from lightning_state.actors.core.effects import Drop, Respond
from lightning_state.actors.core.messages import Forget, Heads, List, Page, Refused
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.rows import Op
from lightning_state.actors.core.slots import slots_of_category
from lightning_state.actors.errors import ValidationFailedError
from lightning_state.actors.testing.driver import ShardDriver


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver(slots=4)


def key_in(driver: ShardDriver, slot: int) -> str:
    return next(key for number in range(1_000) if driver.slot(key := f"k{number}") == slot)


def test_a_key_is_dropped_from_every_cache_before_the_answer(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.ask(driver.write("a"))
    driver.log.clear()
    slot = driver.slot("a")
    assert driver.ask(Forget(slot, "a")) == Heads({slot: (1, 2)})
    assert [type(effect) for effect in driver.log] == [Drop, Respond]
    assert driver.log[0] == Drop(slot, "a", 1, 2)
    assert len(driver.store.rows) == 2  # nothing changed


def test_a_key_that_was_never_stored_may_be_forgotten(driver: ShardDriver) -> None:
    slot = driver.slot("nobody")
    assert driver.ask(Forget(slot, "nobody")) == Heads({slot: (1, 0)})


def test_a_category_is_dropped_and_told_of_by_all_of_its_slots_that_changed(driver: ShardDriver) -> None:
    for slot in (1, 1, 3):
        driver.ask(driver.write(key_in(driver, slot)))
    driver.log.clear()
    assert driver.ask(Forget(0)) == Heads({1: (1, 2), 3: (1, 1)})
    assert driver.log[0] == Drop(0, "", 1, 0)
    other = slots_of_category(1, 4)[0]
    assert driver.ask(Forget(other)) == Heads({})


@pytest.mark.parametrize(("slot", "key", "code"), [(99, "a", "not_owner"), (0, ".bad", "invalid_key")])
def test_what_is_not_here_is_refused(driver: ShardDriver, slot: int, key: str, code: str) -> None:
    reply = driver.ask(Forget(slot, key))
    assert isinstance(reply, Refused)
    assert reply.code == code


def test_a_key_of_another_slot_is_refused(driver: ShardDriver) -> None:
    reply = driver.ask(Forget((driver.slot("a") + 1) % 4, "a"))
    assert isinstance(reply, Refused)
    assert reply.code == "protocol"


def test_a_list_tells_of_every_slot_it_shows_absences_of(driver: ShardDriver) -> None:
    for slot in (1, 3):
        driver.ask(driver.write(key_in(driver, slot)))
    driver.ask(driver.write(key_in(driver, 3), Op.DELETE, b""))
    listing = driver.send(List(0, "", "", 10))
    driver.scan()
    assert driver.reply(listing) == Page([], more=False, heads={1: (1, 1), 3: (1, 2)})


def test_heads_are_those_of_the_newest_owner(driver: ShardDriver) -> None:
    driver.ask(driver.write(key_in(driver, 1)))
    driver.take(driver.shard.disown("moved", maybe=False))
    driver.recover()
    assert driver.ask(Forget(0)) == Heads({1: (2, 1)})


def test_a_refusal_that_shows_a_key_says_when_that_was_so(driver: ShardDriver) -> None:
    for _ in range(3):
        driver.ask(driver.write("a"))
    slot = driver.slot("a")
    conflict = driver.ask(driver.write("a", expected=1))
    assert isinstance(conflict, Refused)
    assert conflict.details["current_version"] == 3
    assert conflict.details["moment"] == (slot, 1, 3)
    missing = driver.ask(driver.write("nobody", Op.DELETE, b""))
    assert isinstance(missing, Refused)
    assert missing.details["moment"] == (driver.slot("nobody"), 1, driver.shard.slots[driver.slot("nobody")].revision)
    judged = driver.send(driver.write("a"))
    driver.judge(refusal(ValidationFailedError("no")))
    refused = driver.reply(judged)
    assert isinstance(refused, Refused)
    assert refused.details["moment"] == (slot, 1, 3)
