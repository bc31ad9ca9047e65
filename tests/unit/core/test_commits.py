"""C3, per-key order and the output gate: what leaves a shard, when, and in which order."""

from __future__ import annotations

import pytest

from lightning_state.actors.core import batches
from lightning_state.actors.core.effects import (
    Commit,
    Invalidate,
    Load,
    Lookup,
    Notify,
    Recover,
    Respond,
    Scan,
    Validate,
)
from lightning_state.actors.core.messages import ANY, List, Page, Refused, Value
from lightning_state.actors.core.refusals import refusal
from lightning_state.actors.core.rows import Entry, Op
from lightning_state.actors.errors import FencedError, ValidationFailedError
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.driver import UNAVAILABLE, ShardDriver, agent


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver()


def begun(driver: ShardDriver, key: str = "a", **more: str) -> int:
    """A write that waits for its verdict."""
    call = driver.send(driver.write(key, **more))  # pyright: ignore[reportArgumentType]  # only strings are passed here
    driver.load()
    return call


def test_nothing_leaves_before_the_commit(driver: ShardDriver) -> None:
    begun(driver)
    driver.judge()
    assert driver.log == []
    driver.commit()
    assert [type(effect) for effect in driver.log] == [Invalidate, Notify, Respond]


def test_all_pushes_of_a_commit_leave_before_its_replies(driver: ShardDriver) -> None:
    for key in "abc":
        driver.ask(driver.write(key))
    driver.send(*(driver.write(key) for key in "abc"))
    for _ in "abc":
        driver.judge()
    driver.commit()
    driver.log.clear()
    driver.commit()
    assert [type(effect) for effect in driver.log] == [Invalidate, Notify, Invalidate, Notify, Respond, Respond]


def test_ready_writes_gather_while_a_commit_is_under_way(driver: ShardDriver) -> None:
    for key in "abc":
        driver.ask(driver.write(key))
    driver.send(*(driver.write(key) for key in "abc"))
    for _ in "abc":
        driver.judge()
    assert len(driver.commit().rows) == 1
    assert [row.key for row in driver.commit().rows] == ["b", "c"]


def test_a_commit_is_bounded_in_rows_and_bytes(driver: ShardDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_ROWS", 2)
    driver.send(*(driver.write(key) for key in "abcde"))
    for _ in "abcde":
        driver.load()
    for _ in "abcde":
        driver.judge()
    assert [len(driver.commit().rows) for _ in range(3)] == [1, 2, 2]


def test_reads_answer_from_the_last_committed_value_while_a_write_is_under_way(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.send(driver.write("a", body=agent("a", kind="new")))
    driver.judge()
    driver.evict()
    reply = driver.reply(driver.send(driver.get("a")))
    assert isinstance(reply, Value)
    assert (reply.version, reply.body) == (1, agent("a"))


def test_no_read_shows_a_commit_before_its_invalidation(driver: ShardDriver) -> None:
    # The store shows a commit as soon as it is durable; caches hear of it only when the shard is told.
    driver.ask(driver.write("a"))
    driver.send(driver.write("a"))
    driver.judge()
    driver.store.append(driver.waiting[0].rows if isinstance(driver.waiting[0], Commit) else [])
    driver.evict()
    driver.log.clear()
    driver.send(driver.get("a"))
    assert not [effect for effect in driver.waiting if isinstance(effect, Load)]
    assert isinstance(driver.log[0], Respond)
    assert isinstance(driver.log[0].reply, Value)
    assert driver.log[0].reply.version == 1


def test_a_page_waits_for_the_commit_it_may_show(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    listing = driver.send(List(0, "", "", 10))
    driver.send(driver.write("a", Op.DELETE, b""))
    driver.scan()
    assert driver.reply(listing) is None
    driver.log.clear()
    driver.commit()
    assert [type(effect) for effect in driver.log] == [Invalidate, Notify, Respond, Respond]
    assert driver.reply(listing) == Page([], more=False)


def test_a_page_of_another_category_waits_for_nothing(driver: ShardDriver) -> None:
    listing = driver.send(List(1, "", "", 10))
    begun(driver)
    driver.judge()
    driver.scan()
    assert driver.reply(listing) == Page([], more=False)


@pytest.mark.parametrize("written", [True, False])
def test_a_held_page_is_sent_to_the_next_owner_when_the_commit_is_unknown(
    driver: ShardDriver, *, written: bool
) -> None:
    listing = driver.send(List(0, "", "", 10))
    begun(driver)
    driver.judge()
    driver.scan()
    driver.lose_commit(written=written)
    reply = driver.reply(listing)
    assert isinstance(reply, Refused)
    assert reply.code == "not_owner"


@pytest.mark.parametrize("written", [True, False])
def test_unknown_commit_tells_nobody_failed_and_recovers(driver: ShardDriver, *, written: bool) -> None:
    write = driver.write("a", seq=1)
    writer = driver.send(write)
    queued = driver.send(driver.write("a"))
    driver.load()
    driver.judge()
    other = driver.send(driver.get("other"))
    listing = driver.send(List(0, "", "", 10))
    driver.lose_commit(written=written)
    for call in (writer, queued, other, listing):
        reply = driver.reply(call)
        assert isinstance(reply, Refused)
        assert (reply.code, reply.maybe) == ("not_owner", True)
    assert isinstance(driver.log[-1], Recover)
    assert (driver.shard.pending, len(driver.shard.hot), driver.shard.slots) == (0, 0, {})
    assert isinstance(driver.reply(driver.send(driver.get("a"))), Refused)
    driver.waiting.clear()
    driver.recover()
    again = driver.ask(driver.write("a", seq=1, request_id=write.request_id))
    assert isinstance(again, Value)
    assert again.version == 1
    assert len(driver.store.rows) == 1


def test_late_answers_to_a_former_epoch_are_ignored(driver: ShardDriver) -> None:
    begun(driver, "c")
    driver.judge()
    begun(driver, "d")
    driver.send(driver.write("a", request_id="x"), driver.get("b"), List(0, "", "", 1))
    old = list(driver.waiting)
    driver.waiting.clear()
    driver.take(driver.shard.disown("lease lost", maybe=False))
    driver.recover()
    driver.log.clear()
    for effect in old:
        now = driver.now_us
        if isinstance(effect, Load):
            driver.take(driver.shard.loaded(effect.ticket, None, now))
            driver.take(driver.shard.load_failed(effect.ticket, UNAVAILABLE, now))
        elif isinstance(effect, Lookup):
            driver.take(driver.shard.looked_up(effect.ticket, None, now))
        elif isinstance(effect, Scan):
            driver.take(driver.shard.scanned(effect.ticket, [], now))
        elif isinstance(effect, Validate):
            driver.take(driver.shard.judged(effect.ticket, None, now))
        else:
            driver.take(driver.shard.committed(effect.ticket, now))
            driver.take(driver.shard.commit_refused(effect.ticket, UNAVAILABLE, now))
    assert (driver.log, driver.waiting) == ([], [])
    assert {type(effect) for effect in old} == {Load, Lookup, Scan, Validate, Commit}


def test_error_before_commit_refuses_the_batch_and_the_next_write_goes_on(driver: ShardDriver) -> None:
    first = begun(driver)
    second = driver.send(driver.write("a", expected=0))
    driver.judge()
    driver.refuse_commit()
    assert driver.reply(first) == UNAVAILABLE
    driver.settle()
    reply = driver.reply(second)
    assert isinstance(reply, Value)
    assert reply.version == 1


def test_fenced_commit_is_told_as_such(driver: ShardDriver) -> None:
    call = begun(driver)
    driver.judge()
    driver.refuse_commit(refusal(FencedError("a newer epoch")))
    reply = driver.reply(call)
    assert isinstance(reply, Refused)
    assert reply.code == "fenced"


def test_refused_verdict_is_the_answer_and_changes_nothing(driver: ShardDriver) -> None:
    call = begun(driver)
    refused = refusal(ValidationFailedError("not true"))
    driver.judge(refused)
    assert driver.reply(call) == refused
    assert driver.waiting == []
    assert driver.shard.pending == 0


def test_verdict_is_asked_for_the_bytes_that_are_committed(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.send(driver.write("a", Op.PATCH, b'{"agentType":"x"}'))
    asked = next(effect for effect in driver.waiting if isinstance(effect, Validate))
    driver.judge()
    (row,) = driver.commit().rows
    assert asked.new == row.body
    assert asked.base == Entry("a", 1, 1, agent("a"), 1, driver.now_us)
    assert asked.timeout_ms == 30_000


def test_writes_of_a_key_are_decided_in_arrival_order(driver: ShardDriver) -> None:
    calls = [driver.send(driver.write("a", expected=n)) for n in (0, 1, 1, 2)]
    driver.settle()
    versions = [reply.version if isinstance(reply := driver.reply(call), Value) else reply for call in calls]
    assert versions[:2] == [1, 2]
    assert isinstance(versions[2], Refused)
    assert versions[3] == 3


def test_other_keys_go_on_while_one_waits(driver: ShardDriver) -> None:
    begun(driver, "slow")
    quick = driver.send(driver.write("quick"))
    driver.load()
    slow = driver.next(Validate)
    driver.judge()
    driver.commit()
    assert isinstance(driver.reply(quick), Value)
    driver.take(driver.shard.judged(slow.ticket, None, driver.now_us))
    driver.commit()
    assert [row.key for row in driver.store.rows] == ["quick", "slow"]


def test_a_write_keeps_its_base_when_everything_is_evicted(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    driver.send(driver.write("a", expected=1), driver.write("a", expected=2))
    driver.evict()
    driver.judge()
    driver.evict()
    driver.commit()
    driver.evict()
    driver.settle()
    assert [row.version for row in driver.store.rows] == [1, 2, 3]


def test_the_next_write_loads_what_was_evicted(driver: ShardDriver) -> None:
    small = ShardDriver(limits=Limits(hot_bytes=1))
    small.ask(small.write("a"))
    small.ask(small.write("b"))
    assert small.shard.hot.keys() == [(0, "b")]
    reply = small.ask(small.write("a", expected=1))
    assert isinstance(reply, Value)
    assert reply.version == 2
    assert driver.shard.hot.size_bytes == 0


def test_one_load_serves_every_read_and_the_write(driver: ShardDriver) -> None:
    call = driver.send(driver.get("a"), driver.write("a"), driver.get("a"))
    driver.load()
    assert driver.reply(call, 0) == driver.reply(call, 2)
    with pytest.raises(LookupError):
        driver.next(Load)
    assert isinstance(driver.next(Validate), Validate)


def test_failed_load_is_told_to_everyone_who_waits_for_it(driver: ShardDriver) -> None:
    call = driver.send(driver.get("a"), driver.write("a", request_id="x"))
    driver.fail(Load)
    assert (driver.reply(call, 0), driver.reply(call, 1)) == (UNAVAILABLE, UNAVAILABLE)
    driver.look_up()
    assert driver.shard.pending == 0


def test_failed_load_of_a_read_touches_no_write(driver: ShardDriver) -> None:
    call = driver.send(driver.get("a"))
    driver.fail(Load)
    assert driver.reply(call) == UNAVAILABLE


@pytest.mark.parametrize("load_fails_too", [True, False])
def test_failed_lookup_ends_the_write_and_a_failing_load_after_it_harms_nobody(
    driver: ShardDriver, *, load_fails_too: bool
) -> None:
    call = driver.send(driver.write("a", request_id="x"))
    driver.fail(Lookup)
    assert driver.reply(call) == UNAVAILABLE
    if load_fails_too:
        driver.fail(Load)
    else:
        driver.load()
    assert driver.shard.pending == 0
    assert isinstance(driver.ask(driver.write("a")), Value)


def test_failed_lookup_of_a_hot_key_ends_the_write(driver: ShardDriver) -> None:
    driver.ask(driver.write("a"))
    call = driver.send(driver.write("a", request_id="x"))
    driver.fail(Lookup)
    assert driver.reply(call) == UNAVAILABLE


def test_failed_scan_is_told(driver: ShardDriver) -> None:
    call = driver.send(List(0, "", "", 10))
    driver.fail(Scan)
    assert driver.reply(call) == UNAVAILABLE


def test_a_long_queue_of_refusals_does_not_exhaust_the_stack() -> None:
    driver = ShardDriver(limits=Limits(key_queue=3_000))
    call = driver.send(*(driver.write("a", expected=0) for _ in range(3_000)))
    driver.settle()
    assert isinstance(driver.reply(call, 0), Value)
    last = driver.reply(call, 2_999)
    assert isinstance(last, Refused)
    assert last.code == "version_conflict"


def test_repr_shows_what_is_pending(driver: ShardDriver) -> None:
    driver.send(driver.write("a", expected=ANY))
    assert repr(driver.shard) == "<Shard slots=2 hot=0 pending=1>"
