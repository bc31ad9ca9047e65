"""The past of a key as its shard tells it: nothing before it is committed and told (C3, C8)."""

from __future__ import annotations

import pytest

from lightning_state.actors.core.effects import ReadHistory
from lightning_state.actors.core.histories import BODIES_MOST_BYTES
from lightning_state.actors.core.messages import ANY, Changes, History, Refused
from lightning_state.actors.core.rows import Op
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.driver import ShardDriver, agent


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver()


def history(driver: ShardDriver, key: str = "a", after: int = 0, limit: int = 10) -> History:
    return History(driver.slot(key), key, after, limit)


def test_it_waits_for_the_commit_that_the_journal_may_show_already(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.send(driver.write("a", body=agent("a")))
    driver.judge()
    call = driver.send(history(driver))
    other = driver.send(history(driver, "b"))
    driver.read_history()
    driver.read_history()
    assert driver.reply(call) is None
    assert driver.reply(other) == Changes([], more=False)
    driver.commit()
    told = driver.reply(call)
    assert isinstance(told, Changes)
    assert [each.version for each in told.versions] == [1]


def test_a_full_answer_says_that_there_may_be_more(driver: ShardDriver) -> None:
    for _ in range(3):
        driver.ask(driver.write("a", expected=ANY))
    told = driver.ask(history(driver, limit=2))
    assert isinstance(told, Changes)
    assert ([each.version for each in told.versions], told.more) == ([1, 2], True)
    rest = driver.ask(history(driver, after=2))
    assert isinstance(rest, Changes)
    assert ([each.version for each in rest.versions], rest.more) == ([3], False)


def test_no_answer_is_longer_than_a_reply_may_be() -> None:
    driver = ShardDriver(limits=Limits(state_bytes=BODIES_MOST_BYTES))
    large = agent("a")[:-1] + b',"properties":{"x":"' + b"x" * (BODIES_MOST_BYTES // 2) + b'"}}'
    for _ in range(3):
        driver.ask(driver.write("a", body=large))
    told = driver.ask(history(driver))
    assert isinstance(told, Changes)
    assert ([each.version for each in told.versions], told.more) == ([1], True)


@pytest.mark.parametrize(("after", "limit"), [(0, 0), (0, 1_001), (-1, 1)])
def test_what_cannot_be_asked_is_refused(driver: ShardDriver, after: int, limit: int) -> None:
    refused = driver.ask(history(driver, after=after, limit=limit))
    assert isinstance(refused, Refused)
    assert refused.code == "protocol"


def test_a_store_that_cannot_be_read_is_said_and_a_late_answer_ignored(driver: ShardDriver) -> None:
    call = driver.send(history(driver))
    asked = driver.waiting[0]
    assert isinstance(asked, ReadHistory)
    driver.fail(ReadHistory)
    refused = driver.reply(call)
    assert isinstance(refused, Refused)
    assert refused.code == "store_unavailable"
    driver.take(driver.shard.history_read(asked.ticket, [], driver.now_us))
    driver.take(driver.shard.load_failed(asked.ticket, refused, driver.now_us))


def test_who_waits_when_the_slots_are_lost_asks_the_next_owner(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.send(driver.write("a", Op.DELETE, b""))
    waiting, reading = driver.send(history(driver)), driver.send(history(driver))
    driver.read_history()
    driver.take(driver.shard.disown("gone", maybe=True))
    for call in (waiting, reading):
        refused = driver.reply(call)
        assert isinstance(refused, Refused)
        assert refused.code == "not_owner"
