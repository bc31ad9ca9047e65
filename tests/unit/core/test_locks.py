"""C6: leases with fencing tokens, durable, in the order of asking; traps 5 and 6."""

from __future__ import annotations

import msgspec
import pytest

from lightning_state.actors.core.effects import Commit, Wake
from lightning_state.actors.core.locks import ASK_AGAIN_US, GONE_US
from lightning_state.actors.core.messages import Acquire, Leased, Pending, Refused, Released, Renew, Reply, Value
from lightning_state.actors.core.rows import Op
from lightning_state.actors.limits import Limits
from lightning_state.actors.testing.driver import ShardDriver, agent

SECOND_US = 1_000_000


@pytest.fixture
def driver() -> ShardDriver:
    return ShardDriver()


def code(reply: Reply | None) -> str:
    assert isinstance(reply, Refused), reply
    return reply.code


def leased(driver: ShardDriver, lock: Acquire) -> Leased:
    reply = driver.ask(lock)
    assert isinstance(reply, Leased), reply
    return reply


def wake(driver: ShardDriver) -> None:
    """Let the time of the earliest Wake come."""
    at_us = min(effect.at_us for effect in driver.log if isinstance(effect, Wake))
    driver.log = [effect for effect in driver.log if not isinstance(effect, Wake)]
    driver.now_us = max(driver.now_us, at_us)
    driver.take(driver.shard.woken(driver.now_us))
    driver.settle()


def later(driver: ShardDriver, seconds: float) -> None:
    driver.now_us += int(seconds * SECOND_US)


def test_a_lease_is_told_only_when_it_is_durable(driver: ShardDriver) -> None:
    call = driver.send(driver.lock("a", "one"))
    assert driver.reply(call) is None
    rows = driver.commit().rows
    assert [(row.op, row.version) for row in rows] == [(Op.LOCK, 0)]
    assert isinstance(driver.reply(call), Leased)


def test_while_a_key_is_locked_only_its_token_admits_writes(driver: ShardDriver) -> None:
    token = leased(driver, driver.lock("a", "one")).token
    refused = driver.ask(driver.write("a"))
    assert code(refused) == "locked"
    assert isinstance(refused, Refused)
    assert refused.details == {"holder": "one", "remaining_s": 10.0}
    assert code(driver.ask(driver.write("a", Op.DELETE, b"", 0))) == "locked"
    assert isinstance(driver.ask(driver.write("b")), Value)
    assert isinstance(driver.ask(driver.write("a", token=token)), Value)
    assert code(driver.ask(driver.write("a", token=token + 1))) == "stale_fencing_token"


def test_the_token_of_an_earlier_grant_is_refused_though_no_version_moved(driver: ShardDriver) -> None:
    """Trap 6: the holder was stopped past its lease; a plain version check would pass."""
    driver.ask(driver.write("a"))
    old = leased(driver, driver.lock("a", "one", ttl_ms=1_000)).token
    later(driver, 1.5)
    assert code(driver.ask(driver.write("a", expected=1, token=old))) == "lock_lost"
    new = leased(driver, driver.lock("a", "two")).token
    assert new > old
    assert code(driver.ask(driver.write("a", expected=1, token=old))) == "stale_fencing_token"
    assert isinstance(driver.ask(driver.write("a", expected=1, token=new)), Value)


def test_a_lease_that_ran_out_while_verl_looked_at_the_write_admits_it_no_more(driver: ShardDriver) -> None:
    token = leased(driver, driver.lock("a", "one", ttl_ms=1_000)).token
    call = driver.send(driver.write("a", token=token), driver.write("b"))
    driver.load()
    driver.load()
    later(driver, 2)
    driver.judge()
    driver.judge()
    driver.settle()
    assert code(driver.reply(call)) == "lock_lost"
    assert isinstance(driver.reply(call, 1), Value)
    assert [row.key for row in driver.store.rows if row.version] == ["b"]


def test_a_batch_of_nothing_but_refused_writes_is_no_commit(driver: ShardDriver) -> None:
    token = leased(driver, driver.lock("a", "one", ttl_ms=1_000)).token
    call = driver.send(driver.write("a", token=token))
    driver.load()
    later(driver, 2)
    driver.judge()
    assert code(driver.reply(call)) == "lock_lost"
    assert not driver.waiting


def test_an_expired_lease_is_no_obstacle_even_before_anybody_reclaims_it(driver: ShardDriver) -> None:
    leased(driver, driver.lock("a", "one", ttl_ms=1_000))
    later(driver, 1)
    assert isinstance(driver.ask(driver.write("a")), Value)


def test_waiters_are_served_in_the_order_they_came(driver: ShardDriver) -> None:
    first = driver.lock("a", "one")
    token = leased(driver, first).token
    calls = [driver.send(driver.lock("a", name)) for name in ("two", "three")]
    driver.settle()
    assert [driver.reply(call) for call in calls] == [None, None]
    assert driver.shard.depths().locks_waiting == 2
    held = driver.shard.leases.locks.look(driver.now_us)
    assert [(each.key, each.owner, each.waiters) for each in held] == [("a", "one", ["two", "three"])]
    driver.ask(driver.unlock(first, token))
    second = driver.reply(calls[0])
    assert isinstance(second, Leased)
    assert second.token > token
    assert driver.reply(calls[1]) is None


def test_nobody_overtakes_the_waiter_whose_turn_it_is(driver: ShardDriver) -> None:
    first = driver.lock("a", "one")
    token = leased(driver, first).token
    waiting = driver.send(driver.lock("a", "two"))
    driver.settle()
    # All in one frame: the release, and somebody who would like to slip in behind it.
    sent = driver.send(driver.unlock(first, token), driver.lock("a", "three", wait_ms=0))
    driver.settle()
    assert driver.reply(sent) == Released(first.slot, was_held=True)
    assert isinstance(driver.reply(waiting), Leased)
    assert code(driver.reply(sent, 1)) == "locked"


def test_who_does_not_want_to_wait_is_told_who_holds_it(driver: ShardDriver) -> None:
    leased(driver, driver.lock("a", "one"))
    refused = driver.ask(driver.lock("a", "two", wait_ms=0))
    assert code(refused) == "locked"
    assert isinstance(refused, Refused)
    assert refused.details["holder"] == "one"


def test_a_wait_ends_at_its_time_and_locks_nothing(driver: ShardDriver) -> None:
    first = driver.lock("a", "one", ttl_ms=60_000)
    token = leased(driver, first).token
    waiting = driver.lock("a", "two", wait_ms=500)
    call = driver.send(waiting)
    wake(driver)
    assert code(driver.reply(call)) == "lock_timeout"
    driver.ask(driver.unlock(first, token))
    assert driver.shard.depths().locks_held == 0
    # The same sending, arriving late, has its answer already (trap 16).
    assert code(driver.ask(waiting)) == "lock_timeout"


def test_the_next_waiter_is_served_when_a_lease_runs_out_and_nobody_asks(driver: ShardDriver) -> None:
    leased(driver, driver.lock("a", "one", ttl_ms=400))
    call = driver.send(driver.lock("a", "two"))
    wake(driver)
    assert isinstance(driver.reply(call), Leased)


def test_a_waiter_is_told_to_ask_again_and_keeps_its_place(driver: ShardDriver) -> None:
    first = driver.lock("a", "one", ttl_ms=60_000)
    token = leased(driver, first).token
    waiting = driver.lock("a", "two")
    call = driver.send(waiting)
    driver.send(driver.lock("a", "three"))
    wake(driver)
    assert driver.now_us == SECOND_US + ASK_AGAIN_US
    assert driver.reply(call) == Pending()
    again = driver.send(waiting)
    driver.ask(driver.unlock(first, token))
    assert isinstance(driver.reply(again), Leased)


def test_a_waiter_that_is_gone_is_not_granted(driver: ShardDriver) -> None:
    """Trap 5: whoever waited may have died; it is looked at again when its turn comes."""
    first = driver.lock("a", "one", ttl_ms=60_000)
    token = leased(driver, first).token
    gone = driver.send(driver.lock("a", "two"))
    wake(driver)
    assert driver.reply(gone) == Pending()
    later(driver, GONE_US / SECOND_US)
    here = driver.send(driver.lock("a", "three"))
    wake(driver)
    driver.ask(driver.unlock(first, token))
    assert isinstance(driver.reply(here), Leased)


def test_a_waiter_that_is_gone_is_not_granted_before_a_wake_either(driver: ShardDriver) -> None:
    first = driver.lock("a", "one", ttl_ms=60_000)
    token = leased(driver, first).token
    driver.send(driver.lock("a", "two"))
    wake(driver)
    later(driver, GONE_US / SECOND_US)
    driver.ask(driver.unlock(first, token))
    assert driver.shard.depths().locks_held == 0


def test_its_owner_may_lock_again_and_has_it_until_the_last_release(driver: ShardDriver) -> None:
    first, second = driver.lock("a", "one"), driver.lock("a", "one")
    token = leased(driver, first).token
    assert leased(driver, second).token == token
    assert driver.ask(driver.unlock(first, token)) == Released(first.slot, was_held=True)
    assert code(driver.ask(driver.write("a"))) == "locked"
    assert driver.ask(driver.unlock(second, token)) == Released(first.slot, was_held=True)
    assert isinstance(driver.ask(driver.write("a")), Value)


def test_the_same_request_again_finds_its_lease(driver: ShardDriver) -> None:
    lock = driver.lock("a", "one")
    token = leased(driver, lock).token
    assert leased(driver, lock).token == token
    assert leased(driver, msgspec.structs.replace(lock, seq=50)).token == token
    assert len(driver.store.rows) == 1
    later(driver, 11)
    assert code(driver.ask(lock)) == "lock_lost"


def test_a_release_repeated_says_that_it_worked_and_one_of_a_lost_lease_that_it_did_not(driver: ShardDriver) -> None:
    lock = driver.lock("a", "one")
    token = leased(driver, lock).token
    release = driver.unlock(lock, token)
    assert driver.ask(release) == Released(lock.slot, was_held=True)
    assert driver.ask(msgspec.structs.replace(release, seq=70)) == Released(lock.slot, was_held=True)
    assert driver.ask(driver.unlock(lock, token + 1)) == Released(lock.slot, was_held=False)


def test_a_renewed_lease_lasts_and_a_lost_one_is_not_renewed(driver: ShardDriver) -> None:
    lock = driver.lock("a", "one", ttl_ms=1_000)
    token = leased(driver, lock).token
    renew = Renew(lock.slot, driver.epoch, "a", token)
    for _ in range(3):
        later(driver, 0.9)
        reply = driver.ask(renew)
        assert isinstance(reply, Leased)
        assert reply.remaining_ms == 1_000
    later(driver, 1)
    assert code(driver.ask(renew)) == "lock_lost"
    assert code(driver.ask(msgspec.structs.replace(renew, key="b"))) == "lock_lost"


@pytest.mark.parametrize("known", [True, False], ids=["crash", "unknown commit"])
def test_a_lease_and_its_token_survive_their_shard_with_their_full_time(driver: ShardDriver, known: bool) -> None:
    lock = driver.lock("a", "one", ttl_ms=1_000)
    token = leased(driver, lock).token
    waiting = driver.send(driver.lock("a", "two"))
    later(driver, 0.8)
    if known:
        driver.take(driver.shard.disown("killed", maybe=True))
    else:
        driver.send(driver.write("b"))
        driver.load()
        driver.judge()
        driver.lose_commit(written=False)
    assert code(driver.reply(waiting)) == "not_owner"
    driver.recover()
    later(driver, 0.8)
    assert code(driver.ask(driver.write("a"))) == "locked"
    assert isinstance(driver.ask(driver.write("a", token=token)), Value)
    assert leased(driver, driver.lock("a", "one")).token == token
    later(driver, 20)
    assert leased(driver, driver.lock("a", "two")).token > token


def test_a_grant_of_unknown_outcome_is_told_nobody_and_found_under_its_id(driver: ShardDriver) -> None:
    lock = driver.lock("a", "one")
    call = driver.send(lock)
    driver.lose_commit(written=True)
    assert code(driver.reply(call)) == "not_owner"
    driver.recover()
    assert isinstance(driver.ask(msgspec.structs.replace(lock, epoch=driver.epoch)), Leased)
    assert len(driver.store.rows) == 1


def test_too_many_waiters_are_refused() -> None:
    driver = ShardDriver(limits=Limits(key_queue=2))
    leased(driver, driver.lock("a", "one"))
    for number in range(2):
        driver.send(driver.lock("a", f"w{number}"))
    assert code(driver.ask(driver.lock("a", "more"))) == "overloaded"


def test_a_waiting_lock_does_not_hold_up_the_holders_writes(driver: ShardDriver) -> None:
    token = leased(driver, driver.lock("a", "one")).token
    driver.send(driver.lock("a", "two"))
    assert isinstance(driver.ask(driver.write("a", body=agent("a"), token=token)), Value)


def test_a_write_that_is_under_way_is_finished_before_a_lease_is_granted(driver: ShardDriver) -> None:
    write = driver.send(driver.write("a"))
    lock = driver.send(driver.lock("a", "one"))
    driver.load()
    assert not [effect for effect in driver.waiting if isinstance(effect, Commit)]
    driver.settle()
    assert isinstance(driver.reply(write), Value)
    assert isinstance(driver.reply(lock), Leased)
    assert [row.op for row in driver.store.rows] == [Op.SET, Op.LOCK]
