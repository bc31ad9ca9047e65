"""Locks: legal histories pass, each way to break C6 is named, and by one rule alone."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.testing.rules import Flaw, assert_named, assert_silent_without_its_rule

from lightning_state.actors.testing.checkers import lock_holders, locks
from lightning_state.actors.testing.checkers.lock_holders import check_lock_holders
from lightning_state.actors.testing.checkers.locks import check_locks
from lightning_state.actors.testing.history import NEVER, Call, Kind, Outcome, Token
from lightning_state.actors.testing.lock_history import LockAct, LockEvent, LockHold

# -- by their owners ---


def did(act: LockAct, at_us: int, **changes: Any) -> LockEvent:
    """By default of owner 1 with key k."""
    values: dict[str, Any] = {"act": act, "at_us": at_us, "epoch": 1, "key": "k", **changes}
    return LockEvent(**values)


def grant(at_us: int, generation: int, holder: str = "a", epoch: int = 1, **changes: Any) -> LockEvent:
    """For 10 µs."""
    more: dict[str, Any] = {"token": (epoch, generation), "holder": holder, "epoch": epoch, "lasts_us": 10, **changes}
    return did(LockAct.GRANT, at_us, **more)


def renew(at_us: int, generation: int) -> LockEvent:
    return did(LockAct.RENEW, at_us, token=(1, generation), lasts_us=10)


def release(at_us: int, generation: int) -> LockEvent:
    return did(LockAct.RELEASE, at_us, token=(1, generation))


def write(at_us: int, token: Token | None = None, epoch: int = 1) -> LockEvent:
    return did(LockAct.WRITE, at_us, token=token, epoch=epoch)


def wait(at_us: int, holder: str, lasts_us: int = 0) -> LockEvent:
    return did(LockAct.WAIT, at_us, holder=holder, lasts_us=lasts_us)


def leave(at_us: int, holder: str) -> LockEvent:
    return did(LockAct.LEAVE, at_us, holder=holder)


def takeover(at_us: int, epoch: int = 2) -> LockEvent:
    return did(LockAct.TAKEOVER, at_us, epoch=epoch, key="")


LEGAL: dict[str, list[LockEvent]] = {
    "nothing": [],
    "without a lock": [write(1), write(2)],
    "taken, used, released, free": [grant(1, 1), write(2, (1, 1)), release(3, 1), write(4), grant(5, 2)],
    "renewed": [grant(1, 1), renew(9, 1), write(19, (1, 1)), grant(19, 2)],
    "expired": [grant(1, 1), write(12), grant(13, 2), write(14, (1, 2))],
    "both answers are right at the end of a lease": [grant(1, 1), write(11, (1, 1)), write(11), grant(11, 2)],
    "a late release of another grant ends nothing": [grant(1, 1), grant(11, 2), release(12, 1), write(13, (1, 2))],
    "served in order": [
        grant(1, 1),
        wait(2, "b"),
        wait(3, "c", 5),
        wait(4, "d", 50),
        release(5, 1),
        grant(6, 2, "b"),
        leave(8, "c"),
        release(9, 2),
        grant(10, 3, "d"),
    ],
    "after a takeover the lease is whole again": [
        grant(100, 1),
        wait(101, "b"),
        takeover(5),
        write(15, (1, 1), epoch=2),
        grant(16, 1, "c", epoch=2),
        write(17, (2, 1), epoch=2),
    ],
    "keys and slots are apart": [
        grant(1, 1),
        grant(2, 1, key="l"),
        takeover(0, epoch=7),
        replace(grant(3, 1, epoch=3), slot=3),
        grant(11, 1, epoch=7),
    ],
}


def owners(says: str, rule: object, *events: LockEvent) -> Flaw:
    return Flaw(lambda: check_locks(events), says, rule)  # pyright: ignore[reportArgumentType]


ILLEGAL = {
    "the same token again": owners("not above", locks._tokens_increase, grant(1, 1), grant(12, 1)),
    "a smaller token": owners("not above", locks._tokens_increase, grant(1, 2), grant(12, 1)),
    "a token of another epoch": owners("owner's epoch", locks._tokens_increase, grant(1, 1, epoch=2, token=(1, 1))),
    "no token": owners("owner's epoch", locks._tokens_increase, grant(1, 1, token=None)),
    "two at once": owners("granted while", locks._one_at_a_time, grant(1, 1), grant(5, 2, "b")),
    "two at once after a takeover": owners(
        "granted while", locks._one_at_a_time, grant(1, 1), takeover(100), grant(109, 1, "b", epoch=2)
    ),
    "two at once after a renewal": owners(
        "granted while", locks._one_at_a_time, grant(1, 1), renew(5, 1), grant(12, 2, "b")
    ),
    "a stale token": owners(
        "the newest grant is", locks._only_the_newest_writes, grant(1, 1), grant(12, 2, "b"), write(13, (1, 1))
    ),
    "a stale token after the newest ended": owners(
        "the newest grant is", locks._only_the_newest_writes, grant(1, 1), grant(12, 2, "b"), write(99, (1, 1))
    ),
    "a token nobody was given": owners("the newest grant is None", locks._only_the_newest_writes, write(1, (1, 1))),
    "an expired token": owners(
        "lease that had ended at 11", locks._only_the_living_write, grant(1, 1), write(12, (1, 1))
    ),
    "a released token": owners(
        "lease that had ended", locks._only_the_living_write, grant(1, 1), release(2, 1), write(3, (1, 1))
    ),
    "an expired lease renewed": owners("lease that had ended", locks._only_the_living_write, grant(1, 1), renew(12, 1)),
    "an older grant renewed": owners(
        "renewed, but", locks._only_the_newest_is_renewed, grant(1, 1), grant(12, 2, "b"), renew(13, 1)
    ),
    "written while locked": owners("without a token", locks._locked_means_locked, grant(1, 1), write(2)),
    "written while locked, after a takeover": owners(
        "without a token", locks._locked_means_locked, grant(1, 1), takeover(50), write(59, epoch=2)
    ),
    "a waiter overtaken": owners(
        "had waited longer",
        locks._first_come_first_served,
        grant(1, 1),
        wait(2, "b"),
        wait(3, "c"),
        grant(12, 2, "c"),
    ),
    "a newcomer first": owners(
        "had waited longer", locks._first_come_first_served, grant(1, 1), wait(2, "b"), grant(12, 2, "c")
    ),
    "granted to one that gave up": owners(
        "had given up at 5", locks._waiters_are_still_there, grant(1, 1), wait(2, "b", 3), grant(12, 2, "b")
    ),
}


@pytest.mark.parametrize("name", LEGAL)
def test_what_owners_may_do_passes(name: str) -> None:
    assert check_locks(LEGAL[name]) == []


@pytest.mark.parametrize("name", ILLEGAL)
def test_what_owners_may_not_do_is_named(name: str) -> None:
    assert_named(ILLEGAL[name])


@pytest.mark.parametrize("name", ILLEGAL)
def test_without_its_rule_it_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_silent_without_its_rule(ILLEGAL[name], monkeypatch, locks)


def test_a_new_epoch_needs_its_takeover() -> None:
    with pytest.raises(ValueError, match="no takeover is recorded"):
        check_locks([grant(1, 1), write(2, epoch=2)])


# -- by their clients ---


def hold(invoked: int, returned: int, generation: int, **changes: Any) -> LockHold:
    """For 10 ticks, by owner 1."""
    values: dict[str, Any] = {
        "client": "c",
        "key": "k",
        "invoked": invoked,
        "returned": returned,
        "outcome": Outcome.OK,
        "token": (1, generation),
        "lasts": 10,
    }
    return LockHold(**(values | changes))


def put(invoked: int, returned: int, token: Token | None = None, **changes: Any) -> Call:
    values: dict[str, Any] = {
        "client": "c",
        "kind": Kind.SET,
        "key": "k",
        "invoked": invoked,
        "returned": returned,
        "outcome": Outcome.OK,
        "version": 1,
        "token": token,
    }
    return Call(**(values | changes))


LEGAL_FOR_CLIENTS: dict[str, tuple[list[LockHold], list[Call]]] = {
    "nothing": ([], []),
    "one after the other": ([hold(1, 2, 1, released=(5, 6)), hold(3, 7, 2)], [put(3, 4, (1, 1)), put(8, 9, (1, 2))]),
    "expired, by the latest the owner may say": ([hold(1, 2, 1), hold(10, 12, 2)], [put(10, 12)]),
    "a stopped holder believes in its lock, but writes nothing": ([hold(1, 2, 1), hold(20, 21, 2)], []),
    "an old token of a write that began before": ([hold(1, 2, 1), hold(20, 21, 2)], [put(20, 22, (1, 1))]),
    "a write that may have come before the grant": ([hold(3, 5, 1)], [put(4, 6)]),
    "refused and unknown calls say nothing": (
        [hold(1, 2, 1), hold(3, 4, 0, outcome=Outcome.REFUSED, token=None), hold(3, NEVER, 0, outcome=Outcome.UNKNOWN)],
        [put(3, 4, outcome=Outcome.REFUSED), put(3, NEVER, outcome=Outcome.UNKNOWN), put(3, 4, kind=Kind.READ)],
    ),
    "a renewal that was told after the end of the lease proves nothing between": (
        [hold(1, 2, 1, renewals=((10, 14),))],
        [put(12, 13), put(19, 20)],
    ),
    "a write while it is being released": ([hold(1, 2, 1, released=(5, 8))], [put(6, 7)]),
    "served in order": (
        [
            hold(1, 2, 1, released=(8, 9)),
            hold(3, 10, 2, queued=(4, 1), released=(11, 12)),
            hold(5, 13, 3, queued=(6, 1)),
        ],
        [],
    ),
    "after a takeover whoever asks first": (
        [hold(3, 30, 2, queued=(4, 1), token=(2, 2)), hold(5, 20, 1, token=(2, 1))],
        [],
    ),
}


def clients(says: str, rule: object, holds: list[LockHold], *calls: Call) -> Flaw:
    return Flaw(lambda: check_lock_holders(holds, calls), says, rule)  # pyright: ignore[reportArgumentType]


ILLEGAL_FOR_CLIENTS = {
    "one token twice": clients(
        "one token for two grants", lock_holders._tokens_are_unique, [hold(1, 2, 1), hold(20, 21, 1)]
    ),
    "tokens against time": clients("smaller token", lock_holders._tokens_follow_time, [hold(1, 2, 2), hold(20, 21, 1)]),
    "two at once": clients("surely lived", lock_holders._one_at_a_time, [hold(1, 2, 1), hold(5, 10, 2)]),
    "two at once by renewal": clients(
        "surely lived", lock_holders._one_at_a_time, [hold(1, 2, 1, renewals=((6, 7), (9, 10))), hold(12, 18, 2)]
    ),
    "written while locked": clients("without a token", lock_holders._locked_means_locked, [hold(1, 2, 1)], put(3, 10)),
    "a stale token": clients(
        "a stale token", lock_holders._stale_tokens, [hold(1, 2, 1), hold(20, 21, 2)], put(22, 23, (1, 1))
    ),
    "a stale token of a former owner": clients(
        "a stale token",
        lock_holders._stale_tokens,
        [hold(1, 2, 9), hold(20, 21, 1, token=(2, 1))],
        put(22, 23, (1, 9)),
    ),
    "a released token": clients(
        "a released token", lock_holders._released_tokens, [hold(1, 2, 1, released=(3, 4))], put(5, 6, (1, 1))
    ),
    "overtaken": clients(
        "overtook",
        lock_holders._first_come_first_served,
        [hold(1, 2, 1, released=(8, 9)), hold(3, 30, 3, queued=(4, 1)), hold(5, 10, 2, queued=(6, 1))],
    ),
}


@pytest.mark.parametrize("name", LEGAL_FOR_CLIENTS)
def test_what_clients_may_be_told_passes(name: str) -> None:
    assert check_lock_holders(*LEGAL_FOR_CLIENTS[name]) == []


@pytest.mark.parametrize("name", ILLEGAL_FOR_CLIENTS)
def test_what_clients_may_not_be_told_is_named(name: str) -> None:
    assert_named(ILLEGAL_FOR_CLIENTS[name])


@pytest.mark.parametrize("name", ILLEGAL_FOR_CLIENTS)
def test_without_its_rule_clients_would_not_notice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_silent_without_its_rule(ILLEGAL_FOR_CLIENTS[name], monkeypatch, lock_holders)


# -- a reference: one owner at a time, with a lock, a clock and a queue ---


class Owner:
    """A lock of one key in a few lines, and what it and its clients would record."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = 0
        self.epoch, self.generation = 1, 0
        self.token: Token | None = None
        self.ends = 0
        self.queue: list[tuple[str, int]] = []
        self.asked: dict[str, tuple[int, int]] = {}
        self.events: list[LockEvent] = []
        self.holds: dict[Token, LockHold] = {}
        self.calls: list[Call] = []

    def step(self, number: int) -> None:
        self.now += self.random.randint(0, 6)
        act = self.random.choice([self.ask, self.ask, self.write, self.write, self.renew, self.release, self.take_over])
        act(f"h{number}")
        self.serve()

    def do(self, act: LockAct, **changes: Any) -> None:
        self.events.append(did(act, self.now, epoch=self.epoch, **changes))

    def ask(self, name: str) -> None:
        self.queue.append((name, self.now + 40))
        self.asked[name] = self.now, self.epoch
        self.do(LockAct.WAIT, holder=name, lasts_us=40)

    def serve(self) -> None:
        while self.queue and self.now >= self.ends:
            name, until = self.queue.pop(0)
            if until < self.now or self.random.random() < 0.1:
                self.do(LockAct.LEAVE, holder=name)
                continue
            self.generation += 1
            self.token, self.ends = (self.epoch, self.generation), self.now + 10
            self.do(LockAct.GRANT, holder=name, token=self.token, lasts_us=10)
            told: dict[str, Any] = {"token": self.token, "queued": self.asked[name]}
            self.holds[self.token] = hold(self.asked[name][0], self.now, 0, client=name, **told)

    def write(self, name: str) -> None:
        locked = self.now < self.ends
        token = self.random.choice([None, *self.holds])
        if (token is None and not locked) or (token is not None and locked and token == self.token):
            self.do(LockAct.WRITE, token=token)
            self.calls.append(put(self.now, self.now, token, request_id=name))

    def renew(self, name: str) -> None:
        del name
        if self.now < self.ends and self.token is not None:
            self.ends = self.now + 10
            self.do(LockAct.RENEW, token=self.token, lasts_us=10)
            held = self.holds[self.token]
            self.holds[self.token] = replace(held, renewals=(*held.renewals, (self.now, self.now)))

    def release(self, name: str) -> None:
        del name
        if self.now < self.ends and self.token is not None:
            self.ends = self.now
            self.do(LockAct.RELEASE, token=self.token)
            self.holds[self.token] = replace(self.holds[self.token], released=(self.now, self.now))

    def take_over(self, name: str) -> None:
        del name
        if self.random.random() < 0.8:
            return
        alive = self.now < self.ends or (self.token is not None and not self.holds[self.token].released)
        self.epoch += 1
        self.queue = []
        self.ends = self.now + 10 if alive else self.now
        self.events.append(takeover(self.now, self.epoch))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 80))
def test_a_lock_with_a_queue_and_takeovers_passes(seed: int, count: int) -> None:
    owner = Owner(Random(seed))
    for number in range(count):
        owner.step(number)
    assert check_locks(owner.events) == []
    assert check_lock_holders(owner.holds.values(), owner.calls) == []
