"""C1, C2: versions count up by one, are never used twice, and conditional writes compare them."""

from __future__ import annotations

import pytest

from lightning_state.actors.core.effects import Load
from lightning_state.actors.core.messages import ANY, Absent, Refused, Value
from lightning_state.actors.core.rows import Entry, Op
from lightning_state.actors.testing.driver import ShardDriver, agent


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver()


def version(reply: object) -> int:
    assert isinstance(reply, Value), reply
    return reply.version


def test_first_version_is_one_and_each_change_adds_one(driver: ShardDriver) -> None:
    versions = [version(driver.ask(driver.write("a", expected=n))) for n in range(3)]
    assert versions == [1, 2, 3]


def test_delete_is_a_version_and_creation_goes_on_after_it(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    deleted = driver.ask(driver.write("a", Op.DELETE, b"", 1))
    assert isinstance(deleted, Value)
    assert (deleted.version, deleted.body) == (2, None)
    driver.evict()
    gone = driver.ask(driver.get("a"))
    assert isinstance(gone, Absent)
    assert gone.version == 2
    assert version(driver.ask(driver.write("a", expected=0))) == 3


def test_key_without_tombstone_is_created_above_the_floor() -> None:
    driver = ShardDriver(floor=7)
    assert version(driver.ask(driver.write("a", expected=0))) == 8


def test_retained_tombstone_and_live_key_ignore_the_floor() -> None:
    driver = ShardDriver(floor=7)
    for key, body, expected in (("live", agent("live"), 3), ("dead", None, 0)):
        call = driver.send(driver.write(key, expected=expected))
        driver.load(Entry(key, 3, 3, body, 1, 5))
        driver.settle()
        assert version(driver.reply(call)) == 4


def test_conflict_carries_what_is_stored(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    refused = driver.ask(driver.write("a", expected=4))
    assert isinstance(refused, Refused)
    assert refused.code == "version_conflict"
    assert refused.details["current_version"] == 1
    assert refused.details["current_body"] == agent("a")


def test_writing_a_deleted_key_with_its_old_version_conflicts_with_nothing(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.ask(driver.write("a", Op.DELETE, b""))
    refused = driver.ask(driver.write("a", expected=1))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.details["current_version"], refused.details["current_body"]) == (
        "version_conflict",
        0,
        None,
    )


@pytest.mark.parametrize("op", [Op.PATCH, Op.STATUS, Op.DELETE])
def test_changing_what_does_not_exist_is_not_found(driver: ShardDriver, op: Op) -> None:
    refused = driver.ask(driver.write("a", op, b"{}", ANY))
    assert isinstance(refused, Refused)
    assert refused.code == "not_found"


def test_version_goes_on_after_recovery(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.take(driver.shard.disown("lease lost", maybe=False))
    driver.recover()
    assert version(driver.ask(driver.write("a", expected=1))) == 2


def test_revision_is_shared_by_a_slots_keys_and_dense(driver: ShardDriver) -> None:
    driver.send(driver.write("a"), driver.write("b"))
    driver.settle()
    assert [row.revision for row in driver.store.rows] == [1, 2]


def test_times_of_a_key_never_go_back(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.now_us -= 500
    later = driver.ask(driver.write("a"))
    assert isinstance(later, Value)
    assert later.updated_us == driver.now_us + 500


def test_absence_is_remembered_and_carries_the_slots_revision(driver: ShardDriver) -> None:
    driver.ask(driver.write("b"))
    assert driver.ask(driver.get("a")) == Absent(0, 1, 1, 0)
    call = driver.send(driver.get("a"))
    assert driver.reply(call) == Absent(0, 1, 1, 0)
    with pytest.raises(LookupError):
        driver.next(Load)
